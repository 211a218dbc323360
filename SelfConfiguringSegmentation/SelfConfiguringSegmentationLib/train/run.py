"""Everything from cases to a finished model in one call, for scripts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfseg.domain.errors import SelfsegError

from ..running import Run
from . import training_folder
from .collecting import Found, Source, SurveyRun
from .known_trainings import KnownTrainings
from .preparing import PrepareRun, TrainingSettings, description_of
from .progress import FinishedModel
from .survey import Choices
from .training import Training
from .training_folder import TrainingFolder

POLL_SECONDS = 0.1


def sources_of(collection: Any) -> tuple[Source, ...]:
    """Where the cases of `SelfConfiguringSegmentationLogic.train` come from.

    Args:
        collection: None for the scene, a subject hierarchy item (int), a path, or several.
    """
    if collection is None:
        return (Source("scene"),)
    if isinstance(collection, int):
        return (Source("scene folder", None, collection),)
    if isinstance(collection, Sequence) and not isinstance(collection, str):
        return tuple(source for entry in collection for source in sources_of(entry))
    return (Source(str(collection), Path(collection)),)


class TrainRun:
    """Looks at the cases, prepares, and trains in a process that outlives us.

    Args:
        collection: see `sources_of`.
        choices: about the cases.
        settings: about the training.
        survey: starts a survey of sources.
        prepare: starts preparing of (sources, found, choices, settings).
        open_training: opens a training folder.
        known: is told of the training; None to tell nobody.
        skip_problems: leaves cases with problems out; they are an error otherwise.
    """

    def __init__(
        self,
        collection: Any,
        choices: Choices,
        settings: TrainingSettings,
        *,
        survey: Callable[..., SurveyRun],
        prepare: Callable[..., PrepareRun],
        open_training: Callable[[Path], Training],
        known: KnownTrainings | None = None,
        skip_problems: bool = False,
    ) -> None:
        self._sources = sources_of(collection)
        self._choices = choices.named(choices.name or settings.name)
        self._settings = settings
        self._prepare = prepare
        self._open = open_training
        self._known = known
        self._skip_problems = skip_problems
        self._error: BaseException | None = None
        self.training: Training | None = None
        self._run: Run | None = None
        place = TrainingFolder(settings.folder)
        if training_folder.read_description(place) is None:
            self._run = survey(self._sources, self._choices)
        else:
            self._go_on(place)

    def poll(self) -> bool:
        """Works for a moment; True once `finish` may be called."""
        try:
            if self._error is not None:
                return True
            if self._run is not None:
                if self._run.poll():
                    self._next(self._run)
                return self._error is not None
            return self.training is None or self.training.poll()
        except Exception as error:
            self._error = error
            return True

    def wait(
        self,
        while_waiting: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Polls until all is done; on an exception (Ctrl-C too) asks for a stop."""
        try:
            while not self.poll():
                while_waiting()
                sleep(POLL_SECONDS)
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Asks for a stop; what is done is kept. Go on polling."""
        if self._run is not None:
            self._run.cancel()
        elif self.training is not None:
            self.training.pause()

    def end_now(self) -> None:
        """Ends preparing by force, or pauses the training."""
        if self._run is not None:
            self._run.end_now()
        elif self.training is not None:
            self.training.pause()

    def finish(self) -> FinishedModel:
        """The model in the library.

        Raises:
            Cancelled: it was stopped.
            SelfsegError: it failed, with cause and cure.
        """
        if self._error is not None:
            raise self._error
        if self.training is None:
            raise SelfsegError("the training has not begun", cure="poll until it is over")
        return self.training.result()

    def _next(self, run: Run) -> None:
        self._run = None
        result = run.finish()
        if isinstance(result, Found):
            self._check(result)
            self._run = self._prepare(self._sources, result, self._choices, self._settings)
            return
        names = [str(entry["name"]) for entry in result["configurations"]]
        place = TrainingFolder(self._settings.folder)
        training_folder.write_description(place, description_of(self._settings, names))
        self._go_on(place)

    def _go_on(self, place: TrainingFolder) -> None:
        """Starts what is described there, or gives its model where it is finished."""
        self.training = self._open(place.folder)
        self.training.read_all()
        if not self.training.is_finished and not self.training.is_running:
            self.training.start()
        if self._known is not None:
            self._known.remember(place.folder)

    def _check(self, found: Found) -> None:
        bad = [row for row in found.survey.rows if row.state == "problem"]
        if bad and not self._skip_problems:
            first = bad[0].problems[0]
            names = ", ".join(row.case for row in bad[:5])
            raise SelfsegError(
                f"{len(bad)} of {len(found.survey.rows)} cases have a problem: {names}",
                expected="cases that are ready, or skipProblems=True",
                found=f"{bad[0].case}: {first.what}",
                cure=first.cure,
            )
        if not found.survey.ready:
            raise SelfsegError(
                "no segmented scan was found",
                expected="scans with segmentations",
                found="none that is ready",
                cure="check the path, or load scans and segmentations",
            )
