"""Charts of a report, and how figures become parts of a page."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..domain.fingerprint import Fingerprint
from ..domain.labels import Colour
from .content import TrainingRun
from .summary import ScoreSummary

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5b6770"
_LINES = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_WIDTH = 10.6
"""Inches: the page's text width at 100 pixels per inch."""


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI (SVG): sharp at any size, the same bytes every time."""
    stream = io.BytesIO()
    # Text stays text, so that names in any script are drawn with the reader's fonts; the glyphs
    # that matplotlib's own font lacks then do not matter.
    style: Any = {"svg.hashsalt": "selfseg", "svg.fonttype": "none"}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def png_uri(figure: Figure, *, dots_per_inch: int = 150) -> str:
    """The figure as a data URI (PNG), for pictures."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(
        stream,
        format="png",
        dpi=dots_per_inch,
        metadata={"Software": None},
    )
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def draw_scores(summary: ScoreSummary) -> Figure:
    """Dice of every case as a dot, with median and quartiles, one row per structure."""
    rows = [structure for structure in summary.structures if structure.known]
    figure = Figure(figsize=(_WIDTH, 0.75 + 0.62 * len(rows)))
    axis = figure.subplots()
    for row, structure in enumerate(rows):
        values = np.asarray(structure.known)
        colour = tuple(channel / 255 for channel in structure.colour)
        spread = np.sin(np.arange(len(values)) * 2.4) * 0.2  # fixed jitter: no chance needed
        if len(values) >= 4:
            axis.boxplot(
                [values],
                positions=[row],
                orientation="horizontal",
                widths=0.56,
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": (*colour, 0.22), "edgecolor": GREY},
                medianprops={"color": "0.15", "linewidth": 1.8},
                whiskerprops={"color": GREY},
                capprops={"color": GREY},
            )
        axis.scatter(
            values, row + spread, s=26, color=colour, edgecolor="0.2", linewidth=0.5, zorder=3
        )
    axis.set_yticks(range(len(rows)), [_short(structure.label.name) for structure in rows])
    axis.set_ylim(len(rows) - 0.45, -0.55)
    low = min(min(structure.known) for structure in rows)
    axis.set_xlim(max(-0.01, math.floor(low * 10 - 0.3) / 10 - 0.005), 1.005)
    axis.set_xlabel("Dice (1 = identical to the reference)")
    _plain(axis, grid="x")
    return _tight(figure)


def draw_curves(runs: Sequence[TrainingRun], colours: Mapping[str, Colour]) -> Figure:
    """Loss, pseudo Dice and learning rate over the epochs, of the folds of one configuration.

    Args:
        runs: the folds.
        colours: structure name -> RGB.
    """
    figure = Figure(figsize=(_WIDTH, 3.0))
    loss, dice, rate = figure.subplots(1, 3, width_ratios=(1.25, 1.25, 0.8))
    single = len(runs) == 1
    for run, colour in zip(runs, cycle(_LINES), strict=False):
        epochs = [entry.epoch + 1 for entry in run.epochs]
        marker = "o" if len(epochs) < 4 else None
        # One entry for all folds: their colours are explained beside the pseudo Dice.
        names_it = run is runs[0]
        training, validation = (BLUE, VERMILION) if single else (colour, colour)
        loss.plot(
            epochs,
            [e.train_loss for e in run.epochs],
            color=training,
            linewidth=1.5,
            marker=marker,
            label="training" if names_it else None,
        )
        loss.plot(
            epochs,
            [e.validation_loss for e in run.epochs],
            color=validation,
            linewidth=1.3,
            linestyle="--",
            marker=marker,
            label="validation" if names_it else None,
        )
        rate.plot(
            epochs,
            [e.learning_rate for e in run.epochs],
            color=BLUE if single else colour,
            linewidth=1.5,
            marker=marker,
        )
        mean = [np.nan if e.mean_pseudo_dice is None else e.mean_pseudo_dice for e in run.epochs]
        if single:
            names = list(dict.fromkeys(name for e in run.epochs for name in e.pseudo_dice))
            for structure, other in zip(names, cycle(_LINES[1:]), strict=False):
                line = css_colour(colours[structure]) if structure in colours else other
                values = [e.pseudo_dice.get(structure) for e in run.epochs]
                dice.plot(
                    epochs,
                    [np.nan if v is None else v for v in values],
                    color=line,
                    linewidth=1.4,
                    marker=marker,
                    label=_short(structure),
                )
        dice.plot(
            epochs,
            mean,
            color="0.1" if single else colour,
            linewidth=2.0,
            marker=marker,
            label="mean" if single else f"fold {run.fold}",
        )
    for axis, title in (
        (loss, "Loss (lower is better)"),
        (dice, "Pseudo Dice on validation patches"),
        (rate, "Learning rate"),
    ):
        axis.set_title(title, fontsize=10, loc="left", color="0.2")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _plain(axis, grid="y")
    dice.set_ylim(-0.02, 1.02)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-3, 3))
    for axis in (loss, dice):
        if 0 < len(axis.get_legend_handles_labels()[1]) <= 12:
            axis.legend(frameon=False, fontsize=8, handlelength=1.6)
    return _tight(figure)


