"""Counts scores: per structure and per case, with missing values left out and said so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean, median
from typing import Any

from ..domain.labels import Colour, Label, LabelScheme
from .content import ReportContent, mean_case_dice, number

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (240, 228, 66),
)
"""Colours that stay apart for colour-blind readers (Okabe and Ito, 2008), used in turn."""


@dataclass(frozen=True)
class StructureScore:
    """The Dice of one structure over the cases where it is defined.

    `dice` has one entry per case; None where reference and prediction both lack the structure.
    """

    label: Label
    colour: Colour
    dice: tuple[float | None, ...]
    iou_mean: float | None

    @property
    def known(self) -> list[float]:
        """The Dice values that are defined."""
        return [value for value in self.dice if value is not None]

    @property
    def mean(self) -> float | None:
        """Mean over the defined ones."""
        return fmean(self.known) if self.known else None

    @property
    def median(self) -> float | None:
        """Median over the defined ones."""
        return median(self.known) if self.known else None

    @property
    def lowest(self) -> float | None:
        """The worst case's."""
        return min(self.known, default=None)

    @property
    def highest(self) -> float | None:
        """The best case's."""
        return max(self.known, default=None)


@dataclass(frozen=True)
class CaseScore:
    """One case: its name, mean Dice and the Dice per structure, in scheme order."""

    identifier: str
    mean: float | None
    dice: tuple[float | None, ...]


@dataclass(frozen=True)
class ScoreSummary:
    """All scores of a report. `headline` is the mean over structures of their means."""

    headline: float | None
    structures: tuple[StructureScore, ...]
    cases: tuple[CaseScore, ...]

    @property
    def is_empty(self) -> bool:
        """True where no case was scored."""
        return not self.cases


def label_colours(labels: LabelScheme) -> dict[str, Colour]:
    """Name -> RGB of every structure: its own colour where it has one."""
    return {
        label.name: label.colour or PALETTE[i % len(PALETTE)]
        for i, label in enumerate(labels.foreground)
    }


def summarise(content: ReportContent) -> ScoreSummary:
    """The scores of a report, in the order of the label scheme; empty without scores."""
    scores: Mapping[str, Any] = content.scores or {}
    entries = list(scores.get("metric_per_case") or ())
    colours = label_colours(content.description.labels)
    structures = []
    for label in content.description.labels.foreground:
        metrics = [entry.get("metrics", {}).get(label.key, {}) for entry in entries]
        iou = [value for m in metrics if (value := number(m.get("IoU"))) is not None]
        structures.append(
            StructureScore(
                label,
                colours[label.name],
                tuple(number(m.get("Dice")) for m in metrics),
                fmean(iou) if iou else None,
            )
        )
    cases = tuple(
        CaseScore(
            case_name(entry, content.description.file_ending),
            mean_case_dice(entry),
            tuple(structure.dice[i] for structure in structures),
        )
        for i, entry in enumerate(entries)
    )
    headline = number((scores.get("foreground_mean") or {}).get("Dice"))
    means = [s.mean for s in structures if s.mean is not None]
    if headline is None and means:
        headline = fmean(means)
    return ScoreSummary(headline, tuple(structures), cases)


def case_name(entry: Mapping[str, Any], file_ending: str) -> str:
    """The case an entry of `metric_per_case` is about, from its file names."""
    path = str(entry.get("reference_file") or entry.get("prediction_file") or "?")
    name = PurePath(path.replace("\\", "/")).name
    return name.removesuffix(file_ending)
