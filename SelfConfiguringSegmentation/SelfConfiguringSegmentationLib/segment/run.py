"""One segmentation, from volumes in the scene to a segmentation node, in the background."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ModelError

from .. import scene
from ..jobs import Job, ProcessStarter
from ..models import Model, read_model


@dataclass(frozen=True)
class SegmentationSettings:
    """How to segment: where to compute, and what to make of the result."""

    device: str = "auto"
    checkpoint: str = "final"
    mirror: bool = True
    """Average over mirrored images: better, and up to eight times slower."""
    closed_surface: bool = False


class SegmentationRun:
    """Volumes are written, `selfseg predict` runs, its label map becomes a segmentation.

    The scene is touched only by `finish`, and only where everything went well.

    Args:
        volume_nodes: one per channel of the model.
        model_folder: a project folder.
        start: starts the child process.
        settings: how.
        segmentation_node: filled with the result; a new node is made otherwise.
        on_event: takes events of the child, as dicts.
        on_log: takes its other lines.

    Raises:
        ModelError: no model there, or it takes another number of channels.
        ImageError: the volumes cannot be used.
    """

    def __init__(
        self,
        volume_nodes: Sequence[Any],
        model_folder: Path,
        *,
        start: ProcessStarter,
        settings: SegmentationSettings | None = None,
        segmentation_node: Any = None,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._volume_node = volume_nodes[0] if volume_nodes else None
        self._segmentation_node = segmentation_node
        self._settings = settings or SegmentationSettings()
        self._model = read_model(model_folder)
        _check_channels(self._model, volume_nodes)
        self._folder = Path(tempfile.mkdtemp(prefix="selfseg-"))
        try:
            files = scene.write_case(volume_nodes, self._folder)
            self._grid = scene.volume_grid(self._volume_node)
            self._job = Job(
                _arguments(self._model, files, self._output, self._settings),
                start=start,
                on_event=on_event,
                on_log=on_log,
            )
        except BaseException:
            self._clean_up()
            raise

    @property
    def _output(self) -> Path:
        return self._folder / "output"

    def poll(self) -> bool:
        """Hands on events and log lines; True once `finish` may be called."""
        return self._job.poll()

    def wait(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Polls until the child has ended; on an exception (Ctrl-C too) ends it."""
        try:
            self._job.wait(while_waiting=while_waiting)
        except BaseException:
            self.end_now()
            raise

    def cancel(self) -> None:
        """Asks the child to stop; go on polling."""
        self._job.cancel()

    def end_now(self) -> None:
        """Ends the child by force and removes the temporary files."""
        self._job.end_now()
        self._clean_up()

    def finish(self) -> Any:
        """Makes the segmentation node, and removes the temporary files in any case.

        Raises:
            Cancelled: the run was cancelled.
            JobFailed: the child failed.
            ImageError: the volume was changed or removed meanwhile.
        """
        try:
            self._job.raise_on_failure()
            labels = scene.read_label_map(self._label_map(), self._grid)
            return scene.add_segmentation(
                labels,
                self._model.labels,
                self._volume_node,
                segmentation_node=self._segmentation_node,
                algorithm_name=f"SelfConfiguringSegmentation {self._model.name}",
                closed_surface=self._settings.closed_surface,
            )
        finally:
            self._clean_up()

    def _label_map(self) -> Path:
        found = [path for path in self._output.glob("case.*") if path.is_file()]
        if len(found) != 1:
            raise ModelError(
                "the prediction did not write one label map",
                expected="one file named case.*",
                found=", ".join(sorted(path.name for path in found)) or "none",
                cure="read the log",
                path=self._output,
            )
        return found[0]

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _arguments(
    model: Model, files: Sequence[Path], output: Path, settings: SegmentationSettings
) -> list[str]:
    return [
        "predict",
        "-m",
        str(model.folder),
        "-i",
        *map(str, files),
        "-o",
        str(output),
        "--device",
        settings.device,
        "--checkpoint",
        settings.checkpoint,
        "--tta" if settings.mirror else "--no-tta",
    ]


def _check_channels(model: Model, volume_nodes: Sequence[Any]) -> None:
    vector = len(volume_nodes) == 1 and volume_nodes[0].IsA("vtkMRMLVectorVolumeNode")
    found = len(volume_nodes)
    if vector and volume_nodes[0].GetImageData() is not None:
        found = volume_nodes[0].GetImageData().GetNumberOfScalarComponents()
    if found != len(model.channel_names):
        raise ModelError(
            f"the model {model.name} takes another number of images",
            expected=f"{len(model.channel_names)}: {', '.join(model.channel_names)}",
            found=f"{found}: {', '.join(node.GetName() for node in volume_nodes)}",
            cure="give one volume per channel, in this order",
        )
