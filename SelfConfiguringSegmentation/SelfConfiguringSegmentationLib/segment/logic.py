"""What the module's logic does for the page Segment: from its own arguments to runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..jobs import ProcessStarter, slicer_starter
from ..model_list import ModelEntry, ModelList
from ..models import Model
from .library_jobs import ImportRun, LibraryJob
from .roi import voxel_box
from .run import SegmentationRun
from .sequences import SequenceRun
from .settings import SegmentationSettings
from .surfaces import slicer_surface_starter
from .worker import SegmentationWorker, WorkerCommand, slicer_worker_command


class SegmentLogic:
    """One life of the module: its worker and its list of models.

    Args:
        start: starts `selfseg` for work on the library; in Slicer's own Python by default.
        worker_command: likewise, of the warm worker.
        surfaces: likewise, of the process that makes surfaces.
        library: folder of the models; the user's by default.
    """

    def __init__(
        self,
        *,
        start: ProcessStarter | None = None,
        worker_command: WorkerCommand | None = None,
        surfaces: ProcessStarter | None = None,
        library: Path | None = None,
    ) -> None:
        self._start = start
        self._surfaces = surfaces
        self.models = ModelList(library)
        self.worker = SegmentationWorker(worker_command or slicer_worker_command)

    def start_segmentation(
        self,
        volume_nodes: Any,
        model: str | Path | Model | ModelEntry,
        *,
        settings: SegmentationSettings | None = None,
        all_frames: bool = False,
        segmentation_node: Any = None,
        add: bool = False,
        roi_node: Any = None,
        **on: Any,
    ) -> SegmentationRun | SequenceRun:
        """Starts a run; see `SegmentationRun` and `SequenceRun`."""
        chosen = self.find(model)
        settings = settings or SegmentationSettings()
        several = isinstance(volume_nodes, Sequence) and not isinstance(volume_nodes, str)
        nodes = list(volume_nodes) if several else [volume_nodes]
        if all_frames:
            return SequenceRun(
                nodes,
                chosen,
                worker=self.worker,
                settings=settings,
                limit_of=lambda volume: None if roi_node is None else voxel_box(roi_node, volume),
                **on,
            )
        surfaces = None
        if settings.closed_surface:
            surfaces = self._surfaces or slicer_surface_starter()
        return SegmentationRun(
            nodes,
            chosen,
            worker=self.worker,
            settings=settings,
            segmentation_node=segmentation_node,
            add=add,
            roi_node=roi_node,
            surfaces=surfaces,
            **on,
        )

    def start_import(self, source: str | Path, **options: Any) -> ImportRun:
        """Takes a model into the library; see `ImportRun`."""
        return ImportRun(Path(source), self.models, start=self._starter(), **options)

    def start_library_job(self, *words: str, **on: Any) -> LibraryJob:
        """`selfseg model WORDS`."""
        return LibraryJob(words, self.models.library, start=self._starter(), **on)

    def find(self, model: str | Path | Model | ModelEntry) -> Model:
        """A model by path, key or name, or one that was found already.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        if isinstance(model, Model):
            return model
        if isinstance(model, ModelEntry) and model.model is not None:
            return model.model
        found = self.models.find(model.key if isinstance(model, ModelEntry) else model).model
        assert found is not None  # noqa: S101 - `find` gives none that is damaged
        return found

    def close(self) -> None:
        """Ends the worker; the next segmentation starts a new one."""
        self.worker.end_now()

    def _starter(self) -> ProcessStarter:
        return self._start or slicer_starter()
