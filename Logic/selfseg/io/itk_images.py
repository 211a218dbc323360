"""3D formats (and their 2D variants) through SimpleITK, geometry converted once."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from ..domain.errors import ImageError
from ..domain.geometry import SLICE_SPACING_2D, Geometry, Matrix3, Shape3
from .nifti_files import NiftiHeader, read_nifti_header, read_voxels
from .stored_voxels import require_room, require_whole

sitk: Any = SimpleITK
"""SimpleITK's wrappers carry no types."""

Array = NDArray[Any]

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between image axes that is straightened instead of refused: 0.25 mm over
25 cm. ITK's NIfTI reader refuses from about 5e-4 on, `Geometry` from this value on."""

_SPEAKER = re.compile(r"^(sitk::ERROR|ITK ERROR): |\w+ ?\(0x[0-9a-f]+\): ")
"""What ITK puts before its messages."""

_ENVIRONMENT_LOCK = threading.Lock()


def read_itk(path: Path, dtype: Any = None) -> tuple[Array, Geometry]:
    """Reads an image as (C, Z, Y, X) with its geometry.

    A fourth axis (4D NIfTI) and vector pixels become channels; a 2D file becomes one slice
    with the spacing that marks 2D images.

    Args:
        path: the file.
        dtype: what to convert the voxels to; None keeps the file's type.

    Raises:
        ImageError: unreadable, cut off, not 2D to 4D, complex, or on a sheared grid.
    """
    header = read_nifti_header(path) if ".nii" in path.name.lower() else None
    image = _header(path)
    if header is not None and header.voxel_type is not None:
        count = image.GetNumberOfComponents()
        size = image.GetSize()[::-1]
        shape = (count, *size) if count > 1 else size
        try:
            voxels = read_voxels(path, header).reshape(shape)
        except (ValueError, OverflowError, MemoryError) as error:
            raise _unreadable(path, error) from error
    else:
        require_whole(path, _claimed(image, header)[0])
        image = _tolerantly(path, lambda: sitk.ReadImage(str(path)))
        count = image.GetNumberOfComponentsPerPixel()
        voxels = sitk.GetArrayViewFromImage(image)
        if count > 1:
            voxels = np.moveaxis(voxels, -1, 0)
    if np.iscomplexobj(voxels):
        raise ImageError(
            "the image holds complex numbers",
            expected="real intensities",
            found=image.GetPixelIDTypeAsString(),
            cure="store the magnitude instead",
            path=path,
        )
    dimensions = image.GetDimension()
    if dimensions not in (2, 3) and not (dimensions == 4 and count == 1):
        raise ImageError(
            "the image has too many axes",
            expected="2D, 3D, or 4D with channels on the fourth axis",
            found=f"{dimensions} axes, size {image.GetSize()}",
            cure="split it into one 3D file per channel (name_0000, name_0001, ...)",
            path=path,
        )
    if dimensions == 2:
        voxels = np.expand_dims(voxels, -3)
    if voxels.ndim == 3:
        voxels = voxels[None]
    try:
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which RawCase refuses
            array = np.array(voxels, dtype=dtype or voxels.dtype.newbyteorder("="), order="C")
    except MemoryError as error:
        raise _unreadable(path, error) from error
    return array, itk_geometry(path, image, (array.shape[1], array.shape[2], array.shape[3]))


def itk_channel_count(path: Path) -> int:
    """How many channels a file holds, from its header alone.

    Raises:
        ImageError: the header is unreadable.
    """
    header = _header(path)
    count = int(header.GetNumberOfComponents())
    return count * int(header.GetSize()[3]) if header.GetDimension() == 4 else count


def itk_grid(path: Path) -> tuple[int, Geometry]:
    """How many channels a file holds, and its grid, from its header alone.

    Raises:
        ImageError: the header is unreadable, or the grid is sheared.
    """
    header = _header(path)
    count, size = int(header.GetNumberOfComponents()), [int(n) for n in header.GetSize()]
    if len(size) == 4:
        count *= size[3]
    elif len(size) == 2:
        size.append(1)
    return count, itk_geometry(path, header, (size[2], size[1], size[0]))


def write_itk(path: Path, labels: Array, geometry: Geometry) -> None:
    """Writes (Z, Y, X) labels, compressed, and checks that the file tells the same of them.

    A 2D geometry is written as a 2D image. Not atomic: `images.write_label_map` is.

    Raises:
        ImageError: the format cannot hold the values or the geometry, or the disk is full.
    """
    x, y, z = geometry.spacing[::-1]
    matrix = geometry.direction
    if geometry.is_2d and geometry.origin[2] == 0 and _is_flat(matrix):
        image = sitk.GetImageFromArray(labels[0])
        image.SetSpacing((x, y))
        image.SetOrigin(geometry.origin[:2])
        image.SetDirection((*matrix[0][:2], *matrix[1][:2]))
    else:
        image = sitk.GetImageFromArray(labels)
        image.SetSpacing((x, y, z))
        image.SetOrigin(geometry.origin)
        image.SetDirection([cosine for row in matrix for cosine in row])
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            sitk.WriteImage(image, str(path), useCompression=True)
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(
            "the label map cannot be written in this format",
            expected="a format that holds the label values and the grid",
            found=f"values up to {int(labels.max())} as {labels.dtype}; {_last_line(error)}",
            cure="write .nii.gz or .nrrd, and check that there is room on the disk",
            path=path,
        ) from error
    difference = geometry.mismatch(itk_geometry(path, reader, geometry.shape), tolerance=1e-3)
    if difference:
        raise ImageError(
            "this format cannot hold the geometry of the image",
            expected="the same grid after writing",
            found=difference,
            cure="write .nii.gz, .nrrd or .mha instead",
            path=path,
        )
    _require_written(path, labels)


