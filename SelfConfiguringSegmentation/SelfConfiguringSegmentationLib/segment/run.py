"""One segmentation, from volumes in the scene to a segmentation node, in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from selfseg.domain.errors import Cancelled, ImageError, SelfsegError

from ..jobs import ProcessStarter
from ..models import Model
from .case import CaseResult, EventTaker, check_volumes
from .placing import check_unchanged, place_segments
from .roi import voxel_box
from .settings import SegmentationSettings
from .steps import Steps
from .surfaces import add_surfaces
from .worker import SegmentationWorker
from .worker_run import WorkerRun, attributes_of


class SegmentationRun(WorkerRun):
    """Volumes go to the worker, its label map becomes a segmentation.

    The scene is touched only where everything went well. Surfaces for the 3D view come after
    that: a run that is cancelled then keeps its segmentation.

    Args:
        volume_nodes: one per channel of the model.
        model: the model.
        worker: computes.
        settings: how.
        segmentation_node: filled with the result; a new node is made otherwise.
        add: keeps the segments that the node has.
        roi_node: only this region is segmented.
        surfaces: starts the process that makes surfaces.
        on_event: takes events, as dicts.
        on_log: takes lines for the log.

    Raises:
        ModelError: the model takes another number of channels.
        ImageError: the volumes or the region cannot be used.
    """

    def __init__(
        self,
        volume_nodes: Sequence[Any],
        model: Model,
        *,
        worker: SegmentationWorker,
        settings: SegmentationSettings | None = None,
        segmentation_node: Any = None,
        add: bool = False,
        roi_node: Any = None,
        surfaces: ProcessStarter | None = None,
        on_event: EventTaker = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._volumes = tuple(volume_nodes)
        self._output = segmentation_node
        self._add = add
        self._surfaces = surfaces
        self._grid = check_volumes(model, self._volumes)
        self._limit = None if roi_node is None else voxel_box(roi_node, self._volumes[0])
        super().__init__(
            self._volumes,
            model,
            worker=worker,
            settings=settings,
            on_event=on_event,
            on_log=on_log,
        )

    def _check_scene(self) -> None:
        if self._volumes[0].GetScene() is None:
            raise ImageError(
                "the volume is no longer in the scene",
                expected="the volume to stay until the segmentation is finished",
                found="it was removed, or the scene was closed",
                cure="load the volume and segment again",
            )

    def _work(self) -> Steps[Any]:
        result = yield from self._segment(self._volumes, self._limit, self._on_event)
        if self._should_stop():
            raise Cancelled("stopped; the scene is unchanged")
        check_unchanged(self._volumes[0], self._grid)
        if self._output is not None and self._output.GetScene() is None:
            self._on_log("the segmentation that was to be filled was removed: a new one is made")
            self._output = None
        node = place_segments(
            result.segments,
            self._volumes[0],
            segmentation_node=self._output,
            add=self._add,
            attributes=attributes_of(self._model, result),
        )
        self.case = result
        if self._settings.closed_surface and self._surfaces is not None:
            yield from self._make_surfaces(node, result)
        return node

    def _make_surfaces(self, node: Any, result: CaseResult) -> Steps[None]:
        self._on_event({"event": "stage_started", "stage": "surfaces"})
        values = {label.name: label.values for label in self._model.labels.foreground}
        assert self._surfaces is not None  # noqa: S101 - the caller has looked
        try:
            yield from add_surfaces(
                result.segments,
                [values[new.name] for new in result.segments],
                result.labels,
                self._surfaces,
                lambda: self._cancelled or node.GetScene() is None,
            )
        except (SelfsegError, OSError) as error:
            # The segmentation is there: that is what was asked for first.
            self._on_log(str(error))
        # Segments do not tell their segmentation; the 3D view listens to it.
        segmentation = node.GetSegmentation()
        segmentation.InvokeEvent(segmentation.ContainedRepresentationNamesModified)
