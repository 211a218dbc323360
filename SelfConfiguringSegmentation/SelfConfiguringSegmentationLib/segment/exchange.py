"""Voxels on their way to the worker and back: plain arrays in files, written and read in slabs.

Where the system offers a folder in memory (`/dev/shm` on Linux) and it has room, no disk takes
part. Nothing is compressed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ImageError

from .steps import WORKING, Steps

SLAB_BYTES = 4 * 2**20
"""Voxels copied in one step: about 10 ms where the file lies in memory."""

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
ROOM = 4
"""Times the size of the voxels that must be free in memory before it is used for files."""

PREFIX = "selfseg-"


def make_folder(needed_bytes: int) -> Path:
    """A new folder for voxels, in memory where there is room; folders of dead processes go."""
    place = None
    with suppress(OSError):
        if shutil.disk_usage(MEMORY_FOLDER).free > ROOM * needed_bytes:
            place = str(MEMORY_FOLDER)
            _remove_orphans(MEMORY_FOLDER)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))


def voxel_bytes(volume_nodes: Sequence[Any]) -> int:
    """What the voxels of these volumes take together."""
    total = 0
    for node in volume_nodes:
        image = node.GetImageData()
        total += (
            image.GetNumberOfPoints()
            * image.GetNumberOfScalarComponents()
            * (image.GetScalarSize())
        )
    return total


def write_arrays(volume_nodes: Sequence[Any], folder: Path) -> Steps[list[Path]]:
    """Writes one `.npy` file (Z, Y, X) per channel; a volume of vectors gives one per component.

    Each step copies a slab. A volume that is changed between two steps is refused: half of the
    file would be of another image.

    Raises:
        ImageError: a volume was changed or emptied meanwhile, or the disk is full.
    """
    import numpy as np
    import slicer

    paths: list[Path] = []
    for node in volume_nodes:
        image = node.GetImageData()
        state = _state(image)
        voxels = slicer.util.arrayFromVolume(node)
        parts = [voxels] if voxels.ndim == 3 else list(np.moveaxis(voxels, -1, 0))
        for part in parts:
            path = folder / f"channel_{len(paths):04d}.npy"
            paths.append(path)
            try:
                with path.open("wb") as stream:
                    np.lib.format.write_array_header_1_0(stream, _header(part))
                    for slab in _slabs(part):
                        stream.write(memoryview(np.ascontiguousarray(slab)).cast("B"))
                        yield WORKING
                        if node.GetImageData() is not image or _state(image) != state:
                            raise _changed(node)
            except OSError as error:
                raise _unwritable(path, error) from error
    return paths


def _header(voxels: Any) -> dict[str, Any]:
    from numpy.lib.format import dtype_to_descr

    return {
        "descr": dtype_to_descr(voxels.dtype),
        "fortran_order": False,
        "shape": voxels.shape,
    }


def _slabs(voxels: Any) -> list[Any]:
    slice_bytes = voxels[:1].size * voxels.itemsize
    count = max(1, SLAB_BYTES // max(1, slice_bytes))
    return [voxels[first : first + count] for first in range(0, len(voxels), count)]


def _state(image: Any) -> tuple[Any, ...] | None:
    return None if image is None else (image.GetMTime(), image.GetDimensions())


def _changed(node: Any) -> ImageError:
    return ImageError(
        f"the volume {node.GetName()!r} was changed while it was read",
        expected="the same voxels from the first to the last slice",
        found="other ones",
        cure="stop what changes it (a playing sequence, a running module), and segment again",
    )


def _unwritable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        "the volume cannot be handed to the worker",
        expected="room for a copy of its voxels in the folder for temporary files",
        found=error.strerror or str(error),
        cure="free some space, or set the environment variable TMPDIR to another disk",
        path=path,
    )


def _remove_orphans(place: Path) -> None:
    """A process that crashed cannot remove its folder, and memory is not given back by itself."""
    for folder in place.glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and int(owner) != os.getpid() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
