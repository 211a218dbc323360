"""Segmented scans as Slicer and others store them, without any symmetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from selfseg.collect.collection import Collection
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case

SHAPE = (12, 20, 16)
SPACING = (2.5, 0.9, 0.7)
ORIGIN = (-12.5, 31.25, 7.0)
OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.60, 0.0], [0.48, 0.64, 0.60]])
LIVER_CODE = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
TISSUE_CODE = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^"
)


def grey(seed: int = 0) -> np.ndarray:
    """Every voxel has another value, so that each flip and each swap of axes shows."""
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) + np.int16(seed)


def box(*ranges: tuple[int, int], shape: Sequence[int] = SHAPE) -> np.ndarray:
    """A box of voxels (Z, Y, X)."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*limits) for limits in ranges)] = True
    return mask


def liver() -> np.ndarray:
    """A corner piece without any symmetry."""
    mask = box((1, 8), (2, 13), (3, 9))
    mask[1:3, 2:9, 3:5] = False
    return mask


TUMOUR = box((4, 6), (5, 8), (5, 8))
"""Inside the liver."""

SPLEEN = box((8, 11), (14, 18), (10, 14))


def as_image(
    array: np.ndarray,
    *,
    spacing: Sequence[float] = SPACING,
    origin: Sequence[float] = ORIGIN,
    direction: np.ndarray | None = None,
) -> Any:
    """A SimpleITK image; spacing (Z, Y, X)."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(part) for part in spacing][::-1])
    image.SetOrigin([float(part) for part in origin])
    image.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    return image


def write_image(path: Path, array: np.ndarray | None = None, **place: Any) -> Path:
    """An image or label map, format by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(as_image(grey() if array is None else array, **place), str(path))
    return path


@dataclass(frozen=True)
class Piece:
    """One segment for `write_seg_nrrd`."""

    mask: np.ndarray
    layer: int = 0
    value: int = 1
    code: str = TISSUE_CODE
    colour: str = "0.5 0.6 0.7"


def write_seg_nrrd(
    path: Path,
    segments: Mapping[str, Piece],
    *,
    start: Sequence[int] = (0, 0, 0),
    stop: Sequence[int] = SHAPE,
    spacing: Sequence[float] = SPACING,
    origin: Sequence[float] = ORIGIN,
    direction: np.ndarray | None = None,
    reference: bool = True,
) -> Path:
    """A `.seg.nrrd` as Slicer writes it, cropped to voxels `start` to `stop` (Z, Y, X)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    direction = np.eye(3) if direction is None else direction
    count = max((piece.layer for piece in segments.values()), default=0) + 1
    layers = np.zeros((count, *SHAPE), dtype=np.uint8)
    for piece in segments.values():
        layers[piece.layer][piece.mask] = piece.value
    layers = layers[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]
    axes = direction * np.array(spacing[::-1])
    moved = np.array(origin) + axes @ np.array(start[::-1])
    many = count > 1
    sizes = ([count] if many else []) + list(layers.shape[:0:-1])
    lines = [
        "NRRD0004",
        "# made by a test",
        "type: unsigned char",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, sizes)),
        "space directions: "
        + ("none " if many else "")
        + " ".join(f"({','.join(repr(float(p)) for p in axes[:, i])})" for i in range(3)),
        "kinds: " + ("list " if many else "") + "domain domain domain",
        "encoding: raw",
        f"space origin: ({','.join(repr(float(p)) for p in moved)})",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
    ]
    if reference:
        to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
        whole = np.eye(4)
        whole[:3, :3], whole[:3, 3] = axes, origin
        numbers = ";".join(repr(float(n)) for n in (to_ras @ whole).ravel())
        extent = ";".join(f"0;{n - 1}" for n in reversed(SHAPE))
        lines.append(
            "Segmentation_ConversionParameters:=Smoothing factor|0.5|Text.&"
            f"Reference image geometry|{numbers};{extent};|Text.&"
        )
    for index, (name, piece) in enumerate(segments.items()):
        full = "0 15 0 19 0 11" if piece.mask.any() else "0 -1 0 -1 0 -1"
        lines += [
            f"Segment{index}_ID:=Segment_{index}",
            f"Segment{index}_Name:={name}",
            f"Segment{index}_Color:={piece.colour}",
            f"Segment{index}_Extent:={full}",
            f"Segment{index}_Layer:={piece.layer}",
            f"Segment{index}_LabelValue:={piece.value}",
            f"Segment{index}_Tags:=Segmentation.Status:inprogress|TerminologyEntry:{piece.code}|",
        ]
    data = np.ascontiguousarray(np.moveaxis(layers, 0, -1)).tobytes()
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


def standard_case(folder: Path, name: str, *, liver_value: int = 1, **place: Any) -> None:
    """`<name>.nrrd` and `<name>.seg.nrrd` with liver and spleen in one layer."""
    write_image(folder / f"{name}.nrrd", **place)
    write_seg_nrrd(
        folder / f"{name}.seg.nrrd",
        {
            "Liver": Piece(liver(), value=liver_value, code=LIVER_CODE),
            "spleen": Piece(SPLEEN, value=3 - liver_value),
        },
        **place,
    )


def kinds(collection: Collection) -> dict[str, list[str]]:
    """The kinds of problems of each case."""
    return {case.identifier: [p.kind for p in case.problems] for case in collection.cases}


def masks_of(folder: Path, identifier: str) -> dict[str, np.ndarray]:
    """The structures of a written case by name."""
    data = open_dataset(folder)
    case = read_case(data.case(identifier), data.description.labels)
    return {
        label.name: np.isin(case.labels, label.values)
        for label in data.description.labels.foreground
    }
