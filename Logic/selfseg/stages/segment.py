"""From new images to label maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..domain.case import FloatArray, PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ModelError
from ..domain.events import (
    CaseFinished,
    Event,
    Progress,
    Reporter,
    StageFinished,
    StageStarted,
    silent,
)
from ..domain.plan import Plan
from ..infer.cascade import previous_on_grid
from ..infer.engine import Backend, predict_logits
from ..infer.restore import restore
from ..io.images import read_case, write_label_map
from ..preprocess.case import preprocess_case
from .models import LoadedModel


def predict_case(
    case: PreprocessedCase,
    backend: Backend,
    plan: Plan,
    configuration: str,
    *,
    mirror: bool = True,
    step: float = 0.5,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> FloatArray:
    """The logits (K, Z, Y, X) of one preprocessed case at the plan's spacing.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: a cascade's case lacks the first stage's prediction.
    """
    return predict_logits(
        case,
        backend,
        plan.configuration(configuration),
        head_count=plan.description.labels.head_count,
        previous_values=plan.previous_values(configuration),
        step=step,
        mirror=mirror,
        reporter=reporter,
        should_stop=should_stop,
    )


def segment_case(
    case: PreprocessedCase,
    backend: Backend,
    plan: Plan,
    configuration: str,
    *,
    mirror: bool = True,
    step: float = 0.5,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of one preprocessed case on its native grid.

    Raises:
        Cancelled, ModelError: see `predict_case`.
    """
    logits = predict_case(
        case,
        backend,
        plan,
        configuration,
        mirror=mirror,
        step=step,
        reporter=reporter,
        should_stop=should_stop,
    )
    return restore(logits, case.record, plan.description.labels)


def segment_image(
    raw: RawCase,
    model: LoadedModel,
    *,
    mirror: bool = True,
    step: float = 0.5,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of an image as read, through every stage of the model.

    A cascade's first stage is decided on the native grid, and that label map is resampled to
    the second stage's grid.

    Raises:
        Cancelled: `should_stop` said so.
    """
    previous, part = None, 1 / model.stage_count
    if model.first is not None:
        previous = segment_image(
            raw,
            model.first,
            mirror=mirror,
            step=step,
            reporter=_Scaled(reporter, 0.0, 1 - part),
            should_stop=should_stop,
        )
    case = preprocess_case(raw, model.plan, model.configuration)
    if previous is not None:
        case = replace(case, previous=previous_on_grid(previous, case.record))
    return segment_case(
        case,
        model.backend,
        model.plan,
        model.configuration,
        mirror=mirror,
        step=step,
        reporter=_Scaled(reporter, 1 - part, part),
        should_stop=should_stop,
    )


@dataclass(frozen=True)
class _Scaled:
    """Makes the progress of one stage a part of the progress of all."""

    reporter: Reporter
    begin: float
    part: float

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            share = event.done / max(event.total, 1)
            event = replace(event, done=self.begin + self.part * share, total=1)
        self.reporter(event)


@dataclass(frozen=True)
class CaseProgress:
    """Turns the tiles of one case into progress over all cases of a stage."""

    stage: str
    done: int
    total: int
    started: float
    reporter: Reporter

    def __call__(self, event: Event) -> None:
        """Passes the event on, counted in cases where it counts tiles."""
        if not isinstance(event, Progress):
            self.reporter(event)
            return
        over = self.done + event.done / max(event.total, 1)
        left = (time.monotonic() - self.started) / over * (self.total - over)
        self.reporter(Progress(self.stage, over, self.total, left, event.detail))


def segment_files(
    cases: Sequence[CaseFiles],
    model: LoadedModel,
    output: Path,
    *,
    ending: str,
    mirror: bool,
    step: float,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> tuple[Path, ...]:
    """Reads, segments and writes one case after the other."""
    start = time.monotonic()
    written = []
    reporter(StageStarted("predict", total=len(cases), unit="case"))
    for done, files in enumerate(cases):
        case_start = time.monotonic()
        raw = read_case(files, None, with_labels=False)
        _check_channels(raw.channels.shape[0], model.plan, files)
        labels = segment_image(
            raw,
            model,
            mirror=mirror,
            step=step,
            reporter=CaseProgress("predict", done, len(cases), start, reporter),
            should_stop=should_stop,
        )
        path = output / f"{files.identifier}{ending}"
        write_label_map(path, labels, raw.geometry)
        written.append(path)
        reporter(CaseFinished(files.identifier, time.monotonic() - case_start, str(path)))
    reporter(StageFinished("predict", seconds=time.monotonic() - start))
    return tuple(written)


def _check_channels(found: int, plan: Plan, files: CaseFiles) -> None:
    names = plan.description.channel_names
    if found != len(names):
        raise ModelError(
            f"case {files.identifier} has another number of channels than the model",
            expected=f"{len(names)}: {', '.join(names)}",
            found=f"{found} in {', '.join(p.name for p in files.images)}",
            cure="give one file per channel, named <case>_0000, <case>_0001, ...",
        )
