"""Scores of label map files against references, case by case, for pairs and for folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..domain.errors import DatasetError
from ..domain.events import Event, Notice, Progress, Reporter, silent
from ..domain.labels import LabelScheme
from ..io.image_endings import list_images, name_without_ending
from ..io.images import grid_difference, read_label_map
from ..io.workers import map_cases, worker_count
from .case import TOLERANCE_MM, CaseMetrics, absent, measure_case, score_case
from .metrics import METRIC_NAMES, OVERLAP_NAMES
from .results import CaseScores, Scores, read_case_scores, summarise_cases

__all__ = [
    "CaseScores",
    "Scores",
    "evaluate_files",
    "evaluate_folders",
    "read_case_scores",
    "score_case",
    "summarise_cases",
]

Pair = tuple[Path, Path]

PROBE_SECONDS = 2.0
"""After this long the remaining time is estimated; the first case is slower than the others."""

WORTH_SECONDS = 10.0
"""Remaining work of more than this is shared out; starting processes takes a second or two."""

BYTES_PER_VOXEL = 40
"""Peak memory of a case: two label maps as read (up to 8 bytes each), and, for a structure that
fills the image, the distance map with nearest points (12) and masks and components."""


def evaluate_files(
    pairs: Sequence[Pair],
    labels: LabelScheme | None = None,
    *,
    overlap_only: bool = False,
    tolerance_mm: float = TOLERANCE_MM,
    groups: Mapping[str, str] | None = None,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> Scores:
    """Scores label map files against references.

    Args:
        pairs: (reference, prediction).
        labels: the structures; every value above 0 that any file holds otherwise.
        overlap_only: leaves out all that needs shapes: distances, volumes in ml, lesions.
        tolerance_mm: of surface Dice.
        groups: group (patient) by case name, for the confidence intervals.
        workers: processes; otherwise one, and as many as memory allows where that takes long.
        reporter: is told about every case, and of grids that differ.

    Raises:
        DatasetError: a pair has different shapes.
        ImageError: a file cannot be read.
    """
    work = partial(_score_files, labels=labels, tolerance_mm=None if overlap_only else tolerance_mm)
    scored = []
    for found in _score_all(pairs, work, workers, reporter):
        if found.notice:
            reporter(Notice(found.notice, level="warning"))
        scored.append(found.metrics)
    keys = _all_keys(scored, labels)
    nothing = absent(OVERLAP_NAMES if overlap_only else METRIC_NAMES)
    return summarise_cases(
        [
            CaseScores(
                str(reference),
                str(prediction),
                {key: metrics.structures.get(key, nothing) for key in keys},
                metrics.confusion,
                None if overlap_only else tolerance_mm,
                (groups or {}).get(name_without_ending(prediction)),
            )
            for (reference, prediction), metrics in zip(pairs, scored, strict=True)
        ]
    )


def evaluate_folders(
    reference: Path,
    prediction: Path,
    labels: LabelScheme | None = None,
    *,
    overlap_only: bool = False,
    tolerance_mm: float = TOLERANCE_MM,
    groups: Mapping[str, str] | None = None,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> Scores:
    """Scores every reference of a folder against the prediction of the same name.

    The file formats may differ ("a.nii.gz" against "a.nrrd").

    Args:
        reference: folder of reference label maps; every one needs its prediction.
        prediction: folder of predicted label maps.
        labels: see `evaluate_files`, as for all arguments below.
        overlap_only: no shapes.
        tolerance_mm: of surface Dice.
        groups: by case name.
        workers: processes.
        reporter: is also told about predictions without a reference.

    Raises:
        DatasetError: no reference, a prediction is missing, or shapes differ.
    """
    references, predictions = _by_name(reference), _by_name(prediction)
    if not references:
        raise DatasetError(
            "there is nothing to compare with",
            expected="a folder with reference label maps",
            found="no image file" if reference.is_dir() else "no such folder",
            cure="give the folder of the references first, that of the predictions second",
            path=reference,
        )
    missing = sorted(references.keys() - predictions.keys())
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(references)} references have no prediction",
            expected=f"an image named {missing[0]} for {references[missing[0]].name}",
            found=f"{len(predictions)} images; without: {', '.join(missing[:10])}",
            cure="predict the missing cases, or move their references elsewhere",
            path=prediction,
        )
    extra = sorted(predictions.keys() - references.keys())
    if extra:
        reporter(
            Notice(
                f"{len(extra)} predictions have no reference and are not scored: "
                + ", ".join(extra[:10]),
                level="warning",
            )
        )
    pairs = [(references[name], predictions[name]) for name in sorted(references)]
    return evaluate_files(
        pairs,
        labels,
        overlap_only=overlap_only,
        tolerance_mm=tolerance_mm,
        groups=groups,
        workers=workers,
        reporter=reporter,
    )


@dataclass(frozen=True)
class _Scored:
    metrics: CaseMetrics
    notice: str
    voxels: int


def _score_files(pair: Pair, *, labels: LabelScheme | None, tolerance_mm: float | None) -> _Scored:
    reference, prediction = pair
    truth, grid = read_label_map(reference)
    predicted, other = read_label_map(prediction)
    spacing, tolerance = (None, 0.0) if tolerance_mm is None else (grid.spacing, tolerance_mm)
    metrics = measure_case(truth, predicted, labels, spacing, tolerance_mm=tolerance)
    difference = grid_difference(grid, other)
    notice = (
        f"{prediction.name} lies elsewhere than its reference ({difference}); "
        "it is compared voxel by voxel"
        if difference
        else ""
    )
    return _Scored(metrics, notice, truth.size)


def _score_all(
    pairs: Sequence[Pair],
    work: Callable[[Pair], _Scored],
    workers: int | None,
    reporter: Reporter,
) -> Iterator[_Scored]:
    done, start = 0, time.monotonic()

    def report(event: Event) -> None:
        if isinstance(event, Progress):
            event = replace(event, done=event.done + done, total=len(pairs))
        reporter(event)

    def score(part: Sequence[Pair], count: int) -> Iterator[_Scored]:
        return map_cases(
            work, part, workers=count, stage="evaluate", name=_name_of_pair, reporter=report
        )

    if workers is not None:
        yield from score(pairs, worker_count(workers, len(pairs), 0.0))
        return
    largest = taken = 0
    for found in score(pairs, 1):
        largest, taken = max(largest, found.voxels), taken + 1
        yield found
        seconds = time.monotonic() - start
        if seconds > PROBE_SECONDS and seconds / taken * (len(pairs) - taken) > WORTH_SECONDS:
            break
    done = taken
    rest = pairs[taken:]
    yield from score(rest, worker_count(None, len(rest), largest * BYTES_PER_VOXEL))


def _name_of_pair(pair: Pair) -> str:
    return pair[1].name


def _all_keys(scored: Sequence[CaseMetrics], labels: LabelScheme | None) -> list[str]:
    if labels is not None:
        return [label.key for label in labels.foreground]
    # Without a scheme every key is a label value.
    return sorted({key for metrics in scored for key in metrics.structures}, key=int)


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_images(folder):
        name = name_without_ending(path)
        if name in found:
            raise DatasetError(
                "two files are the same case",
                expected="one label map per case",
                found=f"{found[name].name} and {path.name}",
                cure="move one of them elsewhere",
                path=folder,
            )
        found[name] = path
    return found
