"""How far a training is, told from its events alone: the same live, and after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from .budget import duration

LineTaker = Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """One point of the curves; None where a value is not defined."""

    number: int
    train_loss: float | None
    validation_loss: float | None
    mean_dice: float | None
    dice: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishedModel:
    """What `model_ready` tells."""

    name: str
    version: str
    folder: str
    dice: float | None
    cases: int

    def in_words(self) -> str:
        """Its name and its cross-validation score."""
        if self.dice is None:
            return _("{name} is ready. It was not tested on unseen cases.").format(name=self.name)
        if self.cases == 1:
            text = _("{name} is ready: mean Dice {dice:.3f} on one unseen case.")
        else:
            text = _("{name} is ready: mean Dice {dice:.3f} on {cases} unseen cases.")
        return text.format(name=self.name, dice=self.dice, cases=self.cases)


class TrainingProgress:
    """Takes the events of a training's runs, in the order of the file.

    Args:
        on_log: takes a line for people, where an event is worth one.
    """

    def __init__(self, on_log: LineTaker = lambda line: None) -> None:
        self._on_log = on_log
        self.began: Mapping[str, Any] | None = None
        """The `run_started` event of the latest run."""
        self.status: int | None = None
        """Exit status of the latest run; None while it goes on (or was killed)."""
        self.message = ""
        self.stage = ""
        self.percent: int | None = None
        self.eta_seconds: float | None = None
        self.training = ""
        """The network in training: "3d_fullres fold 0"."""
        self.epochs: list[Epoch] = []
        self.planned_epochs = 0
        self.curves_title = ""
        """The network whose epochs are in `epochs`."""
        self.trained = 0
        """Networks that are done."""
        self.model: FinishedModel | None = None
        self._used_before = 0.0
        self._last_time = 0.0

    def used_seconds(self, now: float, *, running: bool) -> float:
        """Time that all runs together took.

        Args:
            now: seconds since 1970.
            running: whether the latest run goes on.
        """
        if self.began is None or self.status is not None:
            return self._used_before
        end = now if running else self._last_time
        return self._used_before + max(0.0, end - float(self.began.get("time") or end))

    def take(self, event: Mapping[str, Any], *, seen_at: float) -> None:
        """One event.

        Args:
            event: as it stands in the file.
            seen_at: seconds since 1970 when the file was last written.
        """
        kind, moment = event.get("event"), float(event.get("time") or seen_at)
        reaction = _REACTIONS.get(str(kind))
        if kind == "run_started" and self.began is not None and self.status is None:
            # The run before was killed and could not say when it ended.
            self._used_before += max(0.0, self._last_time - float(self.began.get("time") or 0.0))
        if reaction is not None:
            reaction(self, event)
        self._last_time = min(seen_at, moment)

    def in_words(self) -> str:
        """One line about the present state."""
        parts = [self.training or self.stage]
        if self.training and self.planned_epochs:
            parts.append(
                _("epoch {number} of {count}").format(
                    number=min(len(self.epochs) + 1, self.planned_epochs), count=self.planned_epochs
                )
            )
        elif self.percent is not None:
            parts.append(f"{self.percent}%")
        if self.eta_seconds:
            parts.append(_("{time} left for this step").format(time=duration(self.eta_seconds)))
        return ", ".join(part for part in parts if part)

    def _started(self, event: Mapping[str, Any]) -> None:
        self.began, self.status, self.message, self.model = event, None, "", None
        self.stage, self.percent, self.eta_seconds, self.training = "", None, None, ""
        self.trained = 0

    def _ended(self, event: Mapping[str, Any]) -> None:
        self.status, self.message = int(event["status"]), str(event.get("message") or "")
        if self.began is not None:
            began, ended = float(self.began.get("time") or 0.0), float(event.get("time") or 0.0)
            # The run's own count: the clock on the wall may have been put meanwhile.
            self._used_before += max(0.0, float(event.get("seconds", ended - began)))
        self.training, self.percent, self.eta_seconds = "", None, None
        if self.message:
            self._on_log(self.message)

    def _stage_started(self, event: Mapping[str, Any]) -> None:
        self.stage, self.percent, self.eta_seconds = str(event["stage"]), None, None
        if self.stage.startswith("train "):
            self._change_training(self.stage.removeprefix("train "))
        else:
            self.training = ""
        self._on_log(f"{self.stage} ...")

    def _stage_finished(self, event: Mapping[str, Any]) -> None:
        stage = str(event["stage"])
        if stage.startswith("train "):
            self.trained += 1
            self.training = ""
        detail = f": {event['detail']}" if event.get("detail") else ""
        took = _("already done") if event.get("skipped") else duration(event.get("seconds") or 0.0)
        self._on_log(f"{stage}: {took}{detail}")

    def _progress(self, event: Mapping[str, Any]) -> None:
        if event.get("total"):
            self.percent = round(100 * min(1.0, event["done"] / event["total"]))
        self.eta_seconds = event.get("eta_seconds")

    def _iteration(self, event: Mapping[str, Any]) -> None:
        self.eta_seconds = event.get("eta_seconds")

    def _epoch(self, event: Mapping[str, Any]) -> None:
        self._change_training(f"{event['configuration']} fold {event['fold']}")
        number = int(event["epoch"])
        # A run that goes on repeats the epochs after its last checkpoint.
        self.epochs = [epoch for epoch in self.epochs if epoch.number < number]
        self.epochs.append(
            Epoch(
                number,
                event.get("train_loss"),
                event.get("validation_loss"),
                event.get("mean_pseudo_dice"),
                dict(event.get("pseudo_dice") or {}),
            )
        )
        self.planned_epochs = int(event["epochs"])
        self.eta_seconds = event.get("eta_seconds")

    def _change_training(self, training: str) -> None:
        self.training = training
        if training != self.curves_title:
            self.curves_title, self.epochs, self.planned_epochs = training, [], 0

    def _notice(self, event: Mapping[str, Any]) -> None:
        mark = _("warning: ") if event.get("level") == "warning" else ""
        self._on_log(f"{mark}{event['text']}")

    def _model(self, event: Mapping[str, Any]) -> None:
        self.model = FinishedModel(
            str(event["name"]),
            str(event["version"]),
            str(event["folder"]),
            event.get("dice"),
            int(event.get("cases") or 0),
        )


_REACTIONS: Mapping[str, Callable[[TrainingProgress, Mapping[str, Any]], None]] = {
    "run_started": TrainingProgress._started,
    "run_ended": TrainingProgress._ended,
    "stage_started": TrainingProgress._stage_started,
    "stage_finished": TrainingProgress._stage_finished,
    "progress": TrainingProgress._progress,
    "iteration_finished": TrainingProgress._iteration,
    "epoch_finished": TrainingProgress._epoch,
    "notice": TrainingProgress._notice,
    "model_ready": TrainingProgress._model,
}
