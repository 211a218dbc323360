"""Pairs of configurations on held-out cases: probabilities averaged, decided and scored.

    logits of both (Z, Y, X, K), half precision -> interpolated to the native grid a slice at a
        time -> probabilities, their mean -> label map -> Dice

As prediction does it (`infer.ensemble`), so that what is scored is what will be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..domain.case import IntArray, PreprocessRecord
from ..domain.events import Reporter
from ..domain.labels import LabelScheme
from ..infer.ensemble import Vote, decide
from ..io.images import read_label_map, write_label_map
from ..io.logit_store import read_logits
from ..io.workers import map_cases, worker_count
from ..select.dice_table import dice_row


@dataclass(frozen=True)
class KeptCase:
    """One held-out case, and where the logits of each member lie.

    Args:
        identifier: its name.
        reference: its label map; None where there is none.
        folders: per member.
        records: per member, what its preprocessing did.
        maps_bytes: of the largest member's logits.
    """

    identifier: str
    reference: Path | None
    folders: tuple[Path, ...]
    records: tuple[PreprocessRecord, ...]
    maps_bytes: int

    def vote(self, member: int) -> Vote:
        """What a member says of the case."""
        maps = read_logits(self.folders[member], self.identifier)
        return Vote(maps, self.records[member], None)

    @property
    def peak_bytes(self) -> int:
        """Memory for averaging two members: their maps, label maps, some slices in float32."""
        native = int(np.prod(self.records[0].native.shape))
        return 3 * self.maps_bytes + 12 * native


Pairs = tuple[tuple[int, int], ...]
"""Places of members."""


def score_pairs(
    cases: Sequence[KeptCase],
    pairs: Pairs,
    labels: LabelScheme,
    *,
    workers: int | None,
    reporter: Reporter,
) -> Iterator[list[list[float]]]:
    """For each case, in order, Dice by structure of each pair; NaN where it is not defined."""
    work = partial(_score_case, pairs=pairs, labels=labels)
    yield from map_cases(
        work, cases, workers=_workers(cases, workers), stage="average", name=_name_of,
        reporter=reporter,
    )  # fmt: skip


def write_averages(
    cases: Sequence[KeptCase],
    pair: tuple[int, int],
    labels: LabelScheme,
    folder: Path,
    ending: str,
    *,
    workers: int | None,
    reporter: Reporter,
) -> Iterator[Path]:
    """Writes the label maps of one pair and says where."""
    work = partial(_write_case, pair=pair, labels=labels, folder=folder, ending=ending)
    yield from map_cases(
        work, cases, workers=_workers(cases, workers), stage="write the averages", name=_name_of,
        reporter=reporter,
    )  # fmt: skip


def average(case: KeptCase, members: Sequence[int], labels: LabelScheme) -> IntArray:
    """The label map (Z, Y, X) of the mean of some members' probabilities."""
    return decide([case.vote(member) for member in members], labels)


def _score_case(case: KeptCase, *, pairs: Pairs, labels: LabelScheme) -> list[list[float]]:
    nothing = [float("nan")] * len(labels.foreground)
    if case.reference is None:
        return [nothing for _ in pairs]
    reference, _ = read_label_map(case.reference)
    found: dict[tuple[int, int], list[float]] = {}
    for first in sorted({first for first, _ in pairs}):
        # Two members at a time are in memory.
        kept = case.vote(first)
        for second in sorted(second for one, second in pairs if one == first):
            labelled = decide([kept, case.vote(second)], labels)
            found[first, second] = dice_row(reference, labelled, labels).tolist()
    return [found[pair] for pair in pairs]


def _write_case(
    case: KeptCase, *, pair: tuple[int, int], labels: LabelScheme, folder: Path, ending: str
) -> Path:
    path = folder / f"{case.identifier}{ending}"
    write_label_map(path, average(case, pair, labels), case.records[0].native)
    return path


def _workers(cases: Sequence[KeptCase], wanted: int | None) -> int:
    return worker_count(wanted, len(cases), max((c.peak_bytes for c in cases), default=0))


def _name_of(case: KeptCase) -> str:
    return case.identifier
