"""Dice and IoU per structure and case, for label maps in memory and in folders.

The JSON form (`Scores.as_mapping`) is read by others and does not change:

    {"foreground_mean": {"Dice": ..., "IoU": ..., "FP": ..., ...},
     "mean": {"1": {...}, "(1, 2)": {...}},
     "metric_per_case": [{"reference_file", "prediction_file", "metrics": {"1": {...}}}]}

A structure in neither map has no Dice: null, left out of every mean (RECIPE).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..arrays.metrics import JointCounts, Overlap, count_pairs
from ..domain.errors import DatasetError, FileFormatError
from ..domain.events import Notice, Progress, Reporter, silent
from ..domain.labels import Label, LabelScheme
from ..io.image_endings import list_images, name_without_ending
from ..io.images import grid_difference, read_label_map
from ..io.json_files import read_plain_json

Metrics = Mapping[str, float | None]
"""One structure: Dice, IoU (None where undefined), FP, FN, TP, n_pred, n_ref (voxels)."""

METRIC_NAMES = ("Dice", "IoU", "FP", "FN", "TP", "n_pred", "n_ref")


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case; `metrics` by structure: "3", or "(1, 2)" for a region."""

    reference_file: str
    prediction_file: str
    metrics: Mapping[str, Metrics]

    @property
    def identifier(self) -> str:
        """The case's name."""
        return name_without_ending(self.prediction_file)


@dataclass(frozen=True)
class Scores:
    """The scores of some cases, and their means over cases per structure."""

    cases: tuple[CaseScores, ...]
    mean: Mapping[str, Metrics]

    def mean_foreground(self, metric: str = "Dice") -> float | None:
        """Mean over structures of their means over cases; None where nothing is defined."""
        return _mean(entry[metric] for entry in self.mean.values())

    def as_mapping(self) -> dict[str, Any]:
        """The JSON form; see the module."""
        return {
            "foreground_mean": {name: self.mean_foreground(name) for name in METRIC_NAMES},
            "mean": {key: dict(entry) for key, entry in self.mean.items()},
            "metric_per_case": [
                {
                    "reference_file": case.reference_file,
                    "prediction_file": case.prediction_file,
                    "metrics": {key: dict(entry) for key, entry in case.metrics.items()},
                }
                for case in self.cases
            ],
        }


def summarise_cases(cases: Sequence[CaseScores]) -> Scores:
    """Means over cases, those left out in which a structure has no value."""
    keys = dict.fromkeys(key for case in cases for key in case.metrics)
    mean = {
        key: {
            name: _mean(case.metrics[key][name] for case in cases if key in case.metrics)
            for name in METRIC_NAMES
        }
        for key in keys
    }
    return Scores(tuple(cases), mean)


def score_case(
    reference: NDArray[Any], prediction: NDArray[Any], labels: LabelScheme
) -> dict[str, Metrics]:
    """The metrics of every structure of a case in memory.

    Args:
        reference: (Z, Y, X) label values; voxels with the ignore value count nowhere.
        prediction: (Z, Y, X) label values.
        labels: the structures, regions included.

    Raises:
        DatasetError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise _shape_error(reference.shape, prediction.shape, None)
    return _metrics(count_pairs(reference, prediction), labels)


def evaluate_files(
    pairs: Sequence[tuple[Path, Path]],
    labels: LabelScheme | None = None,
    *,
    reporter: Reporter = silent,
) -> Scores:
    """Scores label map files against references.

    Args:
        pairs: (reference, prediction).
        labels: the structures; every value above 0 that any file holds otherwise.
        reporter: is told about every case, and of grids that differ.

    Raises:
        DatasetError: a pair has different shapes.
        ImageError: a file cannot be read.
    """
    counts = []
    for done, (reference, prediction) in enumerate(pairs):
        counts.append(_count_files(reference, prediction, reporter))
        reporter(Progress("evaluate", done + 1, len(pairs), detail=prediction.name))
    scheme = _scheme_of(counts) if labels is None else labels
    return summarise_cases(
        [
            CaseScores(
                str(reference), str(prediction), {} if scheme is None else _metrics(count, scheme)
            )
            for (reference, prediction), count in zip(pairs, counts, strict=True)
        ]
    )


def evaluate_folders(
    reference: Path,
    prediction: Path,
    labels: LabelScheme | None = None,
    *,
    reporter: Reporter = silent,
) -> Scores:
    """Scores every reference of a folder against the prediction of the same name.

    The file formats may differ ("a.nii.gz" against "a.nrrd").

    Args:
        reference: folder of reference label maps; every one needs its prediction.
        prediction: folder of predicted label maps.
        labels: see `evaluate_files`.
        reporter: see `evaluate_files`; is also told about predictions without a reference.

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
    return evaluate_files(pairs, labels, reporter=reporter)


def read_case_scores(path: Path) -> tuple[CaseScores, ...]:
    """Reads the cases of a score file (ours, or nnU-Net's summary.json).

    Raises:
        FileFormatError: not such a file.
    """
    content = read_plain_json(path)
    try:
        return tuple(
            CaseScores(
                str(entry["reference_file"]),
                str(entry["prediction_file"]),
                {
                    str(key): {name: _number(metrics[name]) for name in METRIC_NAMES}
                    for key, metrics in entry["metrics"].items()
                },
            )
            for entry in content["metric_per_case"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            "this is no score file",
            expected='"metric_per_case" with files and metrics, as `selfseg evaluate` writes it',
            found=f"{type(error).__name__}: {error}",
            cure="score the cases again with `selfseg evaluate`",
            path=path,
        ) from error


def _metrics(counts: JointCounts, labels: LabelScheme) -> dict[str, Metrics]:
    return {
        label.key: _as_metrics(counts.overlap(label.values, labels.ignore))
        for label in labels.foreground
    }


def _as_metrics(overlap: Overlap) -> Metrics:
    return {
        "Dice": overlap.dice,
        "IoU": overlap.iou,
        "FP": overlap.false_positives,
        "FN": overlap.false_negatives,
        "TP": overlap.true_positives,
        "n_pred": overlap.true_positives + overlap.false_positives,
        "n_ref": overlap.true_positives + overlap.false_negatives,
    }


def _count_files(reference: Path, prediction: Path, reporter: Reporter) -> JointCounts:
    truth, grid = read_label_map(reference)
    predicted, other = read_label_map(prediction)
    if truth.shape != predicted.shape:
        raise _shape_error(truth.shape, predicted.shape, prediction)
    difference = grid_difference(grid, other)
    if difference:
        reporter(
            Notice(
                f"{prediction.name} lies elsewhere than its reference ({difference}); "
                "it is compared voxel by voxel",
                level="warning",
            )
        )
    return count_pairs(truth, predicted)


def _scheme_of(counts: Iterable[JointCounts]) -> LabelScheme | None:
    values = sorted({value for count in counts for value in count.values if value > 0})
    if not values:
        return None
    return LabelScheme(tuple(Label(str(value), (value,)) for value in values))


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


def _shape_error(
    expected: tuple[int, ...], found: tuple[int, ...], path: Path | None
) -> DatasetError:
    return DatasetError(
        "the prediction does not have the shape of its reference",
        expected=f"{expected} voxels (Z, Y, X)",
        found=str(found),
        cure="compare label maps of the same image on its own grid",
        path=path,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _number(value: Any) -> float | None:
    if value is None or value != value:  # nnU-Net writes NaN where nothing is defined
        return None
    return value if isinstance(value, int) else float(value)
