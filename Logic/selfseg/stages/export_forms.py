"""One segmentation in each of the forms that other programs read.

Nothing is flattened: segments that overlap are written to several label maps, and it is said.
Label maps lie on the whole grid of the image that was segmented, as far as it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..arrays.index_maps import index_to_world
from ..arrays.mesh import surface_of
from ..arrays.placement import overlap_free, placed
from ..domain.errors import ImageError, UsageError
from ..domain.events import Notice, Reporter
from ..domain.geometry import Geometry
from ..domain.segments import Segment, SegmentsInPlace, label_values
from ..io.colour_tables import ENDING as COLOURS
from ..io.colour_tables import write_colour_table
from ..io.dicom_seg_files import read_source, write_dicom_seg
from ..io.dicom_series import find_series
from ..io.images import read_image, write_label_map
from ..io.mesh_files import NamedMesh, write_glb, write_obj, write_stl
from ..io.seg_nrrd_files import write_seg_nrrd
from ..io.seg_nrrd_header import ENDING as SEG_NRRD
from .export_sources import LoadedSegments

Format = Literal["seg-nrrd", "nifti", "nrrd", "masks", "stl", "obj", "glb", "dicom-seg", "report"]
FORMATS: tuple[Format, ...] = get_args(Format)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Args:
        format: of the files.
        reference: an image whose grid label maps shall have; otherwise what the file says.
        to_world: (4, 4), LPS mm: the parent transform, hardened into surfaces.
        to_reference: (4, 4), LPS mm: from the segmentation's coordinates to the reference's.
        dicom: folder of the DICOM series that was segmented, or of one such folder per case,
            named as the case.
        dicom_files: the files of the series, instead of its folder.
        model: project or bundle folder whose report goes along.
    """

    format: Format
    reference: Path | None = None
    to_world: Matrix | None = None
    to_reference: Matrix | None = None
    dicom: Path | None = None
    dicom_files: tuple[Path, ...] = ()
    model: Path | None = None


@dataclass(frozen=True)
class Outgoing:
    """One case on its way out: its name, the folder it goes to, and how."""

    name: str
    output: Path
    options: ExportOptions
    reporter: Reporter

    def say(self, text: str) -> None:
        """Tells what is adapted."""
        self.reporter(Notice(f"{self.name}: {text}"))

    def on_image_grid(self, loaded: LoadedSegments) -> LoadedSegments:
        """The layers on the whole grid of the image."""
        target = _reference_grid(loaded.place, self.options)
        made = _onto(loaded, target, self.options.to_reference)
        left = _filled(made)
        lost = [name for key, name in _filled(loaded).items() if key not in left]
        if lost and not left:
            raise _outside("image", target, "choose the scan that was segmented")
        if lost:
            self.say(f"outside of the image, and so empty here: {', '.join(lost)}")
        return made

    def grouped(
        self, loaded: LoadedSegments, *, tell: bool
    ) -> tuple[list[NDArray[Any]], list[int], list[int]]:
        """Label maps without overlaps; for each segment its label map and value."""
        segments = loaded.place.segments
        values = list(label_values(segments))
        if tell and values != [segment.value for segment in segments]:
            self.say(f"segments share label values: they are written as 1 to {len(values)}")
        own = [(segment.layer, segment.value) for segment in segments]
        maps, where = overlap_free(loaded.layers, own, values)
        return maps, where, values


def _seg_nrrd(export: Outgoing, loaded: LoadedSegments) -> Path:
    on_grid = export.on_image_grid(loaded)
    maps, where, values = export.grouped(on_grid, tell=False)
    segments = tuple(
        replace(segment, layer=layer, value=value)
        for segment, layer, value in zip(on_grid.place.segments, where, values, strict=True)
    )
    path = export.output / f"{export.name}{SEG_NRRD}"
    place = SegmentsInPlace(on_grid.place.grid, len(maps), segments, on_grid.place.grid)
    write_seg_nrrd(path, place, maps)
    return path


def _label_maps(ending: str) -> Callable[[Outgoing, LoadedSegments], Path]:
    def write(export: Outgoing, loaded: LoadedSegments) -> Path:
        on_grid = export.on_image_grid(loaded)
        maps, where, values = export.grouped(on_grid, tell=True)
        if len(maps) > 1:
            export.say(
                f"segments overlap: they are written to {len(maps)} label maps, "
                f"{export.name}_layer1{ending} and so on"
            )
        for index, labels in enumerate(maps):
            stem = export.name if len(maps) == 1 else f"{export.name}_layer{index + 1}"
            entries = [
                (value, segment.name, segment.colour)
                for segment, layer, value in zip(on_grid.place.segments, where, values, strict=True)
                if layer == index
            ]
            write_colour_table(export.output / f"{stem}{COLOURS}", entries)
            write_label_map(export.output / f"{stem}{ending}", labels, on_grid.place.grid)
        first = export.name if len(maps) == 1 else f"{export.name}_layer1"
        return export.output / f"{first}{ending}"

    return write


def _masks(export: Outgoing, loaded: LoadedSegments) -> Path:
    on_grid = export.on_image_grid(loaded)
    folder = export.output / export.name
    names = file_names([segment.name for segment in on_grid.place.segments])
    for segment, name in zip(on_grid.place.segments, names, strict=True):
        mask = (on_grid.layers[segment.layer] == segment.value).astype(np.uint8)
        write_label_map(folder / f"{name}.nii.gz", mask, on_grid.place.grid)
    return folder


