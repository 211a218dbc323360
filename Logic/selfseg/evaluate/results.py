"""The scores of a set of cases: means, confidence intervals, confusion, and their JSON form.

The JSON form (`Scores.as_mapping`) is read by others; keys are added, never changed:

    {"foreground_mean": {"Dice": ..., "IoU": ..., "HD95": ..., ...},
     "mean": {"1": {...}, "(1, 2)": {...}},
     "metric_per_case": [{"reference_file", "prediction_file", "metrics": {"1": {...}},
                          "confusion": {"0": {"0": 99, "1": 3}}, "surface_tolerance_mm": 2.0}],
     "confidence_intervals": {"level", "resamples", "foreground_mean": {"Dice": [low, high]},
                              "mean": {"1": {"Dice": [low, high]}}},
     "cases": {"1": {"both": 40, "missed": 1, "invented": 0, "neither": 0}},
     "confusion": {"0": {"0": 990, "1": 30}}, "surface_tolerance_mm": 2.0}

A metric that is not defined for a structure is null, and left out of every mean (RECIPE).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays.bootstrap import LEVEL, RESAMPLES, Interval, interval, resampled_means
from ..domain.errors import FileFormatError
from ..io.image_endings import name_without_ending
from ..io.json_files import read_plain_json
from .metrics import COUNT_NAMES, METRIC_NAMES, OVERLAP_NAMES, PEER_NAMES

if TYPE_CHECKING:
    from .case import Confusion, Metrics

Intervals = Mapping[str, Mapping[str, Interval]]
"""By structure, then by metric; those that are not defined are left out."""


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case; `metrics` by structure: "3", or "(1, 2)" for a region.

    `tolerance_mm` is surface Dice's; None where surfaces were not measured. Cases of one
    `group` (a patient) are resampled together; None stands for a group of its own.
    """

    reference_file: str
    prediction_file: str
    metrics: Mapping[str, Metrics]
    confusion: Confusion = field(default_factory=dict)
    tolerance_mm: float | None = None
    group: str | None = None

    @property
    def identifier(self) -> str:
        """The case's name."""
        return name_without_ending(self.prediction_file)

    def as_mapping(self) -> dict[str, Any]:
        """The JSON form; see the module."""
        form: dict[str, Any] = {
            "reference_file": self.reference_file,
            "prediction_file": self.prediction_file,
            "metrics": {key: dict(entry) for key, entry in self.metrics.items()},
        }
        if self.confusion:
            form["confusion"] = _confusion_form(self.confusion)
        if self.tolerance_mm is not None:
            form["surface_tolerance_mm"] = self.tolerance_mm
        if self.group is not None:
            form["group"] = self.group
        return form


@dataclass(frozen=True)
class Occurrence:
    """In how many cases a structure is in both maps, in one of them, in none."""

    both: int
    missed: int
    invented: int
    neither: int


