"""Charts of scores and of trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..domain.labels import Colour
from .canvas import (
    BLUE,
    GREY,
    LINES,
    MANY_MARKS,
    VERMILION,
    WIDTH,
    css_colour,
    plain,
    short,
    tight,
)
from .content import TrainingRun
from .summary import ScoreSummary, StructureScore

_MOST_NAMED_LINES = 12
"""Structures with a line of their own in the curves: more cannot be told apart."""


def draw_scores(summary: ScoreSummary) -> Figure:
    """Dice and HD95 of every case as dots, with median and quartiles, one row per structure."""
    rows = [structure for structure in summary.structures if structure.known]
    distances = any(structure.known_hd95 for structure in rows)
    height = 0.62 if len(rows) <= 12 else 0.3
    figure = Figure(figsize=(WIDTH, 0.95 + height * len(rows)))
    axes = figure.subplots(1, 2 if distances else 1, squeeze=False, sharey=True)[0]
    low = min(min(structure.known) for structure in rows)
    dice = axes[0]
    _boxes(dice, rows, lambda structure: structure.known)
    dice.set_xlim(max(-0.01, math.floor(low * 10 - 0.3) / 10 - 0.005), 1.005)
    dice.set_xlabel("Dice (1 = identical to the reference)")
    dice.set_yticks(range(len(rows)), [short(structure.label.name) for structure in rows])
    dice.set_ylim(len(rows) - 0.45, -0.55)
    if distances:
        _boxes(axes[1], rows, lambda structure: structure.known_hd95)
        axes[1].set_xlim(left=0)
        axes[1].set_xlabel(f"HD95, {summary.unit} (0 = identical; 95% of the surface is nearer)")
        axes[1].tick_params(labelleft=False)
    for axis in axes:
        plain(axis, grid="x")
    return tight(figure)


def _boxes(
    axis: Axes, rows: Sequence[StructureScore], values_of: Callable[[StructureScore], list[float]]
) -> None:
    many = sum(len(values_of(structure)) for structure in rows) > MANY_MARKS
    for row, structure in enumerate(rows):
        values = np.asarray(values_of(structure))
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
            values,
            row + spread,
            s=14 if many else 24,
            color=colour,
            edgecolor="0.2",
            linewidth=0.5,
            zorder=3,
            rasterized=many,
        )


def draw_curves(runs: Sequence[TrainingRun], colours: Mapping[str, Colour]) -> Figure:
    """Loss, Dice and learning rate over the epochs, of the folds of one configuration.

    Args:
        runs: the folds.
        colours: structure name -> RGB.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    loss, dice, rate = figure.subplots(1, 3, width_ratios=(1.25, 1.25, 0.8))
    single = len(runs) == 1
    for run, colour in zip(runs, cycle(LINES), strict=False):
        epochs = [entry.epoch + 1 for entry in run.epochs]
        style: dict[str, Any] = {"linewidth": 1.5, "marker": "o" if len(epochs) < 4 else None}
        # One entry for all folds: their colours are explained beside the Dice.
        names_it = run is runs[0]
        training, validation = (BLUE, VERMILION) if single else (colour, colour)
        if single and run.iterations:
            places, losses = zip(*run.iterations, strict=True)
            axis_style = {"color": BLUE, "linewidth": 0.8, "alpha": 0.35}
            loss.plot(places, losses, label="training, iteration by iteration", **axis_style)
        loss.plot(
            epochs,
            [e.train_loss for e in run.epochs],
            color=training,
            label="training" if names_it else None,
            **style,
        )
        loss.plot(
            epochs,
            [e.validation_loss for e in run.epochs],
            color=validation,
            linestyle="--",
            label="validation" if names_it else None,
            **style,
        )
        line = BLUE if single else colour
        rate.plot(epochs, [e.learning_rate for e in run.epochs], color=line, **style)
        if single:
            _structure_lines(dice, run, colours, style)
        mean = [np.nan if e.mean_pseudo_dice is None else e.mean_pseudo_dice for e in run.epochs]
        dice.plot(
            epochs,
            mean,
            color="0.1" if single else colour,
            label="mean of patches" if single else f"fold {run.fold}",
            **{**style, "linewidth": 2.0},
        )
        whole = [(e.epoch + 1, e.mean_dice) for e in run.validations if e.mean_dice is not None]
        if whole:
            dice.plot(
                *zip(*whole, strict=True),
                color="0.1" if single else colour,
                linestyle="none",
                marker="D",
                markersize=5,
                markerfacecolor="white",
                label="whole cases" if names_it else None,
            )
    for axis, title in (
        (loss, "Loss (lower is better)"),
        (dice, "Dice while training"),
        (rate, "Learning rate"),
    ):
        axis.set_title(title, fontsize=10, loc="left", color="0.2")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plain(axis, grid="y")
    dice.set_ylim(-0.02, 1.02)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-3, 3))
    for axis in (loss, dice):
        if 0 < len(axis.get_legend_handles_labels()[1]) <= _MOST_NAMED_LINES + 2:
            axis.legend(frameon=False, fontsize=8, handlelength=1.6)
    return tight(figure)


def _structure_lines(
    axis: Axes, run: TrainingRun, colours: Mapping[str, Colour], style: Mapping[str, Any]
) -> None:
    names = list(dict.fromkeys(name for e in run.epochs for name in e.pseudo_dice))
    few = len(names) <= _MOST_NAMED_LINES
    for name, other in zip(names, cycle(LINES[1:]), strict=False):
        values = [e.pseudo_dice.get(name) for e in run.epochs]
        axis.plot(
            [e.epoch + 1 for e in run.epochs],
            [np.nan if value is None else value for value in values],
            color=css_colour(colours[name]) if name in colours else other,
            label=short(name) if few else None,
            alpha=1.0 if few else 0.45,
            rasterized=not few,
            **{**style, "linewidth": 1.4 if few else 0.8},
        )