def draw_geometry(fingerprint: Fingerprint) -> Figure:
    """Spacing and size of every case, per axis."""
    figure = Figure(figsize=(_WIDTH, 2.5))
    spacing, size = figure.subplots(1, 2)
    flat = all(shape[0] == 1 for shape in fingerprint.shapes_after_crop)
    names = ("between slices (Z)", "rows (Y)", "columns (X)")
    shown = (1, 2) if flat else (0, 1, 2)
    for axis, values, title in (
        (spacing, np.asarray(fingerprint.spacings, dtype=float), "Voxel spacing, mm"),
        (size, np.asarray(fingerprint.shapes_after_crop, dtype=float), "Size, voxels"),
    ):
        for row, dimension in enumerate(shown):
            points = values[:, dimension]
            spread = np.sin(np.arange(len(points)) * 2.4) * 0.16
            axis.scatter(points, row + spread, s=20, color=BLUE, alpha=0.55, linewidth=0)
            axis.plot(
                [np.median(points)] * 2, [row - 0.33, row + 0.33], color=VERMILION, linewidth=2.2
            )
        axis.set_yticks(range(len(shown)), [names[i] for i in shown])
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_xlim(0, max(float(values[:, shown].max()) * 1.08, 1e-6))
        axis.set_title(title, fontsize=10, loc="left", color="0.2")
        _plain(axis, grid="x")
    size.set_yticklabels([])
    return _tight(figure)


def draw_intensities(fingerprint: Fingerprint, channel_names: Sequence[str]) -> Figure | None:
    """Histogram of every channel with the clipping percentiles; None without histograms."""
    histograms = [h for h in fingerprint.intensity_histograms if len(h.counts)]
    if not histograms:
        return None
    columns = min(3, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = Figure(figsize=(_WIDTH, 2.4 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, (axis, histogram) in enumerate(zip(axes, histograms, strict=False)):
        axis.stairs(histogram.counts, histogram.edges, fill=True, color=BLUE, alpha=0.65)
        name = channel_names[index] if index < len(channel_names) else f"channel {index}"
        if index < len(fingerprint.foreground_intensities):
            known = fingerprint.foreground_intensities[index]
            for value in (known.percentile_00_5, known.percentile_99_5):
                axis.axvline(value, color=VERMILION, linewidth=1.4, linestyle="--")
            axis.axvline(known.median, color="0.15", linewidth=1.4)
            margin = 0.25 * max(known.percentile_99_5 - known.percentile_00_5, 1e-6)
            low, high = known.percentile_00_5 - margin, known.percentile_99_5 + margin
            axis.set_xlim(low, high)
            # What lies outside (air, for example) must not squeeze what is shown.
            edges = np.asarray(histogram.edges)
            shown = np.asarray(histogram.counts)[(edges[1:] > low) & (edges[:-1] < high)]
            if shown.size and shown.max() > 0:
                axis.set_ylim(0, 1.06 * float(shown.max()))
        axis.set_title(f"Intensity, {_short(name)}", fontsize=10, loc="left", color="0.2")
        axis.set_yticks([])
        _plain(axis)
    for axis in axes[len(histograms) :]:
        axis.set_axis_off()
    return _tight(figure)


def css_colour(colour: Colour) -> str:
    """The colour as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _short(text: str, length: int = 24) -> str:
    # A dollar sign would start a formula, which fails on unbalanced ones.
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")


def _plain(axis: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("0.7")
    axis.tick_params(colors="0.25", labelsize=8.5)
    if grid:
        axis.grid(axis=grid, color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)


def _tight(figure: Figure) -> Figure:
    figure.set_layout_engine("constrained")
    return figure
