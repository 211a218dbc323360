"""Reads one case from its files: images, the segmentation to look at, and the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import SLICE_SPACING_2D, Geometry
from selfseg.io.digests import digest_of
from selfseg.io.seg_nrrd_header import ENDING as SEGMENTATION_ENDING
from selfseg.review.cases import ReviewCase

from ..scene import GEOMETRY_TOLERANCE
from .seg_nrrd import read_segments
from .segments import Description, Segments, segments_of_labels

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
COLOURS = (3, 4)
"""Numbers per pixel of a coloured picture."""

Origin = Literal["prediction", "reviewed", "draft"]


@dataclass(frozen=True)
class LoadedImage:
    """One channel: voxels (Z, Y, X), or (Z, Y, X, C) with colours; None once they are copied."""

    name: str
    voxels: Any
    grid: Geometry


@dataclass(frozen=True)
class LoadedCase:
    """A case that can be shown.

    Args:
        case: from the list.
        images: one per channel.
        prediction: the segments as they were predicted.
        shown: the segments to show: the prediction, or what somebody has made of it.
        origin: which of them is shown.
        sha256: of the prediction's file as it is now.
    """

    case: ReviewCase
    images: tuple[LoadedImage, ...]
    prediction: Segments
    shown: Segments
    origin: Origin
    sha256: str

    def without_voxels(self) -> LoadedCase:
        """The same without the voxels of its images, which the scene has its own copy of."""
        return replace(self, images=tuple(replace(image, voxels=None) for image in self.images))


def load_case(
    case: ReviewCase,
    images: Sequence[Path],
    described: Description | None,
    *,
    draft: Path,
    reviewed: Path | None,
) -> LoadedCase:
    """Reads a case.

    Args:
        case: from the list.
        images: its images, one per channel.
        described: what label values mean.
        draft: edits that were not decided about yet; shown where the file exists.
        reviewed: the segmentation of the last decision; shown where there is no draft.

    Raises:
        ImageError: a file is missing or damaged, or image and segmentation do not lie on one grid.
        ModelError: the label map does not belong to the model.
    """
    loaded = tuple(image for path in images for image in read_images(path))
    prediction = read_segmentation(case.label_map, described)
    _check_grids(case, loaded, prediction)
    shown, origin = prediction, "prediction"
    later: tuple[tuple[Path | None, Origin], ...] = ((draft, "draft"), (reviewed, "reviewed"))
    for path, kind in later:
        if path is not None and path.is_file():
            shown, origin = read_segments(path, exclusive=prediction.exclusive), kind
            _check_same(path, loaded[0].grid, shown.grid)
            break
    return LoadedCase(case, loaded, prediction, shown, origin, digest_of(case.label_map))


def read_images(path: Path) -> tuple[LoadedImage, ...]:
    """Reads an image: one with colours stays one, other channels become images of their own.

    Raises:
        ImageError: it is missing, damaged, or no image of two or three dimensions.
    """
    channels, grid = _read(path)
    if len(channels) == 1:
        return (LoadedImage(path.name, channels[0], grid),)
    if len(channels) in COLOURS and channels.dtype.name == "uint8":
        import numpy as np

        coloured = np.ascontiguousarray(np.moveaxis(channels, 0, -1))
        return (LoadedImage(path.name, coloured, grid),)
    return tuple(
        LoadedImage(f"{path.name} {number}", channel, grid)
        for number, channel in enumerate(channels, start=1)
    )


def read_segmentation(path: Path, described: Description | None) -> Segments:
    """Reads a label map, or a `.seg.nrrd`, which says itself what is in it.

    Raises:
        ImageError: it cannot be read.
        ModelError: the label map does not belong to the model.
    """
    if path.name.lower().endswith(SEGMENTATION_ENDING):
        return read_segments(path)
    channels, grid = _read(path)
    if len(channels) != 1:
        raise ImageError(
            "the segmentation is no label map",
            expected="one number per voxel",
            found=f"{len(channels)} numbers per voxel",
            cure="choose the folder that holds the segmentations",
            path=path,
        )
    return segments_of_labels(channels[0], grid, described)


def _read(path: Path) -> tuple[Any, Geometry]:
    """Voxels (C, Z, Y, X) and their grid."""
    if not path.is_file():
        raise ImageError(
            "the file is not there any more",
            expected="the file that was listed",
            found="no such file",
            cure="restore it, or open the folder again",
            path=path,
        )
    if path.suffix.lower() in PICTURE_ENDINGS:
        return _read_picture(path)
    from selfseg.io.itk_images import read_itk

    return read_itk(path)


def _read_picture(path: Path) -> tuple[Any, Geometry]:
    # selfseg's own reader needs packages that Slicer does not bring.
    import numpy as np
    import SimpleITK as sitk

    try:
        voxels = sitk.GetArrayFromImage(image := sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ImageError(
            "the file cannot be read",
            expected="a picture that is complete",
            found=str(error).strip().splitlines()[-1],
            cure="restore it from a copy",
            path=path,
        ) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)
    else:
        voxels = voxels[np.newaxis]
    if image.GetDimension() == 2:
        voxels = voxels[:, np.newaxis]
    depth, height, width = voxels.shape[1:]
    spacing = SLICE_SPACING_2D if depth == 1 else 1.0
    return voxels, Geometry((depth, height, width), (spacing, 1.0, 1.0))


def _check_grids(case: ReviewCase, images: Sequence[LoadedImage], prediction: Segments) -> None:
    if not images:
        raise ImageError(
            f"{case.identifier} has no image",
            expected="one image per channel",
            found="none",
            cure="choose the folder that holds the images",
        )
    for image in images[1:]:
        if difference := images[0].grid.mismatch(image.grid, tolerance=GEOMETRY_TOLERANCE):
            raise ImageError(
                f"{image.name} does not lie on the grid of {images[0].name}",
                expected="channels of one case on the same grid",
                found=difference,
                cure="choose the images that were segmented",
            )
    _check_same(case.label_map, images[0].grid, prediction.grid)


def _check_same(path: Path, image: Geometry, segmentation: Geometry) -> None:
    if difference := image.mismatch(segmentation, tolerance=GEOMETRY_TOLERANCE):
        raise ImageError(
            "the segmentation does not lie on the grid of its image",
            expected="image and segmentation voxel on voxel",
            found=difference,
            cure="choose the folder of the images that were segmented, or predict again",
            path=path,
        )
