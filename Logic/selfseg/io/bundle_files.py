"""Model bundles on disk: written whole, and read without trusting a byte of them.

Nothing in a bundle is code: JSON and safetensors are all that is read, no name in them is
imported, and every file must be the one the manifest lists. See `bundle_layout` for the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..domain.bundle import ModelBundle
from ..domain.errors import ModelError, ProjectError, SelfsegError
from ..domain.network_shapes import weight_shapes
from ..domain.plan import Plan
from .archive_files import Archive, FileSource, write_archive
from .atomic_files import write_bytes_atomically, written_atomically
from .bundle_description import read_description, write_description
from .bundle_layout import (
    BUNDLE_ENDING,
    LICENCE_FILE,
    LIMITS,
    MANIFEST_FILE,
    MANIFEST_SCHEMA,
    REPORT_FILE,
    FileRecord,
    Manifest,
    WeightsKey,
    check_digest,
    check_files,
    check_is_bundle,
    read_manifest,
    weights_key,
)
from .checked_weights import Shape, check_weights, largest_file, read_checked_weights
from .digests import digest_of
from .folder_files import FolderFiles
from .json_files import write_json
from .member_names import refused
from .staged_folders import check_free, check_space, commit_folder, staged_folder
from .weights import write_weights

__all__ = ["BUNDLE_ENDING", "StoredBundle", "WeightsKey", "install_bundle", "pack_bundle",
           "read_bundle", "staged_folder", "write_bundle"]  # fmt: skip

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class StoredBundle:
    """A bundle's folder, ready to predict with; made by `read_bundle`."""

    folder: Path
    bundle: ModelBundle
    manifest: Manifest

    @property
    def networks(self) -> tuple[WeightsKey, ...]:
        """The networks whose weights it holds, sorted."""
        keys = (weights_key(record.path) for record in self.manifest.files)
        return tuple(sorted(key for key in keys if key is not None))

    @property
    def size_bytes(self) -> int:
        """Of all files but the manifest."""
        return sum(record.bytes for record in self.manifest.files)

    def folds(self, plan: str, configuration: str) -> tuple[str, ...]:
        """The folds of a configuration that are there: numbers in order, then "all"."""
        found = [
            k.fold for k in self.networks if (k.plan, k.configuration) == (plan, configuration)
        ]
        return tuple(sorted(found, key=lambda fold: (not fold.isdecimal(), fold.zfill(9))))

    def shapes(self, plan: str, configuration: str) -> dict[str, Shape]:
        """Names and shapes of a configuration's weights."""
        return _shapes(self.bundle.plans[plan], configuration)

    def read_weights(self, plan: str, configuration: str, fold: str) -> dict[str, NDArray[Any]]:
        """The weights of one network, checked against plan and manifest.

        Returns:
            float32 or float16 arrays by name.

        Raises:
            ModelError: there are none, or they are not what they should be.
        """
        key = WeightsKey(plan, configuration, fold)
        record = self.manifest.by_name.get(key.file_name)
        if record is None:
            raise ModelError(
                f"the model has no fold {fold} of {configuration}",
                expected=", ".join(self.folds(plan, configuration)) or "another configuration",
                found=fold,
                cure="choose other folds",
                path=self.folder,
            )
        return read_checked_weights(
            self.folder / record.path, self.shapes(plan, configuration), sha256=record.sha256
        )

    def verify(self) -> None:
        """Checks every byte: all hashes, and every number of the weights.

        Raises:
            ModelError: something is not what it should be.
        """
        for record in self.manifest.files:
            if weights_key(record.path) is None:
                check_digest(self.folder, record, digest_of(self.folder / record.path))
        for key in self.networks:
            self.read_weights(key.plan, key.configuration, key.fold)


