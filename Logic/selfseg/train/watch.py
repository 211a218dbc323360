"""Watching a training: structures that are not learnt, and when nothing gets better any more.

Pure logic on the events of epochs. The state of both classes is plain numbers and travels in
the checkpoint, so that a training that was stopped says and does the same as one that ran
through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..domain.events import EpochFinished, Notice, ValidationFinished

if TYPE_CHECKING:
    from ..network.unet import UNet

COLLAPSED_EPOCHS = 5
"""Epochs in a row without overlap that make an alarm."""

REPEAT_FACTOR = 10
"""The alarm comes again after this many times as many epochs: 5, 50, 500."""

START_EPOCHS, START_SHARE = 5, 0.02
"""The first epochs do not count: five, or this share of all where that is more."""

PATIENCE = 30
"""Epochs without a better score that end a training."""

LEAST_LOOKS = 3
"""No training ends on fewer scores in a row that were no better."""

DICE_WEIGHT, DISTANCE_WEIGHT, DISTANCE_MM = 0.7, 0.3, 10.0
"""Of the composite score."""


def composite_score(dice: float, hd95_mm: float | None = None) -> float:
    """0.7 (1 - Dice) + 0.3 HD95 / 10 mm, lower is better; without a distance 0.7 (1 - Dice).

    Scores with and without a distance cannot be compared with each other.
    """
    distance = 0.0 if hd95_mm is None else hd95_mm / DISTANCE_MM
    return DICE_WEIGHT * (1 - dice) + DISTANCE_WEIGHT * distance


class CollapseAlarm:
    """Says so when a structure is not found in any watched patch for several epochs.

    Args:
        structures: names of those that occur in the training labels; no others are watched.
        by_structure: whether the schedule already draws cases by structure, so that this
            advice is left out.
    """

    def __init__(self, structures: Collection[str], *, by_structure: bool = False) -> None:
        self._structures = tuple(structures)
        self._by_structure = by_structure
        self._streak: dict[str, int] = {}
        self._best: dict[str, float] = {}

    def update(self, event: EpochFinished) -> Notice | None:
        """A warning for the structures whose alarm is due after this epoch, if there are any."""
        if event.epoch < max(START_EPOCHS, START_SHARE * event.epochs):
            self._note_best(event)
            return None
        due = []
        for name in self._structures:
            streak = 0 if event.pseudo_dice.get(name) else self._streak.get(name, 0) + 1
            self._streak[name] = streak
            if _is_due(streak):
                due.append(name)
        self._note_best(event)
        return self._warning(due, event) if due else None

    def state(self) -> dict[str, Any]:
        """What `load` takes: plain numbers by structure."""
        return {"streak": dict(self._streak), "best": dict(self._best)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self._streak = {str(name): int(count) for name, count in state["streak"].items()}
        self._best = {str(name): float(value) for name, value in state["best"].items()}

    def _note_best(self, event: EpochFinished) -> None:
        for name, value in event.pseudo_dice.items():
            if value:
                self._best[name] = max(value, self._best.get(name, 0.0))

    def _warning(self, due: list[str], event: EpochFinished) -> Notice:
        told = "; ".join(f"{name}: {self._told(name, event.pseudo_dice.get(name))}" for name in due)
        cures = ["check the labels with `selfseg check`"]
        if not self._by_structure:
            cures.append('set foreground_cases to "by_structure" in the plan\'s schedule')
        cures += [
            "train longer",
            "plan for a larger patch (--memory)",
            "merge a structure that is too rare with its neighbour, or make a region of both",
        ]
        return Notice(
            f"after epoch {event.epoch + 1} the network does not find "
            f"{'these structures' if len(due) > 1 else 'this structure'} ({told}). "
            f"What to try: {'; '.join(cures)}",
            level="warning",
        )

    def _told(self, name: str, dice: float | None) -> str:
        count = self._streak[name]
        if dice is None:
            return (
                f"for {count} epochs neither predicted nor in a watched patch, "
                "though the training labels hold it"
            )
        if name in self._best:
            return f"pseudo Dice 0 for {count} epochs, at best {self._best[name]:.2f} before"
        return f"pseudo Dice 0 for {count} epochs, never above"


class Validator(Protocol):
    """Scores whole cases with the network in training (`selfseg.stages.validate` makes one)."""

    expected_seconds: float
    """What the next validation will take, from the last one; 0 before the first."""

    def due(self, epoch: int) -> bool:
        """Whether whole cases are looked at after this epoch, counted from 0."""
        ...

    def __call__(
        self, network: UNet, epoch: int, seconds_left: float = ...
    ) -> ValidationFinished | None:
        """The scores, without a trace in the network or the random numbers.

        None where `seconds_left` was not enough, or the user asked to stop.
        """
        ...


@dataclass(frozen=True)
class Verdict:
    """What an epoch's score means: keep these weights as the best, or stop."""

    score: float | None = None
    is_best: bool = False
    stop: bool = False


class EarlyStopping:
    """Ends a training whose composite score has not fallen for `patience` epochs.

    The score is 0.7 (1 - Dice) + 0.3 HD95 / 10 mm of whole cases (`ValidationFinished`), and
    epochs without such a validation have none. Where no validation is made at all it is
    0.7 (1 - EMA of the pseudo Dice): patches say nothing reliable about distances.

    Args:
        patience: epochs since the best one.
        validates: whether whole cases are validated in this training.
    """

    def __init__(self, patience: int = PATIENCE, *, validates: bool) -> None:
        self.patience = patience
        self.validates = validates
        self.best: float | None = None
        self.best_epoch = -1
        self._looks = 0  # scores since the best one

    def update(self, event: EpochFinished, validated: ValidationFinished | None = None) -> Verdict:
        """Takes in one epoch, with the validation of whole cases where one was made."""
        score = self._score(event, validated)
        if score is None:
            return Verdict()
        if self.best is None or score < self.best:
            self.best, self.best_epoch, self._looks = score, event.epoch, 0
            return Verdict(score, is_best=True)
        self._looks += 1
        waited = event.epoch - self.best_epoch
        return Verdict(score, stop=waited >= self.patience and self._looks >= LEAST_LOOKS)

    def notice(self) -> Notice:
        """What to tell the user when it stops the training."""
        best = "" if self.best is None else f" (composite score {self.best:.3f})"
        return Notice(
            f"stopped early: no epoch was better than epoch {self.best_epoch + 1}{best} for "
            f"{self.patience} epochs; its weights are kept as the best ones (--checkpoint best)"
        )

    def state(self) -> dict[str, Any]:
        """What `load` takes: plain numbers."""
        return {"best": self.best, "best_epoch": self.best_epoch, "looks": self._looks}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.best = None if state["best"] is None else float(state["best"])
        self.best_epoch, self._looks = int(state["best_epoch"]), int(state["looks"])

    def _score(self, event: EpochFinished, validated: ValidationFinished | None) -> float | None:
        if self.validates:
            return None if validated is None else validated.composite
        ema = event.ema_pseudo_dice
        return None if ema is None else composite_score(ema)


def _is_due(streak: int) -> bool:
    due = COLLAPSED_EPOCHS
    while due < streak:
        due *= REPEAT_FACTOR
    return streak == due
