"""The files of a `.mrb`, unpacked one by one as they are needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..domain.errors import DatasetError, ModelError, ProjectError
from ..io.archive_files import Archive
from ..io.member_names import SourceLimits

LIMITS = SourceLimits(files=20_000, bytes_each=32 * 2**30, bytes_total=128 * 2**30, ratio=500.0)
"""Of a `.mrb`: sequences have thousands of files; uncompressed label maps of large scans pack
some hundreds to one."""

SAVE_AGAIN = "open the scene in Slicer and save it again as .mrb"

DETACHED = (".nhdr", ".mhd")
"""Headers whose voxels lie in a file of their own beside them."""


class UnpackedScene:
    """An archive that is open, and the folder into which its files are unpacked."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self._archive = archive
        self.folder = folder

    @property
    def sizes(self) -> Mapping[str, int]:
        """Names of all files in the archive, with forward slashes, to bytes."""
        return self._archive.sizes

    def file(self, name: str) -> Path:
        """A file of the archive, unpacked.

        Raises:
            DatasetError: there is none of this name, or it is damaged.
            ProjectError: there is no room for it.
        """
        path = self.folder / name
        if path.is_file():
            return path
        if name not in self.sizes:
            raise DatasetError(
                f"the archive does not hold the file {name[:200]!r}",
                expected="all files of the scene in the archive",
                found="none of this name",
                cure=SAVE_AGAIN,
                path=self._archive.path,
            )
        together = [name]
        if name.lower().endswith(DETACHED):
            beside = name.rpartition("/")[0]
            together = [other for other in self.sizes if other.rpartition("/")[0] == beside]
        size, free = sum(self.sizes[n] for n in together), shutil.disk_usage(self.folder).free
        if size > free:
            raise ProjectError(
                "there is not enough space to unpack the scene",
                expected=f"{size / 2**20:.0f} MB",
                found=f"{free / 2**20:.0f} MB",
                cure="free some space",
                path=self._archive.path,
            )
        for part in together:
            if not (self.folder / part).is_file():
                self._archive.copy(part, self.folder / part)
        return path


@contextmanager
def unpacked(path: Path, folder: Path | None = None) -> Iterator[UnpackedScene]:
    """An archive whose directory has been checked; what is unpacked is gone at the end.

    Args:
        path: the `.mrb`.
        folder: where to unpack; the system's place for temporary files otherwise.

    Raises:
        DatasetError: the archive, or a file in it, is damaged or refused.
    """
    place = Path(tempfile.mkdtemp(prefix=".part-scene-", dir=folder))
    try:
        with Archive(path, LIMITS) as archive:
            yield UnpackedScene(archive, place)
    except ModelError as error:
        raise DatasetError(
            error.what,
            expected="a scene as 3D Slicer saves it",
            found=error.found,
            cure=SAVE_AGAIN,
            path=path,
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
