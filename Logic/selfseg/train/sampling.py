"""Which patch of which case: every sample is a pure function of the seed and its number.

The numbers of sample i of batch n come from a generator of their own, so that a batch can be
made in parts by several ranks, by any number of workers, and after any interruption.

Patches may reach over the border of an image; what lies outside is 0 in the image (the mean,
for z-scored channels) and background in the labels.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray
from ..domain.errors import TrainingError
from .case_choice import CaseChoice, ForegroundCases, Structure, case_choice

Index = tuple[int, ...]
LabelArray = NDArray[np.int16]

ANNOTATED: Structure = ()
"""The key under which a case with an ignore label lists voxels that are not ignored."""


class PatchSource(Protocol):
    """A preprocessed case that can be read in parts (`selfseg.io.case_store.StoredCase`)."""

    @property
    def identifier(self) -> str:
        """The case's name."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (Z, Y, X)."""
        ...

    @property
    def channel_count(self) -> int:
        """C."""
        ...

    @property
    def foreground(self) -> Mapping[Structure, NDArray[np.int32]]:
        """Some voxels (N, 3) of each structure, by the structure's label values."""
        ...

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> FloatArray:
        """(C, z, y, x) between two corners within the image."""
        ...

    def read_labels(self, start: Sequence[int], stop: Sequence[int]) -> LabelArray:
        """(z, y, x) label values."""
        ...

    def read_nonzero(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.bool_] | None:
        """(z, y, x) nonzero mask, None where no channel is normalised within it."""
        ...

    def read_previous(self, start: Sequence[int], stop: Sequence[int]) -> LabelArray | None:
        """(z, y, x) label values of the cascade's first stage, None without a cascade."""
        ...


class CasesInMemory:
    """Cases kept in memory once read, as long as all of them fit; otherwise as they come.

    A copy in another process keeps none, or every worker would fill as much memory again; the
    system's file cache is shared by all.

    Args:
        sources: the cases.
        limit_bytes: memory that the cases may fill.
    """

    def __init__(self, sources: Sequence[PatchSource], limit_bytes: float) -> None:
        self.sources = tuple(sources)
        self.kept = sum(_bytes_of(source) for source in self.sources) <= limit_bytes
        self._structures: tuple[tuple[Structure, ...], ...] | None = None
        self._prepare()

    def _prepare(self) -> None:
        self._loaded: dict[int, PatchSource] = {}
        self._choices: dict[ForegroundCases, CaseChoice] = {}
        # One lock per case: a thread that reads one case keeps no other from reading another.
        self._locks = [threading.Lock() for _ in self.sources]
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> PatchSource:
        if not self.kept:
            return self.sources[index]
        with self._locks[index]:
            if index not in self._loaded:
                self._loaded[index] = _LoadedCase(self.sources[index])
            return self._loaded[index]

    def __getstate__(self) -> dict[str, object]:
        return {"sources": self.sources, "kept": False, "_structures": self.structures}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._prepare()

    @property
    def structures(self) -> tuple[tuple[Structure, ...], ...]:
        """The structures each case holds, looked up once."""
        if self._structures is None:
            self._structures = tuple(_structures_of(source) for source in self.sources)
        return self._structures

    def choice(self, rule: ForegroundCases) -> CaseChoice:
        """How cases are drawn by that rule; see `case_choice`."""
        with self._lock:
            if rule not in self._choices:
                self._choices[rule] = case_choice(self.structures, rule)
            return self._choices[rule]


class _LoadedCase:
    """A case whose arrays are in memory."""

    def __init__(self, source: PatchSource) -> None:
        start, stop = (0, 0, 0), source.shape
        self.identifier = source.identifier
        self.shape = source.shape
        self.channel_count = source.channel_count
        self._source = source
        self._image = source.read_image(start, stop)
        self._labels = source.read_labels(start, stop)
        self._nonzero = source.read_nonzero(start, stop)
        self._previous = source.read_previous(start, stop)

    @property
    def foreground(self) -> Mapping[Structure, NDArray[np.int32]]:
        return self._source.foreground  # many structures would fill more memory than the image

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> FloatArray:
        return self._image[(slice(None), *_slices(start, stop))]

    def read_labels(self, start: Sequence[int], stop: Sequence[int]) -> LabelArray:
        return self._labels[_slices(start, stop)]

    def read_nonzero(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.bool_] | None:
        return None if self._nonzero is None else self._nonzero[_slices(start, stop)]

    def read_previous(self, start: Sequence[int], stop: Sequence[int]) -> LabelArray | None:
        return None if self._previous is None else self._previous[_slices(start, stop)]


@dataclass(frozen=True)
class Patch:
    """A piece of a case.

    image (C, *size) float32, labels (*size) int16, nonzero (*size) bool or None, previous
    (*size) int16, the label map of the cascade's first stage, or None without a cascade.
    """

    image: FloatArray
    labels: LabelArray
    nonzero: NDArray[np.bool_] | None
    previous: LabelArray | None = None