def _surfaces(export: Outgoing, loaded: LoadedSegments) -> list[NamedMesh]:
    if loaded.place.grid.is_2d:
        raise ImageError(
            "a flat image has no surfaces",
            expected="a volume",
            found="a 2D image",
            cure="export label maps",
        )
    affine = index_to_world(loaded.place.grid)
    if export.options.to_world is not None:
        affine = export.options.to_world @ affine
    made = []
    for segment in loaded.place.segments:
        mesh = surface_of(loaded.layers[segment.layer] == segment.value, affine)
        if mesh is None:
            export.say(f"{segment.name} is empty and has no surface")
        else:
            made.append(NamedMesh(segment.name, segment.colour, mesh))
    if not made:
        raise _nothing("surface")
    return made


def _stl(export: Outgoing, loaded: LoadedSegments) -> Path:
    meshes, folder = _surfaces(export, loaded), export.output / export.name
    for named, name in zip(meshes, file_names([mesh.name for mesh in meshes]), strict=True):
        write_stl(folder / f"{name}.stl", named.mesh)
    return folder


def _obj(export: Outgoing, loaded: LoadedSegments) -> Path:
    path = export.output / f"{export.name}.obj"
    write_obj(path, _surfaces(export, loaded))
    return path


def _glb(export: Outgoing, loaded: LoadedSegments) -> Path:
    path = export.output / f"{export.name}.glb"
    write_glb(path, _surfaces(export, loaded))
    return path


def _dicom_seg(export: Outgoing, loaded: LoadedSegments) -> Path:
    source = read_source(_source_files(export))
    on_series = _onto(loaded, source.grid, export.options.to_reference)
    kept = []
    for segment in on_series.place.segments:
        if (on_series.layers[segment.layer] == segment.value).any():
            kept.append(segment)
        else:
            export.say(f"{segment.name} is empty and left out: DICOM has no empty segments")
    _require_inside(loaded, on_series, kept)
    own = [(segment.layer, segment.value) for segment in kept]
    maps, where = overlap_free(on_series.layers, own, range(1, len(own) + 1))
    segments = [
        replace(segment, layer=layer, value=index + 1)
        for index, (segment, layer) in enumerate(zip(kept, where, strict=True))
    ]
    path = export.output / f"{export.name}.dcm"
    write_dicom_seg(path, source, maps, segments, description=f"{export.name} segmentation")
    return path


WRITERS: Mapping[str, Callable[[Outgoing, LoadedSegments], Path]] = {
    "seg-nrrd": _seg_nrrd,
    "nifti": _label_maps(".nii.gz"),
    "nrrd": _label_maps(".nrrd"),
    "masks": _masks,
    "stl": _stl,
    "obj": _obj,
    "glb": _glb,
    "dicom-seg": _dicom_seg,
}


def file_names(names: Sequence[str]) -> list[str]:
    """Names that files can have on every system, all different."""
    made: list[str] = []
    for name in names:
        plain = re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "_", name).strip(". ")[:100] or "segment"
        if re.fullmatch(r"con|prn|aux|nul|(com|lpt)[0-9]", plain.partition(".")[0], re.IGNORECASE):
            plain = f"_{plain}"  # Windows keeps these names for devices
        number, unique = 2, plain
        while unique.casefold() in {other.casefold() for other in made}:
            unique, number = f"{plain}_{number}", number + 1
        made.append(unique)
    return made


def _onto(loaded: LoadedSegments, target: Geometry, moved: Matrix | None) -> LoadedSegments:
    layers = tuple(placed(layer, loaded.place.grid, target, moved) for layer in loaded.layers)
    return LoadedSegments(replace(loaded.place, grid=target, reference=target), layers)


def _reference_grid(place: SegmentsInPlace, options: ExportOptions) -> Geometry:
    if options.reference is not None:
        return read_image(options.reference)[1]
    return place.reference or place.grid


def _source_files(export: Outgoing) -> tuple[Path, ...]:
    if export.options.dicom_files:
        return export.options.dicom_files
    folder = export.options.dicom
    if folder is None:
        raise UsageError(
            "a DICOM segmentation belongs to a DICOM series",
            expected="--dicom FOLDER, the series that was segmented",
            found="none",
            cure="name it, or export another format",
        )
    own = folder / export.name
    series = find_series(own if own.is_dir() else folder)
    found = series if len(series) == 1 else [one for one in series if one.name == export.name]
    if len(found) != 1:
        raise ImageError(
            "it is not clear which DICOM series was segmented",
            expected=f"one series, or one in a folder named {export.name}",
            found=", ".join(one.name for one in series[:10]) or "none",
            cure="name the folder of that series alone",
            path=folder,
        )
    return found[0].files


def _require_inside(
    loaded: LoadedSegments, on_series: LoadedSegments, kept: Sequence[Segment]
) -> None:
    """Refuses a series that the segmentation does not lie on: it is another one."""
    if not kept and _filled(loaded):
        grid = on_series.place.grid
        raise _outside("DICOM series", grid, "name the folder of the right series")


def _outside(what: str, grid: Geometry, cure: str) -> ImageError:
    return ImageError(
        f"the segmentation lies outside of the {what}",
        expected=f"the {what} that was segmented",
        found=f"one at {tuple(round(x, 1) for x in grid.origin)} mm",
        cure=cure,
    )


def _filled(loaded: LoadedSegments) -> dict[str, str]:
    """The segments that have voxels: identifier (or name) to name."""
    return {
        segment.identifier or segment.name: segment.name
        for segment in loaded.place.segments
        if (loaded.layers[segment.layer] == segment.value).any()
    }


def _nothing(what: str) -> ImageError:
    return ImageError(
        "there is nothing to write",
        expected="at least one segment with voxels",
        found="empty segments only",
        cure=f"an empty segmentation has no {what}: export label maps",
    )
