"""What a model bundle holds on disk, and the manifest that vouches for it.

    bundle.json                                     everything but what follows
    plans/<plan>.json
    weights/<plan>/<configuration>/fold_<k>.safetensors
    fingerprint.json, scores.json, quality.json     where they are known
    LICENSE.txt, report.html                        for people
    manifest.json                                   size and SHA-256 of every other file

A file that has no place here is refused, whatever the manifest says of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..domain.bundle import Appearance, Calibration, Member, ModelCard, PostprocessingStep
from ..domain.dataset import DatasetDescription
from ..domain.errors import ModelError
from .archive_files import FileSource
from .file_names import as_file_name
from .json_files import read_json
from .member_names import SourceLimits, refused

BUNDLE_ENDING = ".selfseg"
BUNDLE_SCHEMA = "selfseg.bundle/1"
MANIFEST_SCHEMA = "selfseg.bundle-manifest/1"
SCORES_SCHEMA = "selfseg.scores/1"
QUALITY_SCHEMA = "selfseg.quality/1"

BUNDLE_FILE, MANIFEST_FILE = "bundle.json", "manifest.json"
FINGERPRINT_FILE, SCORES_FILE = "fingerprint.json", "scores.json"
QUALITY_FILE = "quality.json"
LICENCE_FILE, REPORT_FILE = "LICENSE.txt", "report.html"

_PART = r"[^/]{1,180}"
_PLAN = re.compile(rf"plans/({_PART})\.json")
_WEIGHTS = re.compile(rf"weights/({_PART})/({_PART})/fold_(0|[1-9][0-9]{{0,3}}|all)\.safetensors")
_HASH = re.compile(r"[0-9a-f]{64}")

LARGEST_JSON = 32 * 2**20
LARGEST: Mapping[str, int] = {
    MANIFEST_FILE: 4 * 2**20,
    BUNDLE_FILE: 4 * 2**20,
    FINGERPRINT_FILE: LARGEST_JSON,
    SCORES_FILE: LARGEST_JSON,
    QUALITY_FILE: LARGEST_JSON,
    LICENCE_FILE: 2**20,
    REPORT_FILE: 128 * 2**20,
}
"""Bytes. A plan has at most `LARGEST_JSON`, weights as many as the plan's network needs."""

LIMITS = SourceLimits(files=2000, depth=4)


@dataclass(frozen=True)
class FileRecord:
    """One file of a bundle: its name, with forward slashes, bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`."""

    files: tuple[FileRecord, ...]

    @property
    def by_name(self) -> dict[str, FileRecord]:
        """The records by file name."""
        return {record.path: record for record in self.files}


@dataclass(frozen=True)
class BundleFile:
    """`bundle.json`; the rest of a `ModelBundle` lies in files of its own."""

    card: ModelCard
    description: DatasetDescription
    plans: tuple[str, ...]
    members: tuple[Member, ...]
    appearances: tuple[Appearance, ...]
    postprocessing: tuple[PostprocessingStep, ...]
    calibration: Calibration


class ScoresForm(msgspec.Struct):
    """What is used of `scores.json`; the rest is for people."""

    mean: dict[str, dict[str, float | None]]
    foreground_mean: dict[str, float | None]


@dataclass(frozen=True, order=True)
class WeightsKey:
    """Which network: the plan, its configuration and the fold ("0", "1", ... or "all")."""

    plan: str
    configuration: str
    fold: str

    @property
    def file_name(self) -> str:
        """Where its weights lie in a bundle.

        Raises:
            ProjectError: a name cannot be a file's name.
        """
        plan = as_file_name(self.plan, "plan")
        configuration = as_file_name(self.configuration, "configuration")
        return f"weights/{plan}/{configuration}/fold_{self.fold}.safetensors"


def plan_file(name: str) -> str:
    """Where a plan lies in a bundle.

    Raises:
        ProjectError: the name cannot be a file's name.
    """
    return f"plans/{as_file_name(name, 'plan')}.json"


def weights_key(name: str) -> WeightsKey | None:
    """The network whose weights a file holds; None for another file."""
    match = _WEIGHTS.fullmatch(name)
    return WeightsKey(*match.groups()) if match else None


def read_manifest(path: Path) -> Manifest:
    """Reads `manifest.json`.

    Raises:
        ModelError: an entry that is none.
        FileFormatError: missing, damaged, of another kind or version.
    """
    manifest = read_json(path, Manifest, schema=MANIFEST_SCHEMA, max_bytes=LARGEST[MANIFEST_FILE])
    for record in manifest.files:
        if record.bytes < 0 or not _HASH.fullmatch(record.sha256):
            raise refused(path.parent, "a manifest with an entry that is none", str(record))
    if len(manifest.by_name) != len(manifest.files):
        raise refused(path.parent, "a manifest that lists a file twice")
    return manifest


def check_is_bundle(source: FileSource) -> None:
    """Refuses what holds no manifest.

    Raises:
        ModelError: it holds none, or one that is too large.
    """
    if MANIFEST_FILE not in source.sizes:
        raise ModelError(
            "this is no model bundle",
            expected=f"{MANIFEST_FILE} and {BUNDLE_FILE}",
            found=", ".join(sorted(source.sizes)[:5]) or "no file",
            cure="give a folder or file that `selfseg model export` has written",
            path=source.path,
        )
    if source.sizes[MANIFEST_FILE] > LARGEST[MANIFEST_FILE]:
        raise refused(source.path, f"a file that is too large: {MANIFEST_FILE}")


def check_files(source: FileSource, manifest: Manifest) -> None:
    """Compares names and sizes of what is there with the manifest and the layout.

    Raises:
        ModelError: a file is missing, not listed, of another size or has no place in a bundle.
    """
    listed = manifest.by_name
    for name, size in source.sizes.items():
        limit = LARGEST_JSON if _PLAN.fullmatch(name) else LARGEST.get(name)
        if limit is None and weights_key(name) is None:
            raise refused(source.path, "a file that has no place in a model bundle", repr(name))
        if limit is not None and size > limit:
            raise refused(source.path, f"a file that is too large: {name}", f"{size} bytes")
        if name != MANIFEST_FILE and name not in listed:
            raise refused(source.path, "a file that its manifest does not list", repr(name))
    for record in manifest.files:
        if record.path not in source.sizes:
            raise refused(source.path, "less than its manifest lists", f"no {record.path!r}")
        if record.bytes != source.sizes[record.path]:
            found = f"{record.path}: {source.sizes[record.path]} instead of {record.bytes} bytes"
            raise refused(source.path, "a file of another size than its manifest says", found)
    if BUNDLE_FILE not in listed:
        raise refused(source.path, f"a manifest that does not list {BUNDLE_FILE}")


def check_digest(source: Path, record: FileRecord, digest: str) -> None:
    """Refuses a file that is not the one the manifest lists.

    Raises:
        ModelError: it is not.
    """
    if digest != record.sha256:
        raise refused(
            source,
            "a file that is not the one its manifest lists",
            f"{record.path} with SHA-256 {digest}, expected {record.sha256}",
        )