def generator_for(seed: int, stream: int, index: int, sample: int = 0) -> np.random.Generator:
    """Random numbers of one sample of batch `index`, independent of all other samples'.

    Philox counts in its first word (2^64 draws) and holds the rest fixed.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, sample, stream, index]))


def first_forced(batch_size: int, foreground_share: float) -> int:
    """Samples from this one on must contain foreground: round(B * (1 - share)) (RECIPE).

    Args:
        batch_size: of the whole batch, whichever part of it a rank makes.
        foreground_share: 0 to 1.
    """
    return round(batch_size * (1 - foreground_share))


def draw_place(
    cases: CasesInMemory,
    patch_size: Index,
    forced: bool,
    rng: np.random.Generator,
    rule: ForegroundCases = "with_foreground",
) -> tuple[PatchSource, tuple[int, int, int]]:
    """Draws a case and the corner of a patch in it, (z, y, x); see `choose_start`.

    Args:
        cases: where to look.
        patch_size: voxels per axis, three or two.
        forced: whether the patch must contain foreground, where any case has some.
        rng: the sample's random numbers.
        rule: which case a forced patch comes from; see `case_choice`.
    """
    number, structure = cases.choice(rule).draw(forced, rng)
    case = cases[number]
    return case, choose_start(case, patch_size, forced, rng, structure)


def choose_start(
    case: PatchSource,
    patch_size: Index,
    forced: bool,
    rng: np.random.Generator,
    structure: Structure | None = None,
) -> tuple[int, int, int]:
    """Draws the corner of a patch, (z, y, x); may be negative.

    A patch is centred on a voxel and then moved so that it reaches no further over the border
    than it must. The voxel of an unforced patch is any of the image, or any annotated one where
    voxels may be ignored; that of a forced one belongs to `structure`, or to a random one that
    the case holds. nnU-Net draws the corner of unforced patches instead, which shows the
    borders of an image much more rarely than its middle
    (docs/decisions/0006-patch-positions.md). A 2D patch is one slice thick.

    Args:
        case: where to look.
        patch_size: voxels per axis, three or two.
        forced: whether the patch must contain foreground, where the case has any.
        rng: the sample's random numbers.
        structure: the one to show; None: any.
    """
    size = np.array((1,) * (3 - len(patch_size)) + tuple(patch_size))
    shape = np.array(case.shape)
    lowest = -(np.maximum(size - shape, 0) // 2)
    highest = lowest + np.maximum(shape - size, 0)
    foreground = case.foreground  # of a stored case, opened anew by every look
    annotated = foreground.get(ANNOTATED)
    structures = [key for key, v in foreground.items() if key != ANNOTATED and len(v)]
    if forced and structures:
        if structure not in structures:
            structure = structures[rng.integers(len(structures))]
        candidates = foreground[structure]
        voxel = np.asarray(candidates[rng.integers(len(candidates))])
    elif annotated is not None and len(annotated):
        voxel = np.asarray(annotated[rng.integers(len(annotated))])
    else:
        voxel = rng.integers(0, shape)
    start = np.clip(voxel - size // 2, lowest, highest)
    return int(start[0]), int(start[1]), int(start[2])


def read_patch(case: PatchSource, start: Sequence[int], size: Sequence[int]) -> Patch:
    """Reads a box that may reach over the border.

    Args:
        case: where to read.
        start: corner (z, y, x), may be negative.
        size: voxels (z, y, x).

    Returns:
        A patch with three spatial axes.

    Raises:
        TrainingError: the stored arrays do not have the shape they promise.
    """
    inner_start = [min(max(a, 0), n) for a, n in zip(start, case.shape, strict=True)]
    inner_stop = [
        max(min(a + length, n), b)
        for a, length, n, b in zip(start, size, case.shape, inner_start, strict=True)
    ]
    inner = tuple(c - b for b, c in zip(inner_start, inner_stop, strict=True))
    offsets = [b - a for a, b in zip(start, inner_start, strict=True)]
    place = _slices(offsets, [a + n for a, n in zip(offsets, inner, strict=True)])
    outside = 0 in inner
    if outside:  # then one voxel tells which arrays there are
        inner_start, inner_stop, inner = [0, 0, 0], [1, 1, 1], (1, 1, 1)
    stored = case.read_image(inner_start, inner_stop)
    if stored.shape != (case.channel_count, *inner):
        raise TrainingError(
            f"the preprocessed case {case.identifier} is not complete",
            expected=f"an array of shape {(case.channel_count, *inner)}",
            found=str(stored.shape),
            cure="delete the folder preprocessed/ of the project and preprocess again",
        )
    nonzero = case.read_nonzero(inner_start, inner_stop)
    previous = case.read_previous(inner_start, inner_stop)

    def placed(part: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros((*part.shape[:-3], *size), part.dtype)
        if not outside:
            whole[(slice(None),) * (part.ndim - 3) + place] = part
        return whole

    return Patch(
        placed(stored),
        placed(case.read_labels(inner_start, inner_stop)),
        None if nonzero is None else placed(nonzero),
        None if previous is None else placed(previous),
    )


def _slices(start: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _bytes_of(case: PatchSource) -> int:
    voxels = case.shape[0] * case.shape[1] * case.shape[2]
    # float32 channels, two int16 label maps (the second in a cascade), a mask.
    return voxels * (4 * case.channel_count + 5)


def _structures_of(case: PatchSource) -> tuple[Structure, ...]:
    return tuple(key for key, found in case.foreground.items() if key != ANNOTATED and len(found))