@dataclass(frozen=True)
class Scores:
    """The scores of some cases, and their means over cases per structure."""

    cases: tuple[CaseScores, ...]
    mean: Mapping[str, Metrics]

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that were measured, in the order of `METRIC_NAMES`."""
        found = {name for entry in self.mean.values() for name in entry}
        return tuple(name for name in METRIC_NAMES if name in found) or OVERLAP_NAMES

    @property
    def confusion(self) -> Confusion:
        """Voxels of all cases, by reference value and predicted value."""
        total: dict[int, dict[int, int]] = {}
        for case in self.cases:
            for true, row in case.confusion.items():
                for predicted, count in row.items():
                    line = total.setdefault(true, {})
                    line[predicted] = line.get(predicted, 0) + count
        return {true: dict(sorted(total[true].items())) for true in sorted(total)}

    @property
    def occurrence(self) -> Mapping[str, Occurrence]:
        """By structure; what a mean over the cases where a metric is defined does not show."""
        return {
            key: _occurrence([case.metrics[key] for case in self.cases if key in case.metrics])
            for key in self.mean
        }

    def mean_foreground(self, metric: str = "Dice") -> float | None:
        """Mean over structures of their means over cases; None where nothing is defined."""
        return _mean(entry.get(metric) for entry in self.mean.values())

    def intervals(
        self, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
    ) -> tuple[Mapping[str, Interval], Intervals]:
        """Bootstrap intervals over cases: of the foreground means, and of each structure's.

        Groups of cases are drawn with replacement, the means taken again, and the middle
        `level` of these is the interval. A mean that rests on a single group has none.
        """
        keys = list(self.mean)
        names = [name for name in self.metric_names if name not in COUNT_NAMES]
        values = np.full((len(self.cases), len(keys), len(names)), np.nan)
        for i, case in enumerate(self.cases):
            for j, key in enumerate(keys):
                for k, name in enumerate(names):
                    value = case.metrics.get(key, {}).get(name)
                    values[i, j, k] = np.nan if value is None else value
        groups = [case.group or (i,) for i, case in enumerate(self.cases)]
        means = resampled_means(
            values.reshape(len(self.cases), len(keys) * len(names)),  # also where one is 0
            groups=groups,
            resamples=resamples,
            seed=seed,
        ).reshape(resamples, len(keys), len(names))
        defined = np.isfinite(values)
        counts = np.isfinite(means).sum(axis=1)
        over_structures = np.full(counts.shape, np.nan)
        np.divide(np.nansum(means, axis=1), counts, out=over_structures, where=counts > 0)

        def of(samples: Any, rests_on: Any) -> Interval | None:
            used = {group for group, used in zip(groups, rests_on, strict=True) if used}
            return interval(samples, level=level) if len(used) > 1 else None

        overall = {
            name: of(over_structures[:, k], defined[:, :, k].any(axis=1))
            for k, name in enumerate(names)
        }
        by_structure = {
            key: {name: of(means[:, j, k], defined[:, j, k]) for k, name in enumerate(names)}
            for j, key in enumerate(keys)
        }
        return _known(overall), {key: _known(entry) for key, entry in by_structure.items()}

    def as_mapping(self) -> dict[str, Any]:
        """The JSON form; see the module."""
        overall, by_structure = self.intervals()
        tolerances = {case.tolerance_mm for case in self.cases}
        return {
            "foreground_mean": {name: self.mean_foreground(name) for name in self.metric_names},
            "mean": {key: dict(entry) for key, entry in self.mean.items()},
            "metric_per_case": [case.as_mapping() for case in self.cases],
            "confidence_intervals": {
                "level": LEVEL,
                "resamples": RESAMPLES,
                "foreground_mean": _interval_form(overall),
                "mean": {key: _interval_form(entry) for key, entry in by_structure.items()},
            },
            "cases": {key: vars(found).copy() for key, found in self.occurrence.items()},
            "confusion": _confusion_form(self.confusion),
            "surface_tolerance_mm": tolerances.pop() if len(tolerances) == 1 else None,
        }


def summarise_cases(cases: Sequence[CaseScores]) -> Scores:
    """Means over cases, those left out in which a structure has no value."""
    keys = dict.fromkeys(key for case in cases for key in case.metrics)
    measured = {name for case in cases for entry in case.metrics.values() for name in entry}
    names = [name for name in METRIC_NAMES if name in measured]
    mean = {
        key: {
            name: _mean(case.metrics[key].get(name) for case in cases if key in case.metrics)
            for name in names
        }
        for key in keys
    }
    return Scores(tuple(cases), mean)


def read_case_scores(path: Path) -> tuple[CaseScores, ...]:
    """Reads the cases of a score file (ours, or nnU-Net's summary.json).

    Raises:
        FileFormatError: not such a file.
    """
    content = read_plain_json(path)
    try:
        return tuple(_read_case(entry) for entry in content["metric_per_case"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            "this is no score file",
            expected='"metric_per_case" with files and metrics, as `selfseg evaluate` writes it',
            found=f"{type(error).__name__}: {error}",
            cure="score the cases again with `selfseg evaluate`",
            path=path,
        ) from error


def _read_case(entry: Any) -> CaseScores:
    tolerance, group = entry.get("surface_tolerance_mm"), entry.get("group")
    return CaseScores(
        str(entry["reference_file"]),
        str(entry["prediction_file"]),
        {
            str(key): {
                name: _number(metrics[name])
                for name in METRIC_NAMES
                if name in metrics or name in PEER_NAMES
            }
            for key, metrics in entry["metrics"].items()
        },
        {
            int(true): {int(predicted): int(count) for predicted, count in row.items()}
            for true, row in entry.get("confusion", {}).items()
        },
        None if tolerance is None else float(tolerance),
        None if group is None else str(group),
    )


def _occurrence(entries: Sequence[Metrics]) -> Occurrence:
    seen = [(bool(entry["n_ref"]), bool(entry["n_pred"])) for entry in entries]
    return Occurrence(
        both=seen.count((True, True)),
        missed=seen.count((True, False)),
        invented=seen.count((False, True)),
        neither=seen.count((False, False)),
    )


def _known(found: Mapping[str, Interval | None]) -> dict[str, Interval]:
    return {name: value for name, value in found.items() if value is not None}


def _interval_form(found: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [value.low, value.high] for name, value in found.items()}


def _confusion_form(confusion: Confusion) -> dict[str, dict[str, int]]:
    # JSON has no whole numbers as keys.
    return {
        str(true): {str(predicted): count for predicted, count in row.items()}
        for true, row in confusion.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _number(value: Any) -> float | None:
    if value is None or value != value:  # nnU-Net writes NaN where nothing is defined
        return None
    return value if isinstance(value, int) else float(value)
