"""The state of a training and its plan, in words and numbers for the page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from slicer.i18n import tr as _

from .budget import duration, estimate_in_words, level_in_words, trained
from .training import Training


def state_in_words(training: Training, *, following: bool) -> str:
    """One line about a training.

    Args:
        training: what to speak of.
        following: whether it runs, or is being read to see whether it does.
    """
    progress = training.progress
    if following and not training.is_read:
        return _("Reading what happened meanwhile ...")
    if training.model is not None:
        return training.model.in_words()
    if training.failure:
        return _("Failed: {what}").format(what=training.failure.splitlines()[0])
    if not following:
        return _("Paused after {time}; press Resume to go on.").format(
            time=duration(training.used_seconds)
        )
    if training.is_stopping:
        return _("Saving, then pausing ...")
    parts = [progress.in_words() or _("Starting ...")]
    seconds = training.description.seconds
    if seconds:
        parts.append(
            _("{used} of {budget} used").format(
                used=duration(training.used_seconds), budget=level_in_words(seconds)
            )
        )
    return "; ".join(parts)


def percent_of(training: Training) -> int | None:
    """How far it is: of the budget, or else of the network in training; None where unknown."""
    seconds = training.description.seconds
    if seconds:
        return round(100 * min(1.0, training.used_seconds / seconds))
    progress = training.progress
    if progress.training and progress.planned_epochs:
        return round(100 * min(1.0, len(progress.epochs) / progress.planned_epochs))
    return progress.percent


def plan_html(explained: Mapping[str, Any] | None, seconds: float | None) -> str:
    """The plan as paragraphs; "" without one.

    Args:
        explained: a `plan_explained` event.
        seconds: the budget, which decides what of it is trained.
    """
    if explained is None:
        return ""
    names = {str(entry["name"]) for entry in trained(explained, seconds)}
    paragraphs = [
        (_("What it takes"), estimate_in_words(explained, seconds)),
        *(
            (topic["title"], topic["text"])
            for topic in explained["topics"]
            if topic.get("configuration", "") in {"", *names}
        ),
    ]
    return "".join(f"<p><b>{escape(title)}</b><br>{escape(text)}</p>" for title, text in paragraphs)
