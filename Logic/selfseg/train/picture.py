"""progress.png: how a training goes, at a glance, drawn anew while it runs.

    loss                     pseudo Dice per structure, mean, EMA
    whole cases, or speed    learning rate

matplotlib is imported when the first picture is drawn, not before.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..domain.events import EpochFinished, Event, Notice, Reporter, ValidationFinished
from ..io.atomic_files import written_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFRESH_SECONDS = 30.0
"""A picture is drawn no more often than this ..."""

COST_FACTOR = 100.0
"""... nor so often that drawing takes more than about 1% of the time."""

FIRST_COST_SECONDS = 1.5
"""Taken for the first picture, which imports matplotlib (about 1 s on two cores)."""

BLUE, VERMILION, GREY, DARK = "#0072B2", "#D55E00", "#5b6770", "0.12"
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2")
# Okabe and Ito's palette, which colour-blind readers can tell apart; with more structures than
# colours the dashes differ.
_DASHES = ("-", "--", ":")

LISTED_STRUCTURES = 8
"""With more structures all are drawn in grey, and the worst few by name."""

WORST_STRUCTURES = 3

FEW_EPOCHS, MANY_EPOCHS = 20, 200


class ProgressPicture:
    """Keeps the epochs of a training and draws them to a file now and then.

    A picture that cannot be drawn is told once, as a warning; the training goes on.

    Args:
        path: progress.png.
        earlier: what the log of a resumed training tells of its first part.
        title: what the picture is headed with, for example "3d_fullres, fold 0".
        reporter: is told when drawing fails.
        clock: seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        earlier: Iterable[Event] = (),
        title: str = "",
        reporter: Reporter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.title = title
        self.cost_seconds = FIRST_COST_SECONDS
        self._reporter = reporter
        self._clock = clock
        self._drawn_at = clock()
        self._failed = False
        self._epochs: dict[int, EpochFinished] = {}
        self._validations: dict[int, ValidationFinished] = {}
        for event in earlier:
            self._keep(event)

    def __call__(self, event: Event) -> None:
        """Takes in an event, and draws at the end of an epoch where it is time to."""
        self._keep(event)
        if not isinstance(event, EpochFinished | ValidationFinished):
            return
        pause = max(REFRESH_SECONDS, COST_FACTOR * self.cost_seconds)
        if self._clock() - self._drawn_at >= pause:
            self.draw()

    def draw(self) -> None:
        """Draws what is known now; does nothing before the first epoch."""
        if self._failed or not self._epochs:
            return
        began = self._clock()
        try:
            figure = draw_progress(
                [self._epochs[number] for number in sorted(self._epochs)],
                [self._validations[number] for number in sorted(self._validations)],
                self.title,
            )
            with written_atomically(self.path) as part, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                figure.savefig(part, format="png")
        except Exception as error:  # a picture must never end a training
            self._failed = True
            text = f"{self.path.name} cannot be drawn ({type(error).__name__}: {error})"
            self._reporter(Notice(f"{text}; the training goes on without it", level="warning"))
        self._drawn_at = self._clock()
        self.cost_seconds = self._drawn_at - began

    def _keep(self, event: Event) -> None:
        if isinstance(event, EpochFinished):
            self._epochs[event.epoch] = event
        elif isinstance(event, ValidationFinished):
            self._validations[event.epoch] = event