def read_bundle(folder: Path) -> StoredBundle:
    """Opens a bundle's folder; weights are read, and their hashes checked, when asked for.

    Raises:
        ModelError: it is no bundle, or holds something that does not belong into one.
        FileFormatError: a file is damaged or of another version.
        PlanError, DatasetError: a plan or the labels are not valid.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ModelError(
            "the model is packed",
            expected="a folder",
            found="a file",
            cure=f"take it into the library first: `selfseg model import {folder.name}`",
            path=folder,
        )
    source = FolderFiles(folder, LIMITS)
    check_is_bundle(source)
    manifest = read_manifest(folder / MANIFEST_FILE)
    check_files(source, manifest)
    for record in manifest.files:
        if record.path.endswith(".json"):
            check_digest(folder, record, digest_of(folder / record.path))
    stored = StoredBundle(folder, read_description(folder, manifest), manifest)
    _check_networks(stored)
    return stored


def write_bundle(
    target: Path,
    bundle: ModelBundle,
    weights: Iterable[tuple[WeightsKey, Weights]],
    *,
    licence_text: str = "",
    report: Path | None = None,
) -> Path:
    """Writes a model: a folder, or one file where the name ends in `.selfseg`.

    Args:
        target: must not exist yet.
        bundle: the description.
        weights: of every fold of every member, and of at least one fold of the first stages of
            cascades; taken one after the other, so that they need not all be in memory.
        licence_text: the licence in full.
        report: a page to put beside the weights.

    Returns:
        the target.

    Raises:
        ModelError: the target exists, or weights are missing, too many or not the plan's.
        ProjectError: it cannot be written.
    """
    target = Path(target)
    with staged_folder(target) as stage:
        write_description(stage, bundle)
        for key, arrays in weights:
            if key.plan not in bundle.plans:
                raise _unwanted(target, key)
            path = stage / key.file_name
            check_weights(arrays, _shapes(bundle.plans[key.plan], key.configuration), path)
            write_weights(path, arrays, {})
        if licence_text:
            write_bytes_atomically(stage / LICENCE_FILE, licence_text.encode("utf-8"))
        if report is not None:
            write_bytes_atomically(stage / REPORT_FILE, Path(report).read_bytes())
        source = FolderFiles(stage, LIMITS)
        records = tuple(
            FileRecord(name, size, digest_of(stage / name))
            for name, size in sorted(source.sizes.items())
        )
        write_json(stage / MANIFEST_FILE, Manifest(records), schema=MANIFEST_SCHEMA)
        stored = read_bundle(stage)
        _finish(stored, target)
    return target


def install_bundle(source: Path, folder: Path) -> StoredBundle:
    """Copies a bundle, packed or not, to a new folder, and checks every byte on the way.

    Raises:
        ModelError, FileFormatError, PlanError, DatasetError: see `read_bundle`; nothing is left.
        ProjectError: the folder cannot be written.
    """
    with staged_folder(folder) as stage:
        try:
            _copy_checked(Path(source), stage)
            stored = read_bundle(stage)
            for key in stored.networks:
                stored.read_weights(key.plan, key.configuration, key.fold)
        except SelfsegError as error:
            if error.path is None or not error.path.is_relative_to(stage):
                raise
            if isinstance(error, ProjectError):  # of the disk, not of the source
                raise
            # The staged copy is gone when the user reads this.
            raise error.retold(path=Path(source) / error.path.relative_to(stage)) from error
        commit_folder(stage, Path(folder))
    return read_bundle(folder)


def pack_bundle(stored: StoredBundle, target: Path) -> Path:
    """Writes a copy: a folder, or one file where the name ends in `.selfseg`.

    Raises:
        ModelError: the bundle is damaged, or the target exists.
        ProjectError: the target cannot be written.
    """
    target = Path(target)
    if target.suffix != BUNDLE_ENDING:
        install_bundle(stored.folder, target)
        return target
    check_free(target)
    stored.verify()
    _finish(stored, target)
    return target


def _finish(stored: StoredBundle, target: Path) -> None:
    if target.suffix != BUNDLE_ENDING:
        commit_folder(stored.folder, target)
        return
    names = (MANIFEST_FILE, *(record.path for record in stored.manifest.files))
    with written_atomically(target) as part:
        write_archive(part, {name: stored.folder / name for name in names})


def _copy_checked(source: Path, stage: Path) -> None:
    with _source(source) as files:
        check_is_bundle(files)
        files.copy(MANIFEST_FILE, stage / MANIFEST_FILE)
        manifest = read_manifest(stage / MANIFEST_FILE)
        check_files(files, manifest)
        check_space(stage, sum(files.sizes.values()))
        # What is small, and decides what the rest must be, comes first.
        for record in sorted(manifest.files, key=lambda r: r.path.startswith("weights/")):
            check_digest(files.path, record, files.copy(record.path, stage / record.path))


@contextmanager
def _source(path: Path) -> Iterator[FileSource]:
    if path.is_dir():
        yield FolderFiles(path, LIMITS)
        return
    archive: AbstractContextManager[Archive] = Archive(path, LIMITS)
    with archive as files:
        yield files


def _check_networks(stored: StoredBundle) -> None:
    """Every fold that votes is there, nothing that does not, and no file is too large."""
    stages = stored.bundle.stages
    for key in stored.networks:
        folds = stages.get((key.plan, key.configuration))
        if folds is None or (folds and key.fold not in folds):
            raise _unwanted(stored.folder, key)
        size = stored.manifest.by_name[key.file_name].bytes
        limit = largest_file(stored.shapes(key.plan, key.configuration))
        if size > limit:
            raise refused(
                stored.folder, "weights larger than the plan's network",
                f"{key.file_name}: {size} bytes, at most {limit}",
            )  # fmt: skip
    for (plan, configuration), folds in stages.items():
        there = stored.folds(plan, configuration)
        if not there or set(folds) - set(there):
            raise ModelError(
                "weights are missing",
                expected=f"{plan}, {configuration}: fold {', '.join(folds) or '0, 1, ...'}",
                found=f"fold {', '.join(there)}" if there else "none",
                cure="export the model again with all folds, or download it again",
                path=stored.folder,
            )


def _shapes(plan: Plan, configuration: str) -> dict[str, Shape]:
    heads = plan.description.labels.head_count
    network = plan.configuration(configuration).network
    return weight_shapes(network, plan.input_channels(configuration), heads)


def _unwanted(path: Path, key: WeightsKey) -> ModelError:
    return refused(path, "weights that no member of the model uses", key.file_name)
