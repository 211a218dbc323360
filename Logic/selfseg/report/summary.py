"""Counts scores: per structure and per case, with missing values left out and said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from statistics import fmean, median
from typing import Any

from ..domain.colours import distinct_colours
from ..domain.fingerprint import Fingerprint, IntensityProperties
from ..domain.labels import Colour, Label, LabelScheme
from ..evaluate.metrics import METRIC_NAMES
from .content import ReportContent, mean_case_dice, number

Interval = tuple[float, float]

UNEVEN = 50.0
"""The brightest voxels this many times brighter than the median: scans of different scaling."""


@dataclass(frozen=True)
class StructureScore:
    """The scores of one structure; one entry per case, None where a score is not defined.

    Args:
        label: the structure.
        colour: its own.
        dice: Dice.
        hd95: HD95 in mm.
        means: of every metric, by its name (`evaluate.metrics`), over the cases in which it is
            defined; None where it is in none.
        intervals: 95% bootstrap intervals of the means, by metric.
        occurrence: cases by "both", "missed", "invented" and "neither"; empty where unknown.
    """

    label: Label
    colour: Colour
    dice: tuple[float | None, ...]
    hd95: tuple[float | None, ...] = ()
    means: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    occurrence: Mapping[str, int] = field(default_factory=dict)

    @property
    def known(self) -> list[float]:
        """The Dice values that are defined."""
        return [value for value in self.dice if value is not None]

    @property
    def known_hd95(self) -> list[float]:
        """The HD95 values that are defined, mm."""
        return [value for value in self.hd95 if value is not None]

    @property
    def mean(self) -> float | None:
        """Mean Dice over the defined ones."""
        return fmean(self.known) if self.known else None

    @property
    def median(self) -> float | None:
        """Median Dice over the defined ones."""
        return median(self.known) if self.known else None

    @property
    def lowest(self) -> float | None:
        """The worst case's Dice."""
        return min(self.known, default=None)

    @property
    def highest(self) -> float | None:
        """The best case's Dice."""
        return max(self.known, default=None)

    @property
    def hd95_mean(self) -> float | None:
        """Mean HD95 over the defined ones, mm."""
        return fmean(self.known_hd95) if self.known_hd95 else None


@dataclass(frozen=True)
class CaseScore:
    """One case: its name, mean Dice and HD95, and the Dice per structure, in scheme order."""

    identifier: str
    mean: float | None
    dice: tuple[float | None, ...]
    hd95_mean: float | None = None


@dataclass(frozen=True)
class ScoreSummary:
    """All scores of a report.

    Args:
        headline: the mean over structures of their mean Dice.
        structures: in the order of the label scheme.
        cases: in the order of the scores.
        interval: of `headline`.
        hd95: mean over structures of their mean HD95, mm.
        tolerance_mm: of surface Dice; None where unknown.
        confusion: voxels by reference value, then by predicted value.
        unit: of distances: "mm", or "pixels" where pictures say nothing about their scale.
    """

    headline: float | None
    structures: tuple[StructureScore, ...]
    cases: tuple[CaseScore, ...]
    interval: Interval | None = None
    hd95: float | None = None
    tolerance_mm: float | None = None
    confusion: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    unit: str = "mm"


def uneven_scales(intensities: IntensityProperties) -> bool:
    """Whether some scans seem to be stored with another scaling than others."""
    return intensities.percentile_99_5 > UNEVEN * max(abs(intensities.median), 1e-6)


def label_colours(labels: LabelScheme) -> dict[str, Colour]:
    """Name -> RGB of every structure: its own colour where it has one."""
    palette = distinct_colours(len(labels.foreground))
    return {
        label.name: label.colour or palette[place] for place, label in enumerate(labels.foreground)
    }


def summarise(content: ReportContent) -> ScoreSummary:
    """The scores of a report, in the order of the label scheme; empty without scores."""
    scores: Mapping[str, Any] = content.scores or {}
    labels = content.description.labels
    entries = list(scores.get("metric_per_case") or ())
    colours = label_colours(labels)
    structures = tuple(
        _structure(label, colours[label.name], scores, entries) for label in labels.foreground
    )
    cases = tuple(
        CaseScore(
            case_name(entry, content.description.file_ending),
            mean_case_dice(entry),
            tuple(structure.dice[place] for structure in structures),
            _mean([structure.hd95[place] for structure in structures]),
        )
        for place, entry in enumerate(entries)
    )
    overall: Mapping[str, Any] = scores.get("foreground_mean") or {}
    headline = number(overall.get("Dice"))
    if headline is None:
        headline = _mean([s.mean for s in structures])
    intervals: Mapping[str, Any] = scores.get("confidence_intervals") or {}
    return ScoreSummary(
        headline,
        structures,
        cases,
        interval_of(intervals.get("foreground_mean"), "Dice"),
        number(overall.get("HD95")),
        number(scores.get("surface_tolerance_mm")),
        {
            int(true): {int(predicted): int(count) for predicted, count in row.items()}
            for true, row in (scores.get("confusion") or {}).items()
        },
        length_unit(content.fingerprint),
    )


def length_unit(fingerprint: Fingerprint | None) -> str:
    """Of distances: "mm", or "pixels" for pictures without a scale (read with a spacing of 1)."""
    if fingerprint is None:
        return "mm"
    bare = all(
        shape[0] == 1 and spacing[1:] == (1.0, 1.0)
        for shape, spacing in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    )
    return "pixels" if bare else "mm"


def interval_of(entry: Mapping[str, Any] | None, metric: str) -> Interval | None:
    """The interval of a metric in a part of `confidence_intervals`; None where there is none."""
    ends = (entry or {}).get(metric)
    if not ends:
        return None
    low, high = (number(end) for end in ends)
    return None if low is None or high is None else (low, high)


def case_name(entry: Mapping[str, Any], file_ending: str) -> str:
    """The case an entry of `metric_per_case` is about, from its file names."""
    path = str(entry.get("reference_file") or entry.get("prediction_file") or "?")
    name = PurePath(path.replace("\\", "/")).name
    return name.removesuffix(file_ending)


def _structure(
    label: Label, colour: Colour, scores: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> StructureScore:
    metrics = [entry.get("metrics", {}).get(label.key, {}) for entry in entries]

    def values(name: str) -> tuple[float | None, ...]:
        return tuple(number(found.get(name)) for found in metrics)

    intervals: Mapping[str, Any] = (scores.get("confidence_intervals") or {}).get("mean") or {}
    known = {
        name: found
        for name in intervals.get(label.key) or ()
        if (found := interval_of(intervals[label.key], name)) is not None
    }
    return StructureScore(
        label,
        colour,
        values("Dice"),
        values("HD95"),
        {name: _mean(values(name)) for name in METRIC_NAMES},
        known,
        (scores.get("cases") or {}).get(label.key) or {},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
