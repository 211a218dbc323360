"""What the page that trains and `SelfConfiguringSegmentationLogic.train` have in common.

The functions take the module's logic, which knows how processes are started.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..jobs import ProcessStarter, slicer_starter
from .collecting import Found, Source, SurveyRun
from .known_trainings import KnownTrainings, default_path
from .preparing import PrepareRun, TrainingSettings
from .run import TrainRun
from .survey import Choices
from .training import Training
from .training_folder import Launcher, slicer_launcher

EventTaker = Callable[[dict[str, Any]], None]
LineTaker = Callable[[str], None]


def starter(logic: Any) -> ProcessStarter:
    """Starts processes that end with the application."""
    start: ProcessStarter = logic._startProcess or slicer_starter()
    return start


def launcher(logic: Any) -> Launcher:
    """Starts processes that outlive the application."""
    launch: Launcher = logic._launchProcess or slicer_launcher()
    return launch


def known_trainings() -> KnownTrainings:
    """The trainings of this user."""
    return KnownTrainings(default_path())


def start_survey(
    logic: Any,
    sources: Sequence[Source],
    choices: Choices,
    on_event: EventTaker = lambda event: None,
    on_log: LineTaker = lambda line: None,
) -> SurveyRun:
    """Looks at the cases."""
    import slicer

    return SurveyRun(
        sources,
        choices,
        scene=slicer.mrmlScene,
        start=starter(logic),
        on_event=on_event,
        on_log=on_log,
    )


def start_preparing(
    logic: Any,
    sources: Sequence[Source],
    found: Found,
    choices: Choices,
    settings: TrainingSettings,
    on_event: EventTaker = lambda event: None,
    on_log: LineTaker = lambda line: None,
) -> PrepareRun:
    """Makes a data set and a plan."""
    return PrepareRun(
        sources,
        found,
        choices,
        settings,
        start=starter(logic),
        on_event=on_event,
        on_log=on_log,
    )


def open_training(
    logic: Any,
    folder: Path,
    on_event: EventTaker = lambda event: None,
    on_log: LineTaker = lambda line: None,
) -> Training:
    """Opens a training folder; its process is started by `Training.start`."""
    return Training(folder, launch=lambda: launcher(logic), on_event=on_event, on_log=on_log)


def start_training(
    logic: Any,
    collection: Any,
    folder: Path,
    *,
    name: str = "",
    seconds: float | None = None,
    skip_problems: bool = False,
    device: str = "auto",
    options: Sequence[str] = (),
    library: Path | None = None,
    on_event: EventTaker = lambda event: None,
    on_log: LineTaker = lambda line: None,
    **choices: Any,
) -> TrainRun:
    """See `SelfConfiguringSegmentationLogic.startTraining`."""
    settings = TrainingSettings(
        folder.absolute(), name or folder.name, seconds, device, tuple(options), library
    )
    return TrainRun(
        collection,
        Choices(**choices),
        settings,
        survey=lambda *given: start_survey(logic, *given, on_event, on_log),
        prepare=lambda *given: start_preparing(logic, *given, on_event, on_log),
        open_training=lambda place: open_training(logic, place, on_event, on_log),
        known=known_trainings(),
        skip_problems=skip_problems,
    )