def draw_progress(
    epochs: Sequence[EpochFinished], validations: Sequence[ValidationFinished], title: str = ""
) -> Figure:
    """The picture of some epochs, oldest first, and of the validations between them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    # Fixed margins: a layout engine would draw everything twice.
    figure.subplots_adjust(0.062, 0.075, 0.978, 0.875, wspace=0.17, hspace=0.42)
    loss, pseudo, whole, rate = figure.subplots(2, 2).ravel()
    figure.text(0.012, 0.955, _headline(epochs, title), fontsize=12, color=DARK)
    _draw_loss(loss, epochs)
    _draw_scores(
        pseudo,
        [event.epoch for event in epochs],
        [event.pseudo_dice for event in epochs],
        [event.mean_pseudo_dice for event in epochs],
    )
    x = [event.epoch + 1 for event in epochs]
    ema = [_or_nan(event.ema_pseudo_dice) for event in epochs]
    style: dict[str, Any] = {"linewidth": 2.2, "linestyle": (0, (4, 1.2)), "zorder": 4}
    pseudo.plot(x, ema, color=BLUE, label="EMA of the mean", **style)
    _title(pseudo, "Pseudo Dice on patches")
    if validations:
        _draw_scores(
            whole,
            [event.epoch for event in validations],
            [event.dice for event in validations],
            [event.mean_dice for event in validations],
            marker="o",
        )
        _title(whole, *_whole_case_titles(validations[-1]))
    else:
        _draw_speed(whole, epochs)
    _draw_rate(rate, epochs)
    for axis in (loss, pseudo, whole, rate):
        _plain(axis, len(x), x[-1])
    low = (epochs[-1].mean_pseudo_dice or 0.0) < 0.5
    for axis in (loss, pseudo, whole):
        count = len(axis.get_legend_handles_labels()[1])
        if count:
            # Where curves of this kind leave room: losses fall, scores rise.
            place = "upper right" if axis is loss else "upper left" if low else "lower right"
            columns = 2 if count > 5 else 1
            axis.legend(
                frameon=False, fontsize=8, handlelength=2.2, loc=place, ncols=columns
            ).set_zorder(6)
    return figure


def _headline(epochs: Sequence[EpochFinished], title: str) -> str:
    last = epochs[-1]
    parts = [title] if title else []
    parts.append(f"epoch {last.epoch + 1} of {max(last.epochs, last.epoch + 1)}")
    if last.ema_pseudo_dice is not None:
        parts.append(f"EMA of the pseudo Dice {last.ema_pseudo_dice:.3f}")
    return _escaped("   ·   ".join(parts))


def _draw_loss(axis: Axes, epochs: Sequence[EpochFinished]) -> None:
    x = [event.epoch + 1 for event in epochs]
    style = _style(len(x), 1.6)
    axis.plot(x, [e.train_loss for e in epochs], color=BLUE, label="training", **style)
    validation = [e.validation_loss for e in epochs]
    dashes = "--" if len(x) <= MANY_EPOCHS else "-"  # noise would fill the gaps of dashes
    axis.plot(x, validation, color=VERMILION, linestyle=dashes, label="validation", **style)
    _title(axis, "Loss (lower is better)")


def _draw_scores(
    axis: Axes,
    epochs: Sequence[int],
    scores: Sequence[dict[str, float | None]],
    means: Sequence[float | None],
    marker: str | None = None,
) -> None:
    """One line per structure and their mean, between 0 and 1."""
    x = [epoch + 1 for epoch in epochs]
    style = _style(len(x), 1.3)
    if marker:
        style["marker"] = marker
    names = list(dict.fromkeys(name for entry in scores for name in entry))
    many = len(names) > LISTED_STRUCTURES
    shown = _worst(scores[-1]) if many else names
    for name in names:
        y = [_or_nan(entry.get(name)) for entry in scores]
        if name in shown:
            place = shown.index(name)
            axis.plot(
                x,
                y,
                color=_COLOURS[place % len(_COLOURS)],
                linestyle=_DASHES[place // len(_COLOURS) % len(_DASHES)],
                label=_short(name) + (" (low)" if many else ""),
                zorder=2.5,
                **style,
            )
        else:
            axis.plot(x, y, color="0.75", linewidth=0.7)
    if len(names) != 1:
        label = f"mean of {len(names)}" if many else "mean"
        y = [_or_nan(mean) for mean in means]
        axis.plot(x, y, color=DARK, label=label, zorder=3, **{**style, "linewidth": 2})
    axis.set_ylim(-0.02, 1.02)


def _draw_speed(axis: Axes, epochs: Sequence[EpochFinished]) -> None:
    x = [event.epoch + 1 for event in epochs]
    y = [event.samples_per_second for event in epochs]
    axis.plot(x, y, color=BLUE, **_style(len(x), 1.6))
    axis.set_ylim(0, 1.15 * max([*y, 1e-6]))
    _title(axis, "Speed, samples per second")


def _draw_rate(axis: Axes, epochs: Sequence[EpochFinished]) -> None:
    x = [event.epoch + 1 for event in epochs]
    y = [event.learning_rate for event in epochs]
    axis.plot(x, y, color=BLUE, **_style(len(x), 1.6))
    axis.set_ylim(0, 1.1 * max([*y, 1e-12]))
    axis.yaxis.set_major_formatter("{x:.2g}")
    _title(axis, "Learning rate")


def _whole_case_titles(last: ValidationFinished) -> tuple[str, str]:
    more = [] if last.mean_hd95_mm is None else [f"HD95 {last.mean_hd95_mm:.1f} mm"]
    if last.mean_surface_dice_2mm is not None:
        more.append(f"surface Dice (2 mm) {last.mean_surface_dice_2mm:.2f}")
    count = f"{last.cases} whole case" + ("" if last.cases == 1 else "s")
    return f"Dice of {count}", ", ".join(more)


def _worst(scores: dict[str, float | None]) -> list[str]:
    known = sorted((value, name) for name, value in scores.items() if value is not None)
    return [name for _, name in known[:WORST_STRUCTURES]]


def _title(axis: Axes, text: str, right: str = "") -> None:
    axis.set_title(text, fontsize=10, loc="left", color="0.2")
    axis.set_title(right, fontsize=8.5, loc="right", color=GREY)


def _plain(axis: Axes, count: int, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("0.7")
    axis.tick_params(colors="0.25", labelsize=8.5)
    axis.grid(axis="y", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    ticks = MaxNLocator(8, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    axis.xaxis.set_major_locator(ticks)
    axis.set_xlabel("epoch", fontsize=8.5, color="0.25", labelpad=1)
    first = last - count + 1
    edge = 0.5 if count < FEW_EPOCHS else 0.0
    axis.set_xlim(first - edge, last + edge)


def _style(count: int, width: float) -> dict[str, Any]:
    """Dots where there are few epochs, thin lines where there are many."""
    return {
        "linewidth": width if count <= MANY_EPOCHS else 0.6 * width,
        "marker": "o" if count < FEW_EPOCHS else None,
        "markersize": 3.5,
    }


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _short(text: str, length: int = 22) -> str:
    return _escaped(text if len(text) <= length else text[: length - 1] + "…")


def _escaped(text: str) -> str:
    # A dollar sign would start a formula, which fails on unbalanced ones; a label that begins
    # with an underscore would be left out of the legend.
    text = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text
