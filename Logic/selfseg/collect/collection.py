"""What was found: cases with their images and segments, and the structures they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..domain.errors import DatasetError
from ..domain.geometry import Affine, Geometry
from ..domain.labels import Colour
from ..domain.terminology import Codes

Missing = Literal["problem", "empty", "ignore", "exclude"]
State = Literal["ready", "problem", "excluded"]
Form = Literal["image", "array", "series", "dicom-seg"]

IGNORE = "ignore"
"""Name of the segment whose voxels nobody has annotated (nnU-Net's word)."""


@dataclass(frozen=True)
class VoxelSource:
    """Where voxels lie, and how they are read.

    Args:
        path: the file; the archive of a `member`; the first file of a series. None where the
            voxels are not written yet (collection files that are only looked at).
        form: an image file, a plain array (`.npy`), a DICOM series or a DICOM segmentation.
        grid: their grid, known without reading them.
        component: which channel of the file, which layer, which segment number.
        components: how many the file holds.
        member: name inside the archive `path`.
        files: all files of a series, in the order of its slices.
    """

    path: Path | None
    form: Form
    grid: Geometry
    component: int = 0
    components: int = 1
    member: str = ""
    files: tuple[Path, ...] = ()

    @property
    def shown(self) -> str:
        """The file, for people."""
        return self.member or ("" if self.path is None else str(self.path))


@dataclass(frozen=True)
class CollectedImage:
    """One channel of a case; `to_world` is its parent transform, LPS mm to LPS mm."""

    channel: str
    voxels: VoxelSource
    to_world: Affine | None = None


@dataclass(frozen=True)
class CollectedSegment:
    """One structure as one case's segmentation holds it.

    Args:
        name: as it is written there.
        layer: index into the segmentation's layers.
        values: its label values in that layer.
        terms: what it is in a terminology.
        colour: RGB 0-255.
        empty: annotated, and not there; None where only the voxels would tell.
        structure: its index in `Collection.structures`; None where it is not taken.
    """

    name: str
    layer: int
    values: tuple[int, ...]
    terms: Codes | None = None
    colour: Colour | None = None
    empty: bool | None = None
    structure: int | None = None


@dataclass(frozen=True)
class CollectedSegmentation:
    """The label maps of a case, which may overlap, and the transform above them."""

    shown: str
    layers: tuple[VoxelSource, ...]
    to_world: Affine | None = None


@dataclass(frozen=True)
class Problem:
    """Why a case cannot be taken, and what to do; `kind` is a stable word for programs."""

    kind: str
    what: str
    cure: str


@dataclass(frozen=True)
class CollectedCase:
    """One row: a scan and its segments.

    Args:
        identifier: becomes the name of its files.
        source: what it was found in.
        images: one per channel; the first one's grid is the case's.
        segmentation: None where none was found.
        segments: the structures in it.
        group: cases of one patient have the same; None where nothing is said.
        notes: what is adapted, for people.
        problems: why it cannot be taken.
        excluded: the user leaves it out.
        unknown: indices of structures that nobody has annotated in it.
    """

    identifier: str
    source: Path
    images: tuple[CollectedImage, ...] = ()
    segmentation: CollectedSegmentation | None = None
    segments: tuple[CollectedSegment, ...] = ()
    group: str | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    excluded: bool = False
    unknown: tuple[int, ...] = ()

    @property
    def state(self) -> State:
        """Whether it is taken."""
        if self.excluded:
            return "excluded"
        return "problem" if self.problems else "ready"

    @property
    def grid(self) -> Geometry | None:
        """The grid of the case, None without an image."""
        return self.images[0].voxels.grid if self.images else None

    def with_problem(self, kind: str, what: str, cure: str) -> CollectedCase:
        """The same with one problem more."""
        return replace(self, problems=(*self.problems, Problem(kind, what, cure)))

    def with_note(self, note: str) -> CollectedCase:
        """The same with one note more."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True)
class Structure:
    """One class of the data set; `missing` names the cases that have no segment for it."""

    name: str
    terms: Codes | None = None
    colour: Colour | None = None
    cases: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collection:
    """All rows, and what they share. `has_ignore`: some voxels are marked as not annotated."""

    name: str
    channels: tuple[str, ...]
    structures: tuple[Structure, ...]
    cases: tuple[CollectedCase, ...]
    notes: tuple[str, ...] = ()

    @property
    def ready(self) -> tuple[CollectedCase, ...]:
        """The cases that are taken."""
        return tuple(case for case in self.cases if case.state == "ready")

    @property
    def bytes_estimate(self) -> int:
        """What the data set takes on disk at most: 4 bytes per voxel and channel, 2 for labels."""
        return sum(
            (4 * len(self.channels) + 2) * grid.shape[0] * grid.shape[1] * grid.shape[2]
            for case in self.ready
            if (grid := case.grid) is not None
        )


@dataclass(frozen=True)
class CollectOptions:
    """What the user decides.

    Args:
        name: of the data set; the first source's otherwise.
        channels: names in order; chooses among several images.
        missing: what it means that a structure has no segment in a case.
        structures: those to take; all otherwise.
        renames: name of a segment to name of the structure that it is.
        label_names: what the values of label maps mean that bring no names.
        excluded: cases to leave out.

    Raises:
        DatasetError: `missing` is none of its words.
    """

    name: str = ""
    channels: tuple[str, ...] = ()
    missing: Missing = "problem"
    structures: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    label_names: Mapping[int, str] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.missing not in ("problem", "empty", "ignore", "exclude"):
            raise DatasetError(
                "there is no such rule for missing structures",
                expected="problem, empty, ignore or exclude",
                found=str(self.missing),
                cure="choose one of these",
            )
