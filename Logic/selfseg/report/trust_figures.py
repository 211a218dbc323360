"""Charts of how far the model can be trusted: calibration, confusion, predicted quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..arrays.calibration import Reliability
from ..domain.labels import Colour, LabelScheme
from ..domain.quality import QualityModel
from ..quality.judgement import LEAST_DICE, MOST_HD95_MM
from .canvas import BLUE, GREY, MANY_MARKS, VERMILION, WIDTH, css_colour, plain, short, tight
from .content import CalibrationContent, pooled

_FEWEST_VOXELS = 20
"""A bin of fewer is chance, and is not drawn."""

_MOST_LINES = 8
_MOST_WRITTEN = 12
"""Rows of a confusion matrix whose cells can be written into."""


def draw_calibration(content: CalibrationContent, colours: Mapping[str, Colour]) -> Figure:
    """Reliability before and after the temperature, and how often each confidence occurs."""
    figure = Figure(figsize=(WIDTH, 3.7))
    left, right, share = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    for axis, found, title in (
        (left, content.raw, "As the network says"),
        (right, content.tempered, f"After calibration (temperature {content.temperature:.2f})"),
    ):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":", label="perfect")
        if 1 < len(found) <= _MOST_LINES:
            for name, counts in found.items():
                colour = css_colour(colours[name]) if name in colours else GREY
                _reliability_line(axis, counts, colour, short(name), width=1.2)
        _reliability_line(axis, pooled(found), "0.1", "all structures", width=2.0)
        axis.set_title(title, fontsize=10, loc="left", color="0.2")
        axis.set_xlabel("probability that the model gives")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        plain(axis, grid="y")
    left.set_ylabel("share that was the structure")
    left.legend(frameon=False, fontsize=7.5, handlelength=1.4, loc="upper left")
    voxels = pooled(content.raw).counts
    edges = np.linspace(0, 1, len(voxels) + 1)
    share.stairs(voxels / max(1, voxels.sum()), edges, fill=True, color=BLUE, alpha=0.65)
    share.set_yscale("log")
    share.set_title("How often each occurs", fontsize=10, loc="left", color="0.2")
    share.set_xlabel("probability")
    share.set_ylabel("share of voxels (log)")
    plain(share)
    return tight(figure)


def _reliability_line(
    axis: Axes, counts: Reliability, colour: str, name: str, *, width: float
) -> None:
    enough = counts.counts >= _FEWEST_VOXELS
    if not enough.any():
        return
    total = counts.counts[enough]
    axis.plot(
        counts.probability_sums[enough] / total,
        counts.true_counts[enough] / total,
        color=colour,
        linewidth=width,
        marker="o",
        markersize=2 + width,
        label=name,
    )


def value_names(labels: LabelScheme) -> dict[int, str]:
    """A name for every label value: of the plain label, or of the regions that hold it."""
    names = {0: "background"}
    for value in labels.values:
        holders = [label for label in labels.foreground if value in label.values]
        plain_ones = [label.name for label in holders if len(label.values) == 1]
        names[value] = plain_ones[0] if plain_ones else f"value {value}"
    return names


def confusion_shares(
    confusion: Mapping[int, Mapping[int, int]], values: Sequence[int]
) -> NDArray[np.float64]:
    """(reference, prediction): the share of each reference value's voxels; NaN without any."""
    counts = np.array(
        [[confusion.get(true, {}).get(found, 0) for found in values] for true in values],
        dtype=np.float64,
    )
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.full(counts.shape, np.nan)
    np.divide(counts, totals, out=shares, where=totals > 0)
    return shares


def draw_confusion(shares: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Rows are reference, columns prediction; the colour is the share of the row."""
    count = len(names)
    side = min(WIDTH - 2.2, max(3.0, 0.62 * count if count <= _MOST_WRITTEN else 0.14 * count))
    figure = Figure(figsize=(side + 2.2, side + 1.0))
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="cividis", norm=PowerNorm(0.4, 0, 1), aspect="equal")
    small = 8.5 if count <= _MOST_WRITTEN else 6.0
    axis.set_xticks(
        range(count), [short(n, 18) for n in names], rotation=50, ha="right", fontsize=small
    )
    axis.set_yticks(range(count), [short(n, 18) for n in names], fontsize=small)
    axis.set_xlabel("prediction")
    axis.set_ylabel("reference")
    axis.tick_params(length=0)
    if count <= _MOST_WRITTEN:
        for row in range(count):
            for column in range(count):
                value = shares[row, column]
                if np.isfinite(value) and value > 0:
                    text = f"{100 * value:.3g}%" if value < 0.9995 else "100%"
                    dark = value < 0.25
                    axis.text(
                        column, row, text, ha="center", va="center", fontsize=8,
                        color="white" if dark else "black",
                    )  # fmt: skip
    bar = figure.colorbar(
        picture, ax=axis, ticks=(0, 0.01, 0.1, 0.3, 0.6, 1), fraction=0.04, pad=0.03, shrink=0.95
    )
    bar.ax.set_yticklabels(["0%", "1%", "10%", "30%", "60%", "100%"], fontsize=8)
    bar.outline.set_visible(False)
    for side_name in ("top", "right", "left", "bottom"):
        axis.spines[side_name].set_visible(False)
    return tight(figure)


def draw_quality(model: QualityModel, colours: Mapping[str, Colour], unit: str) -> Figure:
    """Predicted against true Dice and HD95 of held-out cases, a dot per structure and case.

    Args:
        model: with its held-out predictions.
        colours: structure name -> RGB.
        unit: of HD95, to be written.
    """
    figure = Figure(figsize=(WIDTH, 4.4))
    axes = figure.subplots(1, 2)
    many = len(model.held_out) > MANY_MARKS
    names = list(dict.fromkeys(entry.structure for entry in model.held_out))
    for axis, metric, limit, title in (
        (axes[0], "dice", LEAST_DICE, "Dice"),
        (axes[1], "hd95_mm", MOST_HD95_MM, f"HD95, {unit}"),
    ):
        highest = 1.0
        for name in names:
            pairs = [
                (getattr(entry, f"predicted_{metric}"), getattr(entry, metric))
                for entry in model.held_out
                if entry.structure == name
            ]
            known = np.array([pair for pair in pairs if None not in pair], dtype=np.float64)
            if not len(known):
                continue
            highest = max(highest, float(known.max()))
            axis.scatter(
                known[:, 0],
                known[:, 1],
                s=20,
                color=css_colour(colours[name]) if name in colours else GREY,
                edgecolor="0.2",
                linewidth=0.4,
                label=short(name),
                rasterized=many,
            )
        top = 1.0 if metric == "dice" else highest * 1.05
        axis.plot([0, top], [0, top], color="0.6", linewidth=1, linestyle=":")
        if limit <= top:
            axis.axvline(limit, color=VERMILION, linewidth=1.2, linestyle="--")
        axis.set_xlabel(f"predicted {title}")
        axis.set_ylabel(f"true {title}")
        axis.set_xlim(0, top)
        axis.set_ylim(0, top)
        plain(axis, grid="y")
    if 1 < len(names) <= _MOST_LINES:
        axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    return tight(figure)
