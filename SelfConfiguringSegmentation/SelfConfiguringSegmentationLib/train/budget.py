"""What a time budget is spent on, and what to expect of it, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

LEVELS: tuple[float | None, ...] = (
    5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR,
    12 * HOUR, DAY, 2 * DAY, 4 * DAY, None,
)  # fmt: skip
"""Seconds at the positions of the slider; None: as published, whatever it takes."""

DEFAULT_LEVEL = LEVELS.index(2 * HOUR)

CROSS_VALIDATION_FROM = HOUR
"""With less, five networks would each learn for a few minutes only."""

EVERYTHING_FROM = 8 * HOUR
"""From here on there is time for every configuration that the plan recommends."""

FOLDS = 5


@dataclass(frozen=True)
class Strategy:
    """Which networks are trained.

    Args:
        folds: of `selfseg run -f`.
        everything: every recommended configuration; the main one alone otherwise.
        trainings: how many networks that makes, where one configuration is recommended.
    """

    folds: str
    everything: bool
    trainings: int

    def words(self, configurations: tuple[str, ...]) -> list[str]:
        """As arguments of `selfseg run`."""
        words = ["-f", self.folds]
        return words if self.everything else [*words, "-c", main_configuration(configurations)]


def strategy_for(seconds: float | None) -> Strategy:
    """How the budget is used best."""
    if seconds is None or seconds >= EVERYTHING_FROM:
        return Strategy("cv", True, FOLDS)
    if seconds >= CROSS_VALIDATION_FROM:
        return Strategy("cv", False, FOLDS)
    return Strategy("0", False, 1)


def main_configuration(names: tuple[str, ...]) -> str:
    """The one to train where there is time for one only."""
    return "3d_fullres" if "3d_fullres" in names or not names else names[0]


def level_in_words(seconds: float | None) -> str:
    """The position of the slider: "20 minutes", "4 days", "no limit"."""
    if seconds is None:
        return _("no limit")
    for unit, one, many in (
        (DAY, _("1 day"), _("{count} days")),
        (HOUR, _("1 hour"), _("{count} hours")),
        (MINUTE, _("1 minute"), _("{count} minutes")),
    ):
        if seconds >= unit:
            count = round(seconds / unit)
            return one if count == 1 else many.format(count=count)
    return _("{count} seconds").format(count=round(seconds))


def meaning(seconds: float | None) -> str:
    """What is done within the budget."""
    if seconds is None:
        return _(
            "As published: every recommended network, five-fold cross-validation, 1000 epochs "
            "each. Days to weeks on one graphics card."
        )
    if seconds < CROSS_VALIDATION_FROM:
        return _("A first look: one network, tested on a fifth of the cases that it has not seen.")
    if seconds < EVERYTHING_FROM:
        return _(
            "Five networks of one kind, each tested on a fifth of the cases: every case is judged "
            "by a network that has not seen it, and all five segment together."
        )
    return _(
        "Every kind of network that suits the data, five of each; the best kind, or two together, "
        "is chosen on cases they have not seen."
    )


def estimate_in_words(explained: Mapping[str, Any], seconds: float | None) -> str:
    """Time, memory and disk that training takes.

    Args:
        explained: a `plan_explained` event.
        seconds: the budget.
    """
    entries = trained(explained, seconds)
    folds = int(explained["folds"]) if strategy_for(seconds).folds == "cv" else 1
    trainings = folds * len(entries)
    needed = sum(entry["seconds_per_step"] for entry in entries) * folds * explained["steps"]
    total = needed if seconds is None else seconds
    memory = max((entry["memory_bytes"] for entry in entries), default=0)
    names = ", ".join(str(entry["name"]) for entry in entries)
    if trainings > 1:
        text = _("{count} networks ({names}), about {each} each, {total} in all.")
    else:
        text = _("1 network ({names}), about {total}.")
    return (
        text.format(
            count=trainings,
            names=names,
            each=duration(total / max(1, trainings)),
            total=duration(total),
        )
        + " "
        + _("Memory: about {memory}. Disk: about {disk}.").format(
            memory=size(memory), disk=size(explained["disk_bytes"])
        )
    )


def trained(explained: Mapping[str, Any], seconds: float | None) -> list[dict[str, Any]]:
    """Those of a plan's configurations that are trained within the budget."""
    entries = list(explained["configurations"])
    if strategy_for(seconds).everything:
        return entries
    main = main_configuration(tuple(str(entry["name"]) for entry in entries))
    return [entry for entry in entries if entry["name"] == main] or entries[:1]


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 90:
        return _("{count} s").format(count=round(seconds))
    if seconds < 90 * MINUTE:
        return _("{count} min").format(count=round(seconds / MINUTE))
    if seconds < 2 * DAY:
        return _("{count} h").format(count=f"{seconds / HOUR:.1f}")
    return _("{count} days").format(count=f"{seconds / DAY:.1f}")


def size(count: float) -> str:
    """Bytes in words."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{math.ceil(count / 1e6)} MB"
