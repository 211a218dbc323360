"""Folders and lists of images through a model: read, segmented, written, and noted down."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..domain.case import PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.events import (
    CaseFinished,
    CasesFound,
    Notice,
    Reporter,
    StageFinished,
    StageStarted,
)
from ..domain.geometry import Geometry
from ..domain.stopping import Stop
from ..infer.confidence import Confidence
from ..io.atomic_files import remove_unfinished
from ..io.digests import digest_of
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import LABEL_MAP_DRAFT, read_case, write_label_map
from ..io.locks import folder_lock
from ..io.probability_files import ENDING
from ..io.staged_folders import make_folder
from ..postprocess.subset import values_of
from ..preprocess.case import preprocess_case
from ..quality.judgement import CaseQuality
from .enough_memory import memory_warning
from .failures import CASE_FAULTS, Failed, Failures
from .inputs import Inputs, convert_series
from .model import TrainedModel
from .overlap import overlapped
from .predictions import (
    FileState,
    Prediction,
    Predictions,
    flag_of,
    now,
    provenance_of,
    states_of,
)
from .segment import CaseProgress, check_channels
from .strategy import Outcome, PredictOptions, Strategy, load_strategy, segment_with
from .volumes import TABLE_FILE, VolumeRow, structure_sizes, unit_of, write_volume_table

_GO_ON = "mend or remove these and go on (--continue): what is done is not done twice"


@dataclass(frozen=True)
class Job:
    """What to do.

    Args:
        inputs: images.
        output: folder for the label maps.
        ending: of the label maps.
        options: how to predict.
        go_on: leaves cases alone that are done.
        device: where to compute.
    """

    inputs: Inputs
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
    should_stop: Stop,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Path, ...]:
    """Segments cases; reading the next and writing the last go on beside.

    With a memory budget no case is read ahead. What is finished is in predictions.json even
    where something goes wrong later. Only one process at a time may write into a folder: each
    would take the other's cases out of predictions.json.

    Returns:
        the label maps, those that were there already included, in the order of the cases.

    Raises:
        Cancelled: `should_stop` said so.
        UsageError: the model has no such structure, or this machine no such device; nothing is
            made then.
        ProjectError: the output folder cannot be made, or another process writes into it.
        SelfsegError: an image or the model cannot be used.
    """
    _require_possible(model, job)
    make_folder(job.output)
    with folder_lock(job.output, what="output folder", required=False, reporter=reporter):
        remove_unfinished(job.output, below=False)  # of a run that was killed
        for draft in job.output.glob(f"{LABEL_MAP_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)
        return _predict_files(model, job, reporter, should_stop, clock)


def _require_possible(model: TrainedModel, job: Job) -> None:
    """Refuses what cannot come to anything, before a file is written or a network read."""
    values_of(job.options.structures, model.bundle.description.labels)
    if model.backend == "onnx":
        from ..infer.onnx_backend import pick_provider

        pick_provider(job.device)
    elif job.device not in ("auto", "cpu"):  # these are everywhere; PyTorch takes long to import
        from ..network.devices import pick_device

        pick_device(job.device)


def _predict_files(
    model: TrainedModel,
    job: Job,
    reporter: Reporter,
    should_stop: Stop,
    clock: Callable[[], float],
) -> tuple[Path, ...]:
    start = clock()
    provenance = provenance_of(model, job.options)
    notes = Predictions.of(job.output, clock=clock)
    cases = job.inputs.cases
    todo = tuple(case for case in cases if not (job.go_on and notes.holds(case, provenance)))
    if len(todo) < len(cases):
        reporter(Notice(f"{len(cases) - len(todo)} of {len(cases)} cases are done already"))
    names = {case.identifier for case in todo}
    reporter(
        CasesFound(
            tuple(case.identifier for case in todo),
            tuple(case.identifier for case in cases if case.identifier not in names),
        )
    )
    reporter(StageStarted("predict", total=len(todo), unit="case"))
    notes.labels = model.bundle.description.labels
    failures = Failures(reporter)
    for name, fault in job.inputs.faults.items():
        failures.add(name, fault)
    try:
        if todo:
            strategy = load_strategy(model, job.options, device=job.device, reporter=reporter)
            if (warning := memory_warning(strategy, todo)) is not None:
                reporter(warning)
            _Run(
                strategy, job, todo, notes, provenance, reporter, should_stop, clock, failures
            ).all()
    finally:
        write_volume_table(job.output / TABLE_FILE, _rows(job, notes, failures))
    reporter(StageFinished("predict", seconds=clock() - start))
    failures.raise_any(job.inputs.count, _GO_ON)
    return tuple(_output(job, files) for files in cases)


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
    quality: CaseQuality | None
    sizes: Mapping[str, float]
    unit: str


@dataclass
class _Run:
    strategy: Strategy
    job: Job
    cases: Sequence[CaseFiles]
    notes: Predictions
    provenance: dict[str, str]
    reporter: Reporter
    should_stop: Stop
    clock: Callable[[], float]
    failures: Failures
    done: int = 0
    started: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    """Nobody will want what is being read; `should_stop` is for the caller's thread alone."""

    def all(self) -> None:
        """Every case, one after the other."""
        self.started = began = self.clock()
        ahead = 1 if self.job.options.memory_bytes is None else 0
        try:
            with (
                closing(
                    overlapped(self.cases, self.read, self.work, self.write, ahead=ahead)
                ) as finished,
                self.ending_readers(),
            ):
                for written in finished:
                    moment = self.clock()
                    self.note(written, moment - began)
                    began = moment
        finally:
            self.notes.write()

    @contextmanager
    def ending_readers(self) -> Iterator[None]:
        """Ends what is being read ahead where the block fails."""
        try:
            yield
        except BaseException:
            self.ended.set()
            raise

    def read(self, files: CaseFiles) -> _Read | Failed:
        """Beside: the case, or why it cannot be used."""
        try:
            return self.usable(files)
        except CASE_FAULTS as error:
            return Failed(files, error)

    def usable(self, files: CaseFiles) -> _Read:
        """The case, preprocessed where there is only one way to do that."""
        if (series := self.job.inputs.series.get(files.identifier)) is not None:
            convert_series(series, files.images[0])
        states = states_of(files)
        raw = read_case(files, None, with_labels=False)
        (voter, *_) = self.strategy.voters
        check_channels(raw.channels.shape[0], voter.plan, files)
        grid = raw.geometry
        if not self.strategy.reads_ahead:
            return _Read(files, states, raw, grid)
        case = preprocess_case(raw, voter.plan, voter.configuration, self.ended.is_set)
        return _Read(files, states, case, grid)

    def work(self, case: _Read | Failed) -> _Made | Failed:
        """In turn: the prediction."""
        if isinstance(case, Failed):
            self.done += 1
            return case
        with self.ending_readers():
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

    def write(self, made: _Made | Failed) -> _Written | Failed:
        """Beside: the label map."""
        if isinstance(made, Failed):
            return made
        path = _output(self.job, made.files)
        write_label_map(path, made.outcome.labels, made.grid)
        found = made.outcome
        sizes = structure_sizes(found.labels, self.strategy.bundle.description.labels, made.grid)
        return _Written(
            made.files,
            made.states,
            path,
            digest_of(path),
            found.confidence,
            found.quality,
            _asked_for(sizes, self.job.options.structures),
            unit_of(made.grid),
        )

    def note(self, written: _Written | Failed, seconds: float) -> None:
        """In turn: what was made, and how; or that nothing was."""
        if isinstance(written, Failed):
            self.failures.add(written.files.identifier, written.error)
            return
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
            quality=written.quality,
            sizes=written.sizes,
            unit=written.unit,
        )
        name = written.files.identifier
        self.notes.add(name, prediction)
        told = "" if written.quality is None else flag_of(name, written.quality)
        if told:
            self.reporter(Notice(told, level="warning"))
        self.reporter(CaseFinished(written.files.identifier, seconds, str(written.path)))

    def probabilities(self, files: CaseFiles) -> Path | None:
        """Where a case's probabilities go, if anywhere."""
        if not self.job.options.probabilities:
            return None
        return self.job.output / f"{files.identifier}{ENDING}"


def _rows(job: Job, notes: Predictions, failures: Failures) -> list[VolumeRow]:
    """The table of volumes: a row for every case of the job that is done or has failed."""
    rows = []
    for name in sorted({case.identifier for case in job.inputs.cases} | failures.found.keys()):
        known = notes.cases.get(name)
        if (fault := failures.found.get(name)) is not None:
            rows.append(VolumeRow(name, failure=f"{fault.what}; {fault.found}".rstrip("; ")))
        elif known is not None:
            rows.append(_row(name, known))
    return rows


def _row(name: str, known: Prediction) -> VolumeRow:
    found = known.quality
    if found is None:
        return VolumeRow(name, known.sizes, known.unit, unknown="its quality was not predicted")
    reasons = None if found.worth_a_look is None else found.reasons
    unknown = f"nothing is known of {', '.join(found.unknown)}" if found.unknown else ""
    if reasons is None and found.note:
        unknown = found.note
    return VolumeRow(
        name, known.sizes, known.unit, found.dice, found.hd95_mm, reasons, unknown=unknown
    )


def _asked_for(sizes: Mapping[str, float], structures: Sequence[str]) -> Mapping[str, float]:
    return {name: size for name, size in sizes.items() if not structures or name in structures}


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
