"""Volumes over time: every frame of a sequence is segmented, and the results play along with it.

A 4D volume is a `vtkMRMLSequenceNode` of volumes; what is selected in Slicer is a proxy that
shows the frame of the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfseg.domain.errors import Cancelled, ImageError

from ..models import Model
from ..scene import require_scan
from .case import EventTaker, check_volumes
from .placing import fill
from .settings import SegmentationSettings
from .steps import WORKING, Steps
from .worker import SegmentationWorker
from .worker_run import WorkerRun, attributes_of


@dataclass(frozen=True)
class Frames:
    """The frames of a case: the browser, and one row of volumes (one per channel) per frame."""

    browser: Any
    master: Any
    values: tuple[str, ...]
    volumes: tuple[tuple[Any, ...], ...]


def browser_of(volume_node: Any) -> Any:
    """The sequence browser whose frames this volume shows; None for an ordinary volume."""
    import slicer

    scene = None if volume_node is None else volume_node.GetScene()
    if scene is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", scene):
        if browser.IsProxyNodeID(volume_node.GetID()) and browser.GetNumberOfItems() > 1:
            return browser
    return None


def frames_of(volume_nodes: Sequence[Any]) -> Frames:
    """Every frame of the channels; one that does not change over time is the same in all.

    Raises:
        ImageError: the first volume shows no sequence, or a channel lacks a frame.
    """
    for node in volume_nodes:
        require_scan(node)
    first = volume_nodes[0]
    browser = browser_of(first)
    if browser is None:
        raise ImageError(
            f"{first.GetName()!r} shows no sequence",
            expected="a volume that a sequence browser plays",
            found="an ordinary volume",
            cure="segment it without all frames",
        )
    master = browser.GetSequenceNode(first)
    values = tuple(master.GetNthIndexValue(i) for i in range(master.GetNumberOfDataNodes()))
    rows = []
    for value in values:
        row = []
        for node in volume_nodes:
            sequence = browser.GetSequenceNode(node)
            frame = node if sequence is None else sequence.GetDataNodeAtValue(value)
            if frame is None:
                raise ImageError(
                    f"{node.GetName()!r} has no frame at {value}",
                    expected=f"the frames of {first.GetName()!r}",
                    found="none",
                    cure="choose volumes of the same times",
                )
            row.append(frame)
        rows.append(tuple(row))
    return Frames(browser, master, values, tuple(rows))


class SequenceRun(WorkerRun):
    """Segments every frame; the scene is touched when the last one is done.

    Args:
        volume_nodes: proxies, one per channel of the model.
        model: the model.
        worker: computes.
        settings: how; surfaces are left to Slicer.
        limit_of: the part of a frame that is segmented, for its volumes; None: all of it.
        on_event: takes events; progress is that over all frames.
        on_log: takes lines for the log.

    Raises:
        ModelError, ImageError: see `SegmentationRun`.
    """

    def __init__(
        self,
        volume_nodes: Sequence[Any],
        model: Model,
        *,
        worker: SegmentationWorker,
        settings: SegmentationSettings | None = None,
        limit_of: Callable[[Any], Any] = lambda volume: None,
        on_event: EventTaker = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._proxy = volume_nodes[0]
        self._frames = frames_of(volume_nodes)
        self._limit_of = limit_of
        for row in self._frames.volumes:
            check_volumes(model, row)
        super().__init__(
            self._frames.volumes[0],
            model,
            worker=worker,
            settings=settings,
            on_event=on_event,
            on_log=on_log,
        )

    def _check_scene(self) -> None:
        if self._proxy.GetScene() is None or self._frames.browser.GetScene() is None:
            raise ImageError(
                "the sequence is no longer in the scene",
                expected="the sequence to stay until the segmentation is finished",
                found="it was removed, or the scene was closed",
                cure="load it and segment again",
            )

    def _work(self) -> Steps[Any]:
        import slicer

        frames = self._frames
        made = []
        for number, row in enumerate(frames.volumes):
            limit = self._limit_of(row[0])
            result = yield from self._segment(row, limit, self._scaled(number))
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName(f"{self._proxy.GetName()} segmentation")
            node.SetReferenceImageGeometryParameterFromVolumeNode(row[0])
            fill(node, result.segments)
            for key, value in attributes_of(self._model, result).items():
                node.SetAttribute(key, value)
            made.append(node)
            if self.case is None or len(result.reasons) > len(self.case.reasons):
                self.case = result
            yield WORKING
        if self._should_stop():
            raise Cancelled("stopped; the scene is unchanged")
        return self._place(made)

    def _scaled(self, number: int) -> EventTaker:
        """One frame's progress as a share of all."""
        count = len(self._frames.values)

        def take(event: Mapping[str, Any]) -> None:
            if event.get("event") == "progress" and event["total"]:
                done = number + min(1.0, event["done"] / event["total"])
                stage = f"frame {number + 1} of {count}"
                event = {"event": "progress", "stage": stage, "done": done, "total": count}
            self._on_event(event)

        return take

    def _place(self, made: Sequence[Any]) -> Any:
        """A sequence of the results that the same browser plays; gives its proxy."""
        frames, scene = self._frames, self._proxy.GetScene()
        name = f"{self._proxy.GetName()} segmentation"
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
        sequence.SetIndexName(frames.master.GetIndexName())
        sequence.SetIndexUnit(frames.master.GetIndexUnit())
        sequence.SetIndexType(frames.master.GetIndexType())
        for value, node in zip(frames.values, made, strict=True):
            sequence.SetDataNodeAtValue(node, value)
        frames.browser.AddSynchronizedSequenceNode(sequence)
        self._update_proxies()
        proxy = frames.browser.GetProxyNode(sequence)
        if proxy is not None:
            proxy.SetAndObserveTransformNodeID(self._proxy.GetTransformNodeID())
            role = proxy.GetReferenceImageGeometryReferenceRole()
            proxy.SetNodeReferenceID(role, self._proxy.GetID())
            proxy.CreateDefaultDisplayNodes()
        return proxy

    def _update_proxies(self) -> None:
        import slicer

        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._frames.browser)
