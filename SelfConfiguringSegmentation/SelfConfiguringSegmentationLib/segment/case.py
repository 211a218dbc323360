"""One case from volumes to segments: checked, handed to the worker, read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfseg.domain.errors import Cancelled, ImageError, ModelError
from selfseg.domain.geometry import Geometry, VoxelRanges
from selfseg.serve.messages import Grid

from ..models import Model
from ..scene import GEOMETRY_TOLERANCE, require_scan, volume_grid
from .exchange import write_arrays
from .placing import matrix_of
from .segments import NewSegment, make_segments, read_slabs
from .settings import SegmentationSettings
from .steps import WAITING, Steps
from .worker import SegmentationWorker

EventTaker = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class CaseResult:
    """What became of one case.

    Args:
        segments: of the structures that were asked for, also of those not found.
        quality: see `selfseg.serve.messages.Finished`; None where the model cannot say.
        reasons: why somebody should look at it; empty otherwise.
        provenance: text by name.
        labels: the label map's file, as long as its folder is there.
    """

    segments: tuple[NewSegment, ...]
    quality: Mapping[str, Any] | None = None
    reasons: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    labels: Path = field(default_factory=Path)

    @property
    def missing(self) -> tuple[str, ...]:
        """Structures that were not found."""
        return tuple(new.name for new in self.segments if not new.voxels)

    @property
    def found(self) -> tuple[str, ...]:
        """Structures that were found."""
        return tuple(new.name for new in self.segments if new.voxels)


def check_volumes(model: Model, volume_nodes: Sequence[Any]) -> Geometry:
    """The grid that all channels of a case share.

    Raises:
        ModelError: the model takes another number of channels.
        ImageError: an unusable volume, or volumes on different grids.
    """
    for node in volume_nodes:
        require_scan(node)
    found = channel_count(volume_nodes)
    if found != len(model.channel_names):
        raise ModelError(
            f"the model {model.name} takes another number of images",
            expected=f"{len(model.channel_names)}: {', '.join(model.channel_names)}",
            found=f"{found}: {', '.join(node.GetName() for node in volume_nodes) or 'none'}",
            cure="give one volume per channel, in this order",
        )
    grids = [volume_grid(node) for node in volume_nodes]
    first = volume_nodes[0]
    for node, grid in zip(volume_nodes, grids, strict=True):
        if difference := grids[0].mismatch(grid, tolerance=GEOMETRY_TOLERANCE):
            raise ImageError(
                f"{node.GetName()!r} does not lie on the grid of {first.GetName()!r}",
                expected="channels of one case on the same grid",
                found=difference,
                cure="resample it (in Slicer: Resample Scalar/Vector/DWI Volume)",
            )
        if node.GetParentTransformNode() is not first.GetParentTransformNode():
            raise ImageError(
                f"{node.GetName()!r} is under another transform than {first.GetName()!r}",
                expected="channels of one case under the same transform",
                found="two transforms",
                cure="put both under one, or harden the transforms and resample",
            )
    return grids[0]


def channel_count(volume_nodes: Sequence[Any]) -> int:
    """How many channels volumes give: one each, a volume of vectors one per component."""
    return sum(
        node.GetImageData().GetNumberOfScalarComponents() if node.GetImageData() else 1
        for node in volume_nodes
    )


def segment_case(
    volume_nodes: Sequence[Any],
    model: Model,
    settings: SegmentationSettings,
    worker: SegmentationWorker,
    folder: Path,
    *,
    limit: VoxelRanges | None = None,
    on_event: EventTaker = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Steps[CaseResult]:
    """Segments one case; the scene is not touched.

    Args:
        volume_nodes: one per channel, checked by `check_volumes`.
        model: the model.
        settings: how.
        worker: computes.
        folder: for voxels on their way; its owner removes it.
        limit: only this part of the image.
        on_event: takes events of the worker.
        should_stop: polled.

    Raises:
        Cancelled: `should_stop` said so.
        SelfsegError: what went wrong, in the worker's own words.
    """
    grid = check_volumes(model, volume_nodes)
    matrix = matrix_of(volume_nodes[0])
    on_event({"event": "stage_started", "stage": "copy"})
    copying = write_arrays(volume_nodes, folder)
    images = yield from stoppable(copying, should_stop)
    output = folder / "labels.npy"
    task = worker.segment(
        model,
        settings,
        images=images,
        output=output,
        grid=Grid(grid.spacing, grid.origin, grid.direction),
        limit=limit,
        on_event=on_event,
    )
    try:
        while not task.done:
            if should_stop():
                worker.cancel(task)
            worker.poll()
            yield WAITING
    finally:
        if not task.done:
            worker.cancel(task)
    answer: Any = task.result()
    for image in images:
        image.unlink()
    on_event({"event": "stage_started", "stage": "segments"})
    segments = yield from stoppable(
        make_segments(
            read_slabs(output, grid.shape),
            grid.shape,
            model.labels,
            matrix,
            appearances=model.appearances,
            structures=settings.structures,
            algorithm_name=f"SelfConfiguringSegmentation {model.title}",
        ),
        should_stop,
    )
    return CaseResult(
        tuple(segments),
        quality=answer.quality,
        reasons=answer.reasons,
        provenance=answer.provenance,
        labels=output,
    )


def stoppable(steps: Steps[Any], should_stop: Callable[[], bool]) -> Steps[Any]:
    """The same steps, asked before each whether to go on.

    Raises:
        Cancelled: `should_stop` said so.
    """
    while True:
        if should_stop():
            steps.close()
            raise Cancelled("stopped; the scene is unchanged")
        try:
            state = next(steps)
        except StopIteration as end:
            return end.value
        yield state
