"""One segmentation, from volumes in the scene to a segmentation node, in the background."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from selfseg.domain.errors import Cancelled, ImageError, SelfsegError

from ..jobs import ProcessStarter
from ..models import Model
from .case import CaseResult, EventTaker, check_volumes, segment_case
from .exchange import make_folder, voxel_bytes
from .placing import check_unchanged, place_segments
from .roi import voxel_box
from .settings import SegmentationSettings
from .steps import SteppedRun, Steps
from .surfaces import add_surfaces
from .worker import SegmentationWorker

PREFIX = "SelfConfiguringSegmentation."
"""Of the attributes of segmentation nodes that say where they come from and what they are worth."""


class SegmentationRun(SteppedRun):
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
        self._model = model
        self._worker = worker
        self._settings = settings or SegmentationSettings()
        self._output = segmentation_node
        self._add = add
        self._surfaces = surfaces
        self._on_event = on_event
        self._on_log = on_log
        self._cancelled = False
        self.case: CaseResult | None = None
        """What is known of the result, once there is one."""
        self._grid = check_volumes(model, self._volumes)
        self._limit = None if roi_node is None else voxel_box(roi_node, self._volumes[0])
        self._folder = make_folder(voxel_bytes(self._volumes))
        worker.on_log = on_log
        super().__init__(
            self._work(), clean_up=lambda: shutil.rmtree(self._folder, ignore_errors=True)
        )

    def cancel(self) -> None:
        """Asks for a stop; go on polling."""
        self._cancelled = True

    def _should_stop(self) -> bool:
        if self._volumes[0].GetScene() is None:
            raise ImageError(
                "the volume is no longer in the scene",
                expected="the volume to stay until the segmentation is finished",
                found="it was removed, or the scene was closed",
                cure="load the volume and segment again",
            )
        return self._cancelled

    def _work(self) -> Steps[Any]:
        result = yield from segment_case(
            self._volumes,
            self._model,
            self._settings,
            self._worker,
            self._folder,
            limit=self._limit,
            on_event=self._on_event,
            should_stop=self._should_stop,
        )
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


def attributes_of(model: Model, result: CaseResult) -> dict[str, str]:
    """What a segmentation node remembers of its making, by name."""
    found = {
        f"{PREFIX}Model": model.title,
        f"{PREFIX}Provenance": json.dumps(dict(result.provenance)),
        f"{PREFIX}Flagged": "1" if result.reasons else "0",
    }
    if result.quality is not None:
        found[f"{PREFIX}Quality"] = json.dumps(dict(result.quality))
    return found
