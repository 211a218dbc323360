"""From new images to label maps."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ..domain.case import FloatArray, PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ModelError
from ..domain.events import (
    Event,
    Progress,
    Reporter,
    silent,
)
from ..domain.plan import Plan
from ..domain.stopping import Stop, never
from ..infer.cascade import previous_on_grid
from ..infer.engine import Backend, TileOptions, head_of, predict_logits, predict_slabs
from ..infer.restore import fill, native_restoration, restoration_bytes
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
    mirror_axes: tuple[int, ...] | None = None,
    memory_bytes: int | None = None,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> FloatArray:
    """The logits (K, Z, Y, X) of one preprocessed case at the plan's spacing.

    For many classes that is most of the memory: `segment_case` never makes them as a whole.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: a cascade's case lacks the first stage's prediction.
        UsageError: the memory budget is too small.
    """
    return predict_logits(
        case,
        backend,
        plan.configuration(configuration),
        head_count=plan.description.labels.head_count,
        previous_values=plan.previous_values(configuration),
        options=TileOptions(step, mirror, mirror_axes, memory_bytes),
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
    mirror_axes: tuple[int, ...] | None = None,
    memory_bytes: int | None = None,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of one preprocessed case on its native grid.

    Slices are decided as soon as they are predicted.

    Args:
        case: as the configuration's preprocessing made it.
        backend: the network, or several whose logits are averaged.
        plan: of the model.
        configuration: of the plan.
        mirror: test-time augmentation over mirrored tiles.
        step: distance of neighbouring tiles as a share of the patch.
        mirror_axes: axes of the patch that may be mirrored; None: all.
        memory_bytes: what the process may use in all; None: what the machine has.
        reporter: is told after every batch of tiles.
        should_stop: asked many times a second.

    Raises:
        Cancelled, ModelError, UsageError: see `predict_case`.
    """
    labels = plan.description.labels
    head = head_of(backend)
    maps = labels.head_count if head is None else head.weights.shape[1]
    native, restoration = native_restoration(case.record, labels, head, should_stop)
    slabs = predict_slabs(
        case,
        backend,
        plan.configuration(configuration),
        head_count=labels.head_count,
        previous_values=plan.previous_values(configuration),
        options=TileOptions(step, mirror, mirror_axes, memory_bytes),
        further_bytes=restoration_bytes(case.record, labels, maps),
        reporter=reporter,
        should_stop=should_stop,
    )
    fill(slabs, restoration)
    return native


def segment_image(
    image: RawCase | PreprocessedCase,
    model: LoadedModel,
    *,
    mirror: bool = True,
    step: float = 0.5,
    memory_bytes: int | None = None,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of an image, through every stage of the model.

    A cascade's first stage is decided on the native grid, and that label map is resampled to
    the second stage's grid.

    Args:
        image: as read; or as the model's preprocessing made it, if the model has one stage.
        model: its stages.
        mirror: see `segment_case`.
        step: see `segment_case`.
        memory_bytes: see `segment_case`.
        reporter: is told of the progress over all stages.
        should_stop: asked many times a second.

    Raises:
        Cancelled: `should_stop` said so.
    """
    previous, part = None, 1 / model.stage_count
    if model.first is not None and isinstance(image, RawCase):
        previous = segment_image(
            image,
            model.first,
            mirror=mirror,
            step=step,
            memory_bytes=memory_bytes,
            reporter=ScaledProgress(reporter, 0.0, 1 - part),
            should_stop=should_stop,
        )
    case = image
    if isinstance(case, RawCase):
        case = preprocess_case(case, model.plan, model.configuration, should_stop)
    del image
    if previous is not None:
        case = replace(case, previous=previous_on_grid(previous, case.record))
    return segment_case(
        case,
        model.backend,
        model.plan,
        model.configuration,
        mirror=mirror,
        step=step,
        mirror_axes=model.mirror_axes,
        memory_bytes=memory_bytes,
        reporter=ScaledProgress(reporter, 1 - part, part),
        should_stop=should_stop,
    )


@dataclass(frozen=True)
class ScaledProgress:
    """Makes the progress of one stage a part of the progress of all."""

    reporter: Reporter
    begin: float
    part: float

    def __call__(self, event: Event) -> None:
        """Passes the event on."""
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
        spent = time.monotonic() - self.started
        left = spent / over * (self.total - over) if over else None
        self.reporter(Progress(self.stage, over, self.total, left, event.detail))


def check_channels(found: int, plan: Plan, files: CaseFiles) -> None:
    """Refuses a case with another number of channels than the model takes.

    Raises:
        ModelError: it has.
    """
    names = plan.description.channel_names
    if found != len(names):
        raise ModelError(
            f"case {files.identifier} has another number of channels than the model",
            expected=f"{len(names)}: {', '.join(names)}",
            found=f"{found} in {', '.join(p.name for p in files.images)}",
            cure="give one file per channel, named <case>_0000, <case>_0001, ...",
        )
