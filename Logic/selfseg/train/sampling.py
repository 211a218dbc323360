"""Which patch of which case: every batch is a pure function of the seed and its number.

Patches may reach over the border of an image; what lies outside is 0 in the image (the mean,
for z-scored channels) and background in the labels.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray
from ..domain.errors import TrainingError

Index = tuple[int, ...]
LabelArray = NDArray[np.int16]

ANNOTATED: tuple[int, ...] = ()
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
    def foreground(self) -> Mapping[tuple[int, ...], NDArray[np.int32]]:
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


class CasesInMemory:
    """Cases kept in memory once read, as long as all of them fit; otherwise as they come.

    Args:
        sources: the cases.
        limit_bytes: memory that the cases may fill.
    """

    def __init__(self, sources: Sequence[PatchSource], limit_bytes: float) -> None:
        self.sources = tuple(sources)
        self.kept = sum(_bytes_of(source) for source in self.sources) <= limit_bytes
        self._loaded: dict[int, PatchSource] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> PatchSource:
        if not self.kept:
            return self.sources[index]
        with self._lock:
            if index not in self._loaded:
                self._loaded[index] = _LoadedCase(self.sources[index])
            return self._loaded[index]


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

    @property
    def foreground(self) -> Mapping[tuple[int, ...], NDArray[np.int32]]:
        return self._source.foreground  # many structures would fill more memory than the image

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> FloatArray:
        return self._image[(slice(None), *_slices(start, stop))]

    def read_labels(self, start: Sequence[int], stop: Sequence[int]) -> LabelArray:
        return self._labels[_slices(start, stop)]

    def read_nonzero(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.bool_] | None:
        return None if self._nonzero is None else self._nonzero[_slices(start, stop)]


@dataclass(frozen=True)
class Patch:
    """A piece of a case: image (C, *size) float32, labels (*size) int16, nonzero or None."""

    image: FloatArray
    labels: LabelArray
    nonzero: NDArray[np.bool_] | None


def generator_for(seed: int, stream: int, index: int) -> np.random.Generator:
    """Random numbers of batch `index`, independent of every other batch and stream."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, stream, index]))


def first_forced(batch_size: int, foreground_share: float) -> int:
    """Samples from this one on must contain foreground: round(B * (1 - share)) (RECIPE)."""
    return round(batch_size * (1 - foreground_share))


def choose_start(
    case: PatchSource, patch_size: Index, forced: bool, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Draws the corner of a patch, (z, y, x); may be negative.

    A patch is centred on a voxel and then moved so that it reaches no further over the border
    than it must. The voxel of an unforced patch is any of the image, or any annotated one where
    voxels may be ignored; that of a forced one belongs to a random structure that the case
    holds. nnU-Net draws the corner of unforced patches instead, which shows the borders of an
    image much more rarely than its middle (docs/decisions/0006-patch-positions.md). A 2D patch
    is one slice thick.

    Args:
        case: where to look.
        patch_size: voxels per axis, three or two.
        forced: whether the patch must contain foreground, where the case has any.
        rng: the batch's random numbers.
    """
    size = np.array((1,) * (3 - len(patch_size)) + tuple(patch_size))
    shape = np.array(case.shape)
    lowest = -(np.maximum(size - shape, 0) // 2)
    highest = lowest + np.maximum(shape - size, 0)
    structures = [v for key, v in case.foreground.items() if key != ANNOTATED and len(v)]
    annotated = case.foreground.get(ANNOTATED)
    if forced and structures:
        candidates = structures[rng.integers(len(structures))]
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
    place = tuple(
        slice(b - a, c - a) for a, b, c in zip(start, inner_start, inner_stop, strict=True)
    )
    inner = tuple(c - b for b, c in zip(inner_start, inner_stop, strict=True))
    image = np.zeros((case.channel_count, *size), np.float32)
    labels = np.zeros(tuple(size), np.int16)
    if 0 in inner:
        return Patch(image, labels, None)
    stored = case.read_image(inner_start, inner_stop)
    if stored.shape != (case.channel_count, *inner):
        raise TrainingError(
            f"the preprocessed case {case.identifier} is not complete",
            expected=f"an array of shape {(case.channel_count, *inner)}",
            found=str(stored.shape),
            cure="delete the folder preprocessed/ of the project and preprocess again",
        )
    image[(slice(None), *place)] = stored
    labels[place] = case.read_labels(inner_start, inner_stop)
    mask = case.read_nonzero(inner_start, inner_stop)
    nonzero = None
    if mask is not None:
        nonzero = np.zeros(tuple(size), bool)
        nonzero[place] = mask
    return Patch(image, labels, nonzero)


def _slices(start: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _bytes_of(case: PatchSource) -> int:
    voxels = case.shape[0] * case.shape[1] * case.shape[2]
    return voxels * (4 * case.channel_count + 3)
