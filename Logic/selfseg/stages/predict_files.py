"""Folders and lists of images through a model: read, segmented, written, and noted down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.case import PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.events import (
    CaseFinished,
    Notice,
    Reporter,
    StageFinished,
    StageStarted,
)
from ..domain.geometry import Geometry
from ..infer.confidence import Confidence
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import read_case, write_label_map
from ..io.probability_files import ENDING
from ..preprocess.case import preprocess_case
from .model import TrainedModel
from .overlap import overlapped
from .predictions import (
    FileState,
    Prediction,
    Predictions,
    digest_of,
    now,
    provenance_of,
    states_of,
)
from .segment import CaseProgress, check_channels
from .strategy import Outcome, PredictOptions, Strategy, load_strategy, segment_with


@dataclass(frozen=True)
class Job:
    """What to do.

    Args:
        cases: images.
        output: folder for the label maps.
        ending: of the label maps.
        options: how to predict.
        go_on: leaves cases alone that are done.
        device: where to compute.
    """

    cases: tuple[CaseFiles, ...]
    output: Path
    ending: str
    options: PredictOptions
    go_on: bool = False
    device: str = "auto"


def predict_files(
    model: TrainedModel,
    job: Job,
    *,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Path, ...]:
    """Segments cases; reading the next and writing the last go on beside.

    With a memory budget no case is read ahead. What is finished is in predictions.json even
    where something goes wrong later.

    Returns:
        the label maps, those that were there already included, in the order of the cases.

    Raises:
        Cancelled: `should_stop` said so.
        SelfsegError: an image or the model cannot be used.
    """
    start = clock()
    provenance = provenance_of(model, job.options)
    notes = Predictions.of(job.output, clock=clock)
    todo = tuple(c for c in job.cases if not (job.go_on and notes.holds(c, provenance)))
    if len(todo) < len(job.cases):
        reporter(Notice(f"{len(job.cases) - len(todo)} of {len(job.cases)} cases are done already"))
    reporter(StageStarted("predict", total=len(todo), unit="case"))
    if todo:
        strategy = load_strategy(model, job.options, device=job.device, reporter=reporter)
        _Run(strategy, job, todo, notes, provenance, reporter, should_stop, clock).all()
    reporter(StageFinished("predict", seconds=clock() - start))
    return tuple(_output(job, files) for files in job.cases)


@dataclass(frozen=True)
class _Read:
    files: CaseFiles
    states: tuple[FileState, ...]
    image: RawCase | PreprocessedCase
    grid: Geometry


@dataclass(frozen=True)
class _Made:
    files: CaseFiles
    states: tuple[FileState, ...]
    outcome: Outcome
    grid: Geometry


@dataclass(frozen=True)
class _Written:
    files: CaseFiles
    states: tuple[FileState, ...]
    path: Path
    sha256: str
    confidence: Confidence | None


@dataclass
class _Run:
    strategy: Strategy
    job: Job
    cases: Sequence[CaseFiles]
    notes: Predictions
    provenance: dict[str, str]
    reporter: Reporter
    should_stop: Callable[[], bool]
    clock: Callable[[], float]
    done: int = 0
    started: float = 0.0

    def all(self) -> None:
        """Every case, one after the other."""
        self.started = began = self.clock()
        ahead = 1 if self.job.options.memory_bytes is None else 0
        try:
            for written in overlapped(self.cases, self.read, self.work, self.write, ahead=ahead):
                moment = self.clock()
                self.note(written, moment - began)
                began = moment
        finally:
            self.notes.write()

    def read(self, files: CaseFiles) -> _Read:
        """Beside: the case, preprocessed where there is only one way to do that."""
        states = states_of(files)
        raw = read_case(files, None, with_labels=False)
        (voter, *_) = self.strategy.voters
        check_channels(raw.channels.shape[0], voter.plan, files)
        grid = raw.geometry
        if not self.strategy.reads_ahead:
            return _Read(files, states, raw, grid)
        return _Read(files, states, preprocess_case(raw, voter.plan, voter.configuration), grid)

    def work(self, case: _Read) -> _Made:
        """In turn: the prediction."""
        outcome = segment_with(
            case.image,
            self.strategy,
            probabilities=self.probabilities(case.files),
            reporter=CaseProgress(
                "predict", self.done, len(self.cases), self.started, self.reporter
            ),
            should_stop=self.should_stop,
        )
        self.done += 1
        return _Made(case.files, case.states, outcome, case.grid)

    def write(self, made: _Made) -> _Written:
        """Beside: the label map."""
        path = _output(self.job, made.files)
        write_label_map(path, made.outcome.labels, made.grid)
        return _Written(made.files, made.states, path, digest_of(path), made.outcome.confidence)

    def note(self, written: _Written, seconds: float) -> None:
        """In turn: what was made, and how."""
        beside = self.probabilities(written.files)
        prediction = Prediction(
            file=written.path.name,
            sha256=written.sha256,
            images=written.states,
            provenance=self.provenance,
            made=now(),
            seconds=round(seconds, 3),
            confidence=written.confidence,
            probabilities=None if beside is None else beside.name,
        )
        self.notes.add(written.files.identifier, prediction)
        self.reporter(CaseFinished(written.files.identifier, seconds, str(written.path)))

    def probabilities(self, files: CaseFiles) -> Path | None:
        """Where a case's probabilities go, if anywhere."""
        if not self.job.options.probabilities:
            return None
        return self.job.output / f"{files.identifier}{ENDING}"


def _output(job: Job, files: CaseFiles) -> Path:
    return job.output / f"{files.identifier}{output_ending(files, job.ending)}"


def output_ending(files: CaseFiles, ending: str) -> str:
    """The ending of a label map: the model's, where it can hold what the image's file does.

    A picture stays a picture, and a volume a volume, whatever the model was trained on. JPEG
    changes values, so that its label maps are PNG.
    """
    given = (image_ending(files.images[0]) or ending).lower()
    if (given in ITK_ENDINGS) == (ending.lower() in ITK_ENDINGS):
        return ending
    return ".png" if given in (".jpg", ".jpeg") else given