def _require_written(path: Path, voxels: Array) -> None:
    """Reads the file again: on a full disk ITK writes a part of most formats without a word."""
    try:
        found = read_itk(path)[0][0]
        whole = np.array_equal(found, voxels, equal_nan=voxels.dtype.kind == "f")
    except ImageError:
        whole = False
    if not whole:
        raise ImageError(
            "the file was not written whole",
            expected="every voxel in the file",
            found="fewer, or others",
            cure="free some space on the disk, or choose another folder",
            path=path,
        )


def _header(path: Path) -> Any:
    """A reader that has read the header: size, spacing, origin, direction, no voxels."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _tolerantly(path, reader.ReadImageInformation)
    nifti = read_nifti_header(path) if ".nii" in path.name.lower() else None
    if nifti is not None and nifti.lacks_spacing:
        raise ImageError(
            "the image has no valid voxel spacing",
            expected="three positive spacings in mm",
            found="zero, or what is no number, in the NIfTI header",
            cure="write the right spacing into the file's header",
            path=path,
        )
    require_room(path, *_claimed(reader, nifti))
    return reader


def _claimed(reader: Any, nifti: NiftiHeader | None) -> tuple[int, int]:
    """The bytes of voxels that a header claims, and how many numbers they are."""
    count = int(reader.GetNumberOfComponents())
    numbers = count * math.prod(reader.GetSize())
    if nifti is not None:
        return nifti.data_end - nifti.data_start, numbers  # ITK tells the type after scaling
    kind = reader.GetPixelID()
    vector = "vector" in sitk.GetPixelIDValueAsString(kind)
    one = sitk.Image([1] * max(reader.GetDimension(), 2), kind, count if vector else 0)
    voxel_bytes = int(one.GetSizeOfPixelComponent()) * (count if vector else 1)
    return math.prod(reader.GetSize()) * voxel_bytes, numbers


def _tolerantly(path: Path, read: Callable[[], Any]) -> Any:
    """Reads with ITK, straightening a NIfTI grid that is sheared by next to nothing."""
    try:
        with quiet():
            return read()
    except (RuntimeError, MemoryError) as error:
        if "orthonormal" not in str(error):
            raise _unreadable(path, error) from error
    header = read_nifti_header(path)
    shear = float("inf") if header is None or header.axes is None else _shear(header.axes)
    if not shear <= SHEAR_TOLERANCE:
        raise ImageError(
            "the image axes are not perpendicular",
            expected=f"axes with cosines below {SHEAR_TOLERANCE} to each other",
            found=f"cosines up to {shear:.3g} in the NIfTI sform",
            cure="resample the image to a straight grid first "
            "(in Slicer: Resample Scalar/Vector/DWI Volume)",
            path=path,
        )
    # ITK straightens such a grid itself when asked, and takes the wish only from here.
    key = "ITK_NIFTI_SFORM_PERMISSIVE"
    with _ENVIRONMENT_LOCK:
        before = os.environ.get(key)
        os.environ[key] = "YES"
        try:
            with quiet():
                return read()
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        finally:
            if before is None:
                del os.environ[key]
            else:
                os.environ[key] = before


def itk_geometry(path: Path, image: Any, shape: Shape3) -> Geometry:
    """The grid of an image of SimpleITK's, or of a reader that has read its header.

    Raises:
        ImageError: the grid is sheared, or a number is not finite.
    """
    signed = [float(s) for s in image.GetSpacing()]
    spacing = [abs(s) for s in signed]
    origin = [float(o) for o in image.GetOrigin()]
    n = len(spacing)
    direction = np.eye(3)
    cosines = np.array(image.GetDirection(), dtype=np.float64).reshape(n, n)
    # ITK's reader of images turns an axis of negative spacing round; that of headers does not.
    cosines[:, np.array(signed) < 0] *= -1
    direction[: min(n, 3), : min(n, 3)] = cosines[:3, :3]
    if n == 2:
        spacing.append(SLICE_SPACING_2D)
        origin.append(0.0)
    if np.isfinite(direction).all() and 1e-6 < _shear(direction) <= SHEAR_TOLERANCE:
        left, _, right = np.linalg.svd(direction)
        direction = left @ right
    rows = [tuple(float(cosine) for cosine in row) for row in direction]
    matrix: Matrix3 = (rows[0], rows[1], rows[2])  # type: ignore[assignment]
    try:
        return Geometry(
            shape,
            (spacing[2], spacing[1], spacing[0]),
            (origin[0], origin[1], origin[2]),
            matrix,
        )
    except ImageError as error:
        raise error.retold(path=path) from error


def _shear(axes: NDArray[np.float64]) -> float:
    """The largest |cosine| between two axes; infinity where an axis has no length."""
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        return float("inf")
    unit = axes / lengths
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def _is_flat(matrix: Matrix3) -> bool:
    across = (matrix[0][2], matrix[1][2], matrix[2][0], matrix[2][1])
    return matrix[2][2] == 1.0 and across == (0.0, 0.0, 0.0, 0.0)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps ITK's warnings from the terminal; what matters comes back as an exception."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(
        "the image cannot be read",
        expected="a complete image file whose content fits its ending",
        found=_last_line(error),
        cure="open it in another program to see whether it is damaged, then export it again",
        path=path,
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _SPEAKER.sub("", lines[-1]) if lines else "no reason given by ITK"
