"""Collection files: cases that a program hands over, as docs/reference/collection-file.md says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..domain.errors import DatasetError, ImageError
from ..domain.geometry import Affine, Geometry, Matrix3, Shape3, Vector3
from ..domain.terminology import parse_terms
from ..io.json_files import read_json
from .collection import (
    CollectedCase,
    CollectedImage,
    CollectedSegment,
    CollectedSegmentation,
    CollectOptions,
    VoxelSource,
)
from .headers import array_source, image_source, layers_of

SCHEMA = "selfseg.collection/1"
NON_LINEAR = "non-linear"
HARDEN = "harden the transform in Slicer (Transforms, or right click on the node), then again"

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class FileGrid:
    """`domain.geometry.Geometry` as the file writes it."""

    shape: Shape3
    spacing: Vector3
    origin: Vector3
    direction: Matrix3


@dataclass(frozen=True)
class FileVoxels:
    """An array or NRRD file; `file` is null while the voxels are not written."""

    file: str | None
    grid: FileGrid | None = None


@dataclass(frozen=True)
class FileImage:
    """One channel."""

    channel: str
    file: str | None
    grid: FileGrid | None = None
    to_world: Numbers | Literal["non-linear"] | None = None


@dataclass(frozen=True)
class FileSegment:
    """One segment."""

    name: str
    layer: int
    value: int
    terminology: str | None = None
    colour: tuple[int, int, int] | None = None
    empty: bool | None = None


@dataclass(frozen=True)
class FileCase:
    """One case."""

    case: str
    images: tuple[FileImage, ...]
    layers: tuple[FileVoxels, ...]
    segments: tuple[FileSegment, ...]
    layers_to_world: Numbers | Literal["non-linear"] | None = None
    group: str | None = None


@dataclass(frozen=True)
class CollectionFile:
    """The whole file."""

    cases: tuple[FileCase, ...]
    channels: tuple[str, ...] = ()


def read_collection_file(path: Path) -> CollectionFile:
    """Reads the file, strictly.

    Raises:
        FileFormatError: damaged, of another kind or version, or with entries nobody knows.
    """
    return read_json(path, CollectionFile, schema=SCHEMA)


def file_cases(path: Path, content: CollectionFile) -> Iterator[CollectedCase]:
    """The cases of a collection file, one by one."""
    for entry in content.cases:
        case = CollectedCase(entry.case, path, group=entry.group)
        try:
            yield _case(case, path.parent, entry)
        except (ImageError, DatasetError) as error:
            yield case.with_problem("unreadable", f"{error.what} ({error.found})", error.cure)


def options_of(content: CollectionFile, options: CollectOptions) -> CollectOptions:
    """The user's options, with the file's channels where the user names none."""
    return options if options.channels else replace(options, channels=content.channels)


def lps_transform(numbers: Sequence[float]) -> Affine | None:
    """A parent transform of 16 numbers (RAS, row by row) in LPS; None for the identity.

    Raises:
        DatasetError: it is no affine matrix.
    """
    matrix = np.array(numbers, dtype=np.float64)
    if matrix.size != 16 or not np.isfinite(matrix).all():
        raise _wrong("16 finite numbers, row by row", str(list(numbers))[:100])
    matrix = matrix.reshape(4, 4)
    if not np.allclose(matrix[3], (0, 0, 0, 1)) or abs(np.linalg.det(matrix)) < 1e-12:
        raise _wrong("an affine matrix that can be inverted", str(matrix.tolist())[:100])
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned = flip @ matrix @ flip
    if np.allclose(turned, np.eye(4), rtol=0, atol=1e-9):
        return None
    return tuple(tuple(float(number) for number in row) for row in turned)


def _case(case: CollectedCase, folder: Path, entry: FileCase) -> CollectedCase:
    if NON_LINEAR in (entry.layers_to_world, *(image.to_world for image in entry.images)):
        return case.with_problem("non-linear-transform", "a parent transform is not linear", HARDEN)
    images = tuple(
        CollectedImage(image.channel, part, _transform(image.to_world))
        for image in entry.images
        for part in layers_of(_source(folder, image.file, image.grid))
    )
    layers = tuple(_source(folder, layer.file, layer.grid) for layer in entry.layers)
    segments = tuple(
        CollectedSegment(
            segment.name, segment.layer, (segment.value,), parse_terms(segment.terminology),
            segment.colour, segment.empty,
        )
        for segment in entry.segments
    )  # fmt: skip
    wrong = [s.name for s in segments if not s.empty and not 0 <= s.layer < len(layers)]
    if wrong:
        raise DatasetError(
            "segments name layers that the case does not have",
            expected=f"layers from 0 to {len(layers) - 1}",
            found=", ".join(wrong),
            cure="correct the collection file",
        )
    case = replace(case, images=images, segments=segments)
    if not images:
        return case.with_problem("no-image", "it has no image", "choose the volume of the case")
    if not layers and not segments:
        return case.with_problem(
            "no-segmentation", "it has no segmentation", "choose the segmentation of the case"
        )
    shown = entry.layers[0].file if entry.layers else None
    segmentation = CollectedSegmentation(shown or "", layers, _transform(entry.layers_to_world))
    return replace(case, segmentation=segmentation)


def _transform(value: Numbers | str | None) -> Affine | None:
    if value is None or isinstance(value, str):
        return None
    return lps_transform(value)


def _source(folder: Path, file: str | None, grid: FileGrid | None) -> VoxelSource:
    geometry = None
    if grid is not None:
        geometry = Geometry(grid.shape, grid.spacing, grid.origin, grid.direction)
    if file is None:
        if geometry is None:
            raise _wrong('"grid" where "file" is null', "neither")
        return VoxelSource(None, "array", geometry)
    path = located_in(folder, file)
    if path.suffix.lower() == ".npy":
        if geometry is None:
            raise _wrong('"grid" with every .npy file', file)
        return array_source(path, geometry)
    if path.suffix.lower() != ".nrrd":
        raise _wrong(".npy or .nrrd", file)
    return image_source(path)


def located_in(folder: Path, name: str) -> Path:
    """A file below a folder.

    Raises:
        DatasetError: the name leads elsewhere, or there is no such file.
    """
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    if not inside or Path(name).is_absolute() or not path.is_file():
        raise DatasetError(
            "a file of the collection is not there" if inside else "a file lies elsewhere",
            expected=f"a file in {folder}",
            found=name[:200],
            cure="write it there, with its path relative to that folder",
        )
    return path


def _wrong(expected: str, found: Any) -> DatasetError:
    return DatasetError(
        "an entry of the collection file is not what it should be",
        expected=expected,
        found=str(found),
        cure="see docs/reference/collection-file.md",
    )
