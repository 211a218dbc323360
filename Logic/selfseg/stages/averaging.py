"""Pairs of configurations on held-out cases: probabilities averaged, decided and scored.

    logits of both (Z, Y, X, K), half precision -> interpolated to the native grid a slice at a
        time -> probabilities, their mean -> label map -> Dice

As prediction does it (`infer.ensemble`), so that what is scored is what will be used. Of the pair
that is chosen, what tells its quality is taken too, and voxels to calibrate it with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arrays.probabilities import logits_of
from ..domain.case import PreprocessRecord
from ..domain.events import Reporter
from ..domain.labels import LabelScheme
from ..domain.quality import StructureFeatures
from ..infer.ensemble import Vote, decide, mean_probabilities
from ..io.case_store import StoredCase
from ..io.images import read_label_map, write_label_map
from ..io.logit_store import read_logits
from ..io.workers import map_cases, worker_count
from ..select.dice_table import dice_row
from .calibrate import sampled_places
from .quality_meter import QualityMeter


@dataclass(frozen=True)
class KeptCase:
    """One held-out case, and where the logits of each member lie.

    Args:
        identifier: its name.
        reference: its label map; None where there is none.
        folders: per member.
        stored: per member, the case as its network reads it.
        maps_bytes: of the largest member's logits.
    """

    identifier: str
    reference: Path | None
    folders: tuple[Path, ...]
    stored: tuple[StoredCase, ...]
    maps_bytes: int

    @property
    def records(self) -> tuple[PreprocessRecord, ...]:
        """Per member, what its preprocessing did."""
        return tuple(case.record for case in self.stored)

    def vote(self, member: int) -> Vote:
        """What a member says of the case."""
        maps = read_logits(self.folders[member], self.identifier)
        return Vote(maps, self.records[member], None)

    @property
    def peak_bytes(self) -> int:
        """Memory for averaging two members: their maps, label maps, some slices in float32."""
        native = int(np.prod(self.records[0].native.shape))
        return 3 * self.maps_bytes + 12 * native


@dataclass(frozen=True)
class AveragedCase:
    """The mean of some members on a held-out case.

    Args:
        path: of the label map.
        features: what was seen of each structure.
        logits: (N, K) of some voxels.
        truth: (N,) label values there.
    """

    path: Path
    features: Mapping[str, StructureFeatures]
    logits: NDArray[np.float16]
    truth: NDArray[np.int16]


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
    members: Sequence[int],
    labels: LabelScheme,
    folder: Path,
    ending: str,
    *,
    workers: int | None,
    reporter: Reporter,
) -> Iterator[AveragedCase]:
    """Writes the label maps of the mean of some members' probabilities, before postprocessing."""
    work = partial(_write_case, members=tuple(members), labels=labels, folder=folder, ending=ending)
    yield from map_cases(
        work, cases, workers=_workers(cases, workers), stage="write the averages", name=_name_of,
        reporter=reporter,
    )  # fmt: skip


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
    case: KeptCase, *, members: tuple[int, ...], labels: LabelScheme, folder: Path, ending: str
) -> AveragedCase:
    votes = [case.vote(member) for member in members]
    grid = case.records[0].native
    meter = QualityMeter(labels, votes[0].record.shape_before_resampling)
    native = decide(votes, labels, meter)
    path = folder / f"{case.identifier}{ending}"
    write_label_map(path, native, grid)
    logits, truth = _sampled(case, members[0], votes, labels)
    return AveragedCase(path, meter.features(native, grid.spacing), logits, truth)


def _sampled(
    case: KeptCase, first: int, votes: Sequence[Vote], labels: LabelScheme
) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """Logits of the mean, and the truth, at some voxels of the first member's grid."""
    reference = case.stored[first].load().labels
    places = None
    if reference is not None:
        places = sampled_places(case.identifier, reference, labels)
    if reference is None or places is None:
        return np.empty((0, labels.head_count), np.float16), np.empty(0, np.int16)
    z, y, x = places
    logits = np.empty((len(z), labels.head_count), np.float16)
    for number, plane in enumerate(mean_probabilities(votes, labels, 1.0)):
        here = z == number
        logits[here] = logits_of(plane[y[here], x[here]], regions=labels.has_regions)
    return logits, reference[z, y, x].astype(np.int16)


def _workers(cases: Sequence[KeptCase], wanted: int | None) -> int:
    return worker_count(wanted, len(cases), max((c.peak_bytes for c in cases), default=0))


def _name_of(case: KeptCase) -> str:
    return case.identifier
