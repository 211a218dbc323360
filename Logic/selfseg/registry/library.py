"""The models of this computer: one folder, one bundle in it per model and version.

    models/
      liver-ct@1.0/      a model bundle (see `io.bundle_layout`)
      liver-ct@1.1/
      .part-...          unfinished, never looked at

Every folder appears and goes by one renaming, so that a reader never sees half a model, and
models may come in side by side.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..domain.bundle import ModelBundle
from ..domain.errors import ModelError, ProjectError, SelfsegError
from ..io.atomic_files import TEMPORARY_PREFIX
from ..io.bundle_files import (
    StoredBundle,
    Weights,
    WeightsKey,
    install_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from ..io.library_folder import MODEL_FOLDER, version_order
from ..io.locks import folder_lock
from ..io.staged_folders import commit_folder, is_marked, marked, remove_dead_stages

_STALE_SECONDS = 24 * 3600.0
"""What is unfinished for so long, and not marked, belongs to a process that has died."""


@dataclass(frozen=True)
class LibraryEntry:
    """One model of the library. A damaged one has no `stored` and says what is wrong."""

    name: str
    version: str
    folder: Path
    stored: StoredBundle | None
    fault: SelfsegError | None = None

    @property
    def key(self) -> str:
        """Name and version, as "liver-ct@1.0"."""
        return f"{self.name}@{self.version}"


class Library:
    """A folder with models.

    Args:
        folder: it is made when the first model comes in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def entries(self) -> tuple[LibraryEntry, ...]:
        """Every model, damaged ones too, by name and then from the oldest version to the newest.

        Weights are not read: `verify` does.
        """
        try:
            names = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        except OSError:
            return ()
        found = (self._entry(name) for name in names)
        listed = [entry for entry in found if entry is not None]
        return tuple(sorted(listed, key=lambda e: (e.name.lower(), version_order(e.version))))

    def find(self, key: str) -> LibraryEntry:
        """The model of that name; without "@version" the newest version that is not damaged.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        named = self._named(key)
        good = [entry for entry in named if entry.fault is None]
        if good:
            return good[-1]
        if named:
            fault = named[-1].fault
            raise ModelError(
                f"the model {named[-1].key} is damaged",
                expected="a model bundle",
                found=fault.what if fault is not None else "",
                cure="import it again, or remove it with `selfseg model remove`",
                path=named[-1].folder,
            )
        raise self._unknown(key)

    def install(self, source: Path, *, replace: bool = False) -> LibraryEntry:
        """Takes a bundle in, packed or not; every byte of it is checked first.

        Args:
            source: a folder or `.selfseg` file.
            replace: a model of the same name and version.

        Raises:
            ModelError, FileFormatError, PlanError, DatasetError: it is not taken; the library
                is as it was.
            ProjectError: the library cannot be written.
        """

        def put(stage: Path) -> StoredBundle:
            if not replace and Path(source).is_dir():
                self._check_new(read_bundle(source).bundle.card.key)  # before gigabytes are copied
            return install_bundle(source, stage)

        return self._take(put, replace=replace)

    def add(
        self,
        bundle: ModelBundle,
        weights: Iterable[tuple[WeightsKey, Weights]],
        *,
        licence_text: str = "",
        report: Path | None = None,
        replace: bool = False,
    ) -> LibraryEntry:
        """Takes a new model in; the arguments are those of `write_bundle`.

        Raises:
            ModelError, ProjectError: see `write_bundle` and `install`.
        """

        def write(stage: Path) -> StoredBundle:
            if not replace:
                self._check_new(bundle.card.key)  # before the weights, which may take minutes
            write_bundle(stage, bundle, weights, licence_text=licence_text, report=report)
            return read_bundle(stage)

        return self._take(write, replace=replace)

    def export(self, key: str, target: Path) -> Path:
        """Writes a copy: a folder, or one file where the name ends in `.selfseg`.

        Raises:
            ModelError: there is no such model, it is damaged, or the target exists.
            ProjectError: the target cannot be written.
        """
        stored = self.find(key).stored
        assert stored is not None  # noqa: S101 - `find` gives none that is damaged
        return pack_bundle(stored, target)

    def remove(self, key: str) -> tuple[str, ...]:
        """Deletes a model; without "@version" its only version. Damaged ones go too.

        Returns:
            the keys of what was deleted.

        Raises:
            ModelError: there is none, or there are several versions.
            ProjectError: it cannot be deleted.
        """
        named = self._named(key)
        if not named:
            raise self._unknown(key)
        if len(named) > 1:
            raise ModelError(
                f"there are several versions of {key}",
                expected="one of " + ", ".join(entry.key for entry in named),
                found=key,
                cure="say which one",
                path=self.folder,
            )
        with self._locked():
            self._discard(named[0].folder)
        return (named[0].key,)

    def verify(self, key: str) -> LibraryEntry:
        """Checks every byte of a model.

        Raises:
            ModelError: there is none, or something is not what it should be.
        """
        named = self._named(key)
        if not named:
            raise self._unknown(key)
        entry = named[-1]
        if entry.stored is None:
            assert entry.fault is not None  # noqa: S101 - one of the two is there
            raise entry.fault
        entry.stored.verify()
        return entry

    def _take(self, make: Callable[[Path], StoredBundle], *, replace: bool) -> LibraryEntry:
        self._make()
        stage = self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
        with marked(stage):
            try:
                bundle = make(stage).bundle
                target = self.folder / bundle.card.key
                with self._locked():
                    self._check_spelling(bundle.card.key)
                    if replace and target.exists():
                        self._discard(target)
                    self._check_new(bundle.card.key)
                    commit_folder(stage, target)
            finally:
                shutil.rmtree(stage, ignore_errors=True)
        entry = self._entry(bundle.card.key)
        assert entry is not None  # noqa: S101 - it was just written
        return entry

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProjectError(
                "the model library cannot be made",
                expected="a folder with the right to write",
                found=error.strerror or str(error),
                cure="give another one with --library",
                path=self.folder,
            ) from error
        self.tidy()

    def tidy(self) -> None:
        """Removes what killed processes have left unfinished."""
        remove_dead_stages(self.folder)
        for path in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            with suppress(OSError):
                old = time.time() - path.stat().st_mtime > _STALE_SECONDS
                if old and path.is_dir() and not is_marked(path):
                    shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with folder_lock(self.folder, what="model library", wait=True):
            yield

    def _discard(self, folder: Path) -> None:
        # Renamed first: a reader sees the whole model or none.
        doomed = self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
        try:
            folder.rename(doomed)
        except OSError as error:
            raise ProjectError(
                "the model cannot be removed",
                expected="a model that nobody uses, and the right to write",
                found=error.strerror or str(error),
                cure="close the programs that use it, and try again",
                path=folder,
            ) from error
        shutil.rmtree(doomed, ignore_errors=True)

    def _check_new(self, key: str) -> None:
        if (self.folder / key).exists():
            raise ModelError(
                f"the model {key} is in the library already",
                expected="a new name or version",
                found=key,
                cure="add --replace to take this one in its place; a project or an nnU-Net model "
                "may also get another --version or --name",
                path=self.folder / key,
            )

    def _check_spelling(self, key: str) -> None:
        for path in self.folder.iterdir():
            if path.name.lower() == key.lower() and path.name != key:
                raise ModelError(
                    "there is a model whose name differs only in case",
                    expected="another name: some systems take both for the same",
                    found=f"{path.name} and {key}",
                    cure="rename the new model, or remove the old one",
                    path=self.folder,
                )

    def _named(self, key: str) -> list[LibraryEntry]:
        return [entry for entry in self.entries() if key in (entry.key, entry.name)]

    def _entry(self, folder_name: str) -> LibraryEntry | None:
        match = MODEL_FOLDER.fullmatch(folder_name)
        if match is None:
            return None
        folder = self.folder / folder_name
        name, version = match["name"], match["version"]
        try:
            stored = read_bundle(folder)
            if stored.bundle.card.key != folder_name:
                raise ModelError(
                    "the folder is not named as the model in it",
                    expected=stored.bundle.card.key,
                    found=folder_name,
                    cure="rename the folder",
                    path=folder,
                )
        except SelfsegError as error:
            return LibraryEntry(name, version, folder, None, error)
        except OSError as error:
            fault = ModelError(
                "the model cannot be read",
                expected="files that you may read",
                found=str(error),
                cure="allow yourself to read them, or remove the model and import it again",
                path=folder,
            )
            return LibraryEntry(name, version, folder, None, fault)
        return LibraryEntry(name, version, folder, stored)

    def _unknown(self, key: str) -> ModelError:
        keys = [entry.key for entry in self.entries()]
        return ModelError(
            f"there is no model {key!r} in the library",
            expected="one of " + ", ".join(keys[:20]) if keys else "an imported model",
            found=key,
            cure="see `selfseg model list`, or import it with `selfseg model import`",
            path=self.folder,
        )
