"""What runs on the warm worker have in common, whether one volume goes through it or many."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ..models import Model
from .case import CaseResult, EventTaker, segment_case
from .exchange import make_folder, voxel_bytes
from .settings import SegmentationSettings
from .steps import SteppedRun, Steps
from .worker import SegmentationWorker

PREFIX = "SelfConfiguringSegmentation."
"""Of the attributes of segmentation nodes that say where they come from and what they are worth."""


class WorkerRun(SteppedRun, ABC):
    """Volumes go to the worker; the scene is touched only where everything went well.

    Args:
        volume_nodes: one per channel of the model: of the only case, or the first of many alike.
        model: the model.
        worker: computes.
        settings: how.
        on_event: takes events, as dicts.
        on_log: takes lines for the log.
    """

    def __init__(
        self,
        volume_nodes: Sequence[Any],
        model: Model,
        *,
        worker: SegmentationWorker,
        settings: SegmentationSettings | None,
        on_event: EventTaker,
        on_log: Callable[[str], None],
    ) -> None:
        self._model = model
        self._worker = worker
        self._settings = settings or SegmentationSettings()
        self._on_event = on_event
        self._on_log = on_log
        self._cancelled = False
        self.case: CaseResult | None = None
        """What is known of the result, once there is one; of several, the one to look at."""
        self._folder = make_folder(voxel_bytes(volume_nodes))
        worker.on_log = on_log
        super().__init__(
            self._work(), clean_up=lambda: shutil.rmtree(self._folder, ignore_errors=True)
        )

    def cancel(self) -> None:
        """Asks for a stop; go on polling."""
        self._cancelled = True

    @abstractmethod
    def _work(self) -> Steps[Any]:
        """From the volumes to a node of the scene."""

    @abstractmethod
    def _check_scene(self) -> None:
        """Insists that what is segmented is still there.

        Raises:
            ImageError: it is not.
        """

    def _should_stop(self) -> bool:
        self._check_scene()
        return self._cancelled

    def _segment(
        self, volume_nodes: Sequence[Any], limit: Any, on_event: EventTaker
    ) -> Steps[CaseResult]:
        """One case through the worker."""
        return segment_case(
            volume_nodes,
            self._model,
            self._settings,
            self._worker,
            self._folder,
            limit=limit,
            on_event=on_event,
            should_stop=self._should_stop,
        )


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
