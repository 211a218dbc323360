"""One export in the background: of a segmentation in the scene, or of reviewed cases on disk."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import UsageError

from .. import transforms
from ..child_run import ChildRun, EventTaker, LineTaker
from ..jobs import ProcessStarter
from . import dicom
from .formats import format_for, format_of
from .snapshot import take_snapshot


@dataclass(frozen=True)
class ExportSettings:
    """How to export.

    Args:
        format: a key of `formats.file_formats`.
        volume: the volume whose grid label maps shall have; the segmentation's own otherwise.
        dicom_folder: of the series that was segmented, where the volume was not loaded as DICOM.
        model: folder of the model whose report goes along with the table of volumes.
    """

    format: str = "seg-nrrd"
    volume: Any = None
    dicom_folder: Path | None = None
    model: Path | None = None


class SceneExport(ChildRun):
    """A segmentation of the scene: its voxels go to a file, the child makes the rest of it.

    The scene is only read; Slicer's own DICOM exporter alone updates the segments' tags.

    Args:
        segmentation_node: what to export.
        target: a folder, or a file whose ending says the format.
        start: starts the child process.
        settings: how; the format of a file's ending goes first.
        on_event: takes events of the child.
        on_log: takes its other lines.

    Raises:
        ImageError: the segmentation cannot be exported.
        UsageError: unknown format, or nothing is known of the DICOM series.
    """

    def __init__(
        self,
        segmentation_node: Any,
        target: Path,
        *,
        start: ProcessStarter,
        settings: ExportSettings | None = None,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        if not hasattr(segmentation_node, "GetSegmentation"):
            raise UsageError(
                _("this is no segmentation"),
                expected=_("a segmentation node of the scene"),
                found=type(segmentation_node).__name__,
                cure=_("choose a segmentation"),
            )
        self._node = segmentation_node
        self._settings = settings or ExportSettings()
        self._on_event = on_event
        self._folder, self._name, self._format = _target(target, segmentation_node, self._settings)
        self._volume = self._settings.volume or _reference_volume(segmentation_node)
        self._written: list[Path] = []
        self._temporary: Path | None = None
        self._exporter = None
        if self._format == "dicom-seg" and self._settings.dicom_folder is None:
            self._exporter = dicom.slicer_exporter(segmentation_node, self._volume)
        arguments: list[str] = []
        copying = None
        if self._exporter is None:
            snapshot = take_snapshot(segmentation_node, self._volume)
            options, files = self._options()
            self._temporary = Path(tempfile.mkdtemp(prefix="selfseg-"))
            source = self._temporary / f"{self._name}.seg.nrrd"
            arguments = ["export", str(source), "-o", str(self._folder), *options]
            if files:
                listed = self._temporary / "series.txt"
                listed.write_text("\n".join(map(str, files)), encoding="utf-8")
                arguments += ["--dicom-list", str(listed)]
            copying = snapshot.write(source)
        super().__init__(
            arguments, start=start, on_event=self._take, on_log=on_log, copying=copying
        )

    def poll(self) -> bool:
        """Copies some voxels, or hands on what the child says; True once it has ended."""
        if self._exporter is not None and not self._cancelled:
            path = self._folder / f"{self._name}.dcm"
            self._written.append(
                dicom.export_with_slicer(self._node, self._volume, path, self._exporter)
            )
            self._exporter = None
            return True
        return super().poll()

    def finish(self) -> tuple[Path, ...]:
        """The files that were written, or the folder of them.

        Raises:
            Cancelled: it was cancelled.
            JobFailed: the child failed.
        """
        super().finish()
        return tuple(self._written)

    def _options(self) -> tuple[list[str], tuple[Path, ...]]:
        """What the child is told besides names of files; and the files of the DICOM series."""
        options = ["--format", self._format]
        if world := transforms.to_world(self._node):
            options.append(f"--to-world={transforms.as_text(world)}")
        if moved := transforms.to_coordinates_of(self._node, self._volume):
            options.append(f"--to-reference={transforms.as_text(moved)}")
        if self._settings.model is not None:
            options += ["--model", str(self._settings.model)]
        if self._format != "dicom-seg":
            return options, ()
        if self._settings.dicom_folder is not None:
            return [*options, "--dicom", str(self._settings.dicom_folder)], ()
        files = dicom.source_files(self._volume)
        if not files:
            raise UsageError(
                _("it is not known which DICOM series was segmented"),
                expected=_("a volume from Slicer's DICOM database, or the folder of its files"),
                found=_("neither"),
                cure=_("choose the folder of the series"),
            )
        return options, files

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "case_finished" and event.get("path"):
            self._written.append(Path(event["path"]))
        self._on_event(event)

    def _clean_up(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


class FolderExport(ChildRun):
    """What reviewers approved or corrected, or predictions as they are, in a child process.

    Args:
        folder: of predictions, or of .seg.nrrd files.
        target: folder to write to.
        start: starts the child process.
        settings: how.
        reviewed: takes reviewed cases and nothing else.
        on_event: takes events of the child.
        on_log: takes its other lines.
    """

    def __init__(
        self,
        folder: Path,
        target: Path,
        *,
        start: ProcessStarter,
        settings: ExportSettings | None = None,
        reviewed: bool = True,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        settings = settings or ExportSettings()
        self._written: list[Path] = []
        self._on_event = on_event
        arguments = ["export", str(folder), "-o", str(target)]
        arguments += ["--format", format_of(settings.format).key]
        arguments += ["--reviewed"] if reviewed else []
        if settings.dicom_folder is not None:
            arguments += ["--dicom", str(settings.dicom_folder)]
        if settings.model is not None:
            arguments += ["--model", str(settings.model)]
        super().__init__(arguments, start=start, on_event=self._take, on_log=on_log)

    def finish(self) -> tuple[Path, ...]:
        """The files that were written.

        Raises:
            Cancelled: it was cancelled.
            JobFailed: the child failed, or some of the cases did.
        """
        super().finish()
        return tuple(self._written)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "case_finished" and event.get("path"):
            self._written.append(Path(event["path"]))
        self._on_event(dict(event))


def start_scene_export(
    segmentation_node: Any,
    path: str | Path,
    format: str,
    start: ProcessStarter,
    *,
    settings: ExportSettings | None = None,
    onEvent: EventTaker = lambda event: None,
    onLog: LineTaker = lambda line: None,
) -> SceneExport:
    """What the module's logic calls; a format that is given goes before that of the settings."""
    made = _with_format(settings, format)
    return SceneExport(
        segmentation_node, Path(path), start=start, settings=made, on_event=onEvent, on_log=onLog
    )


def start_folder_export(
    folder: str | Path,
    output: str | Path,
    format: str,
    start: ProcessStarter,
    *,
    settings: ExportSettings | None = None,
    onEvent: EventTaker = lambda event: None,
    onLog: LineTaker = lambda line: None,
) -> FolderExport:
    """What the module's logic calls, for reviewed cases."""
    made = _with_format(settings, format)
    return FolderExport(
        Path(folder), Path(output), start=start, settings=made, on_event=onEvent, on_log=onLog
    )


def _with_format(settings: ExportSettings | None, format: str) -> ExportSettings:
    made = settings or ExportSettings()
    return replace(made, format=format_of(format).key) if format else made


def file_name(name: str) -> str:
    """A node's name as the name of a file on every system."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "_", name).strip(". ")[:120] or "segmentation"


def _target(target: Path, node: Any, settings: ExportSettings) -> tuple[Path, str, str]:
    """Folder, name without ending, and format."""
    known = None if target.is_dir() else format_for(target)
    if known is None:
        return target, file_name(node.GetName()), format_of(settings.format).key
    chosen = settings.format if format_of(settings.format).ending == known.ending else known.key
    return target.parent, target.name[: -len(known.ending)], chosen


def _reference_volume(node: Any) -> Any:
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
