"""Files that come with a request: images in, label maps out, plain arrays included.

A plain array (`.npy`, not compressed) is read by mapping it into memory and written at the
speed of the disk; in a folder that lies in memory no disk takes part at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.case import RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ImageError, ProjectError, UsageError
from ..domain.geometry import Geometry
from ..io.atomic_files import TEMPORARY_PREFIX, written_atomically
from ..io.image_endings import name_without_ending
from ..io.images import read_case, write_label_map
from .messages import Grid

PLAIN_ENDING = ".npy"


def is_plain(path: Path) -> bool:
    """Whether the file is a plain array by its name."""
    return path.suffix.lower() == PLAIN_ENDING


def read_images(images: tuple[Path, ...], grid: Grid | None) -> RawCase:
    """Reads the channels of one case.

    Raises:
        UsageError: plain arrays without a grid, image files with one, or both kinds.
        ImageError: a file cannot be read or used.
    """
    plain = [is_plain(path) for path in images]
    if any(plain) != all(plain) or all(plain) != (grid is not None):
        raise UsageError(
            "images and grid do not go together",
            expected=".npy files with a grid, or image files without one",
            found=f"{', '.join(path.name for path in images)}, "
            + ("no grid" if grid is None else "a grid"),
            cure="see docs/reference/worker-protocol.md",
        )
    if grid is None:
        files = CaseFiles(name_without_ending(images[0]), images)
        return read_case(files, None, with_labels=False)
    parts = [_read_plain(path) for path in images]
    if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
        raise ImageError(
            "the arrays have different sizes",
            expected="(Z, Y, X) of the first",
            found=", ".join(str(part.shape) for part in parts),
            cure="give every channel on one grid",
        )
    shape = parts[0].shape[1:]
    geometry = Geometry((shape[0], shape[1], shape[2]), grid.spacing, grid.origin, grid.direction)
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which RawCase refuses
        channels = np.concatenate(parts, dtype=np.float32, casting="unsafe")
    return RawCase(images[0].stem, channels, geometry)


def _read_plain(path: Path) -> NDArray[Any]:
    """An array (C, Z, Y, X) on disk, mapped into memory."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(
            "the array cannot be read",
            expected="an uncompressed .npy file of numbers",
            found=str(error) or type(error).__name__,
            cure="write it with numpy.save",
            path=path,
        ) from error
    real = isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
    if not real or array.ndim not in (3, 4) or array.size == 0:
        raise ImageError(
            "the array is no image",
            expected="real numbers, (Z, Y, X) or (C, Z, Y, X)",
            found=f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive",
            cure="write it with numpy.save",
            path=path,
        )
    return array if array.ndim == 4 else array[None]


@contextmanager
def staged_output(
    output: Path, instance: str
) -> Iterator[Callable[[NDArray[Any], Geometry], None]]:
    """Gives a function that writes the label map, which appears when the block ends well.

    All is written in a folder beside the output, whose name holds `instance`: whoever ends us
    by force knows what to remove.

    Raises:
        ProjectError: the folder cannot be written.
        ImageError: the kind of file is unknown, or cannot hold the labels.
    """
    stage = output.with_name(f"{TEMPORARY_PREFIX}{instance}-{secrets.token_hex(4)}")
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(output, error) from error

    def write(labels: NDArray[Any], geometry: Geometry) -> None:
        draft = stage / output.name
        if is_plain(output):
            with written_atomically(draft) as part, part.open("wb") as stream:
                np.save(stream, _smallest(labels), allow_pickle=False)
        else:
            write_label_map(draft, labels, geometry)

    try:
        yield write
        # The file that was asked for comes last: where it is, its companions are.
        for part in sorted(stage.iterdir(), key=lambda file: file.name == output.name):
            os.replace(part, output.with_name(part.name))
    except OSError as error:
        raise _unwritable(output, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _smallest(labels: NDArray[Any]) -> NDArray[Any]:
    highest = int(labels.max(initial=0))
    return np.ascontiguousarray(labels, dtype=np.min_scalar_type(highest))


def _unwritable(path: Path, error: OSError) -> ProjectError:
    return ProjectError(
        "the label map cannot be written",
        expected="a folder with the right to write and enough free space",
        found=error.strerror or str(error),
        cure="choose another folder for the output",
        path=path,
    )
