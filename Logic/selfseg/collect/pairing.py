"""Which images belong to a segmentation: by reference geometry, checked against names.

Nothing is guessed: where geometry and names leave more than one answer, or contradict each
other, the row gets a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays.index_maps import index_map, overlap_share, whole_voxel_map
from ..domain.geometry import Affine, Geometry
from ..domain.terminology import folded
from ..io.images import grid_difference
from .collection import CollectedCase, CollectedImage, CollectOptions, VoxelSource

LABEL_WORDS = frozenset(
    (
        *("label", "labels", "labelmap", "labelmaps", "gt", "groundtruth"),
        *("seg", "segs", "segmentation", "segmentations", "mask", "masks"),
        *("annotation", "annotations", "contour", "contours"),
    )
)
IMAGE_WORDS = frozenset(
    ("img", "imgs", "image", "images", "volume", "volumes", "vol", "scan", "scans")
)


def words_of(stem: str) -> tuple[str, ...]:
    """The words of a file's name that tell cases apart: "Seg_Case-01" gives ("case", "01")."""
    return tuple(word.casefold() for word in split_words(stem))


def split_words(stem: str) -> tuple[str, ...]:
    """The same as they are written there."""
    words = re.split(r"[\W_]+", stem)
    return tuple(
        word for word in words if word and word.casefold() not in LABEL_WORDS | IMAGE_WORDS
    )


def is_named_label(stem: str) -> bool:
    """Whether a file's name says that it is a label map."""
    words = [word for word in re.split(r"[\W_]+", stem.casefold()) if word]
    return any(word in LABEL_WORDS for word in words)


@dataclass(frozen=True)
class Candidate:
    """An image that may belong to a segmentation; `label` is what its name says besides the case.

    `number` is the channel of a name that ends in _0000, _0001, ...
    """

    image: CollectedImage
    label: str = ""
    number: int | None = None

    @property
    def grid(self) -> Geometry:
        """Its grid."""
        return self.image.voxels.grid


@dataclass(frozen=True)
class Choice:
    """The images chosen, or a problem (kind, what, cure)."""

    images: tuple[CollectedImage, ...] = ()
    note: str = ""
    problem: tuple[str, str, str] | None = None


def choose_images(
    candidates: Sequence[Candidate], reference: Geometry | None, options: CollectOptions
) -> Choice:
    """The channels among the images that may belong to one segmentation.

    Args:
        candidates: at least one.
        reference: grid of the image on which the segmentation was drawn, None where unknown.
        options: `channels` decides where it is given.
    """
    ordered = sorted(
        candidates,
        key=lambda c: (c.number is None, c.number or 0, c.label, c.image.voxels.shown),
    )
    if len(ordered) == 1 or _are_channels(ordered):
        return Choice(_named(ordered, options))
    if options.channels:
        return _by_channel_names(ordered, options)
    exact = [c for c in ordered if reference and not grid_difference(reference, c.grid)]
    if len(exact) == 1:
        name = exact[0].image.voxels.shown
        return Choice(
            (_with_channel(exact[0], exact[0].label),),
            f"of {len(ordered)} images the one on whose grid the segmentation was drawn: {name}",
        )
    if exact and len({folded(c.label) for c in exact}) == len(exact):
        labels = ", ".join(c.label or "(no name)" for c in exact)
        return Choice(
            tuple(_with_channel(c, c.label) for c in exact),
            f"{len(exact)} images on the grid of the segmentation are its channels: {labels}",
        )
    shown = ", ".join(c.image.voxels.shown for c in ordered[:6])
    return Choice(
        problem=(
            "ambiguous-pair",
            f"{len(ordered)} images could belong to the segmentation: {shown}",
            "say which with --channel NAME (a word of the file's name), number the channels "
            "_0000, _0001, ..., or move the other images away",
        )
    )


def judged_place(case: CollectedCase) -> CollectedCase:
    """Notes how the label maps and channels come onto the grid of the case; problems if apart."""
    if not case.images or case.segmentation is None:
        return case
    first, segmentation = case.images[0], case.segmentation
    grid = first.voxels.grid
    notes: list[str] = []
    for layer in segmentation.layers:
        try:
            way = index_map(grid, layer.grid, first.to_world, segmentation.to_world)
            covered = overlap_share(way, grid.shape, layer.grid.shape)
        except np.linalg.LinAlgError:
            return case.with_problem(
                "unreadable",
                "a parent transform squeezes the volume flat",
                "correct the transform in Slicer, or take the volume out of it",
            )
        if covered <= 0:
            return case.with_problem(
                "apart",
                "image and segmentation do not overlap in space",
                "check that they belong together; if a transform was applied to only one of "
                "them, put both under it or harden it",
            )
        notes += _place_notes(grid, layer.grid, whole_voxel_map(way, grid.shape) is not None)
    if not same_transform(first.to_world, segmentation.to_world):
        notes.append("the parent transforms of image and segmentation differ: both are applied")
    for image in case.images[1:]:
        if not same_transform(image.to_world, first.to_world) or grid_difference(
            grid, image.voxels.grid
        ):
            notes.append(
                f"channel {image.channel!r} is interpolated onto the grid of {first.channel!r}"
            )
    return replace(case, notes=(*case.notes, *dict.fromkeys(notes)))


def _place_notes(grid: Geometry, layer: Geometry, whole: bool) -> list[str]:
    if not grid_difference(grid, layer):
        return []
    size = " x ".join(str(n) for n in reversed(layer.shape))
    if whole:
        return [f"the segmentation is cropped or turned: {size} voxels, copied into their place"]
    spacing = " x ".join(f"{s:.3g}" for s in reversed(layer.spacing))
    return [
        f"the labels are resampled onto the image: from {size} voxels of {spacing} mm, each "
        "voxel to the structure with the largest interpolated share"
    ]


def claimed_once(cases: Sequence[CollectedCase]) -> Iterator[CollectedCase]:
    """The cases, with a problem where two segmentations go with one image.

    Both might be right (two readers), or each half of it (organs in two segmentations).
    """
    owners: dict[VoxelSource, list[CollectedCase]] = {}
    for case in cases:
        for image in () if case.excluded else case.images:
            if image.voxels.path is not None:  # not written yet: two alike are not the same
                owners.setdefault(image.voxels, []).append(case)
    for case in cases:
        others = {
            other.identifier
            for image in (() if case.excluded else case.images)
            for other in owners.get(image.voxels, ())
            if other is not case
        }
        if others:
            yield case.with_problem(
                "ambiguous-pair",
                f"another segmentation goes with the same image: {', '.join(sorted(others))}",
                "exclude one of them, or join both into one segmentation in Slicer",
            )
        else:
            yield case


def same_transform(first: Affine | None, second: Affine | None) -> bool:
    """Whether two parent transforms do the same, to a thousandth of a millimetre and per mille."""
    one = np.eye(4) if first is None else np.array(first)
    other = np.eye(4) if second is None else np.array(second)
    return bool(np.allclose(one, other, rtol=0, atol=1e-6))


def _are_channels(candidates: Sequence[Candidate]) -> bool:
    """Files numbered _0000, _0001, ... without a gap."""
    return [c.number for c in candidates] == list(range(len(candidates)))


def _named(candidates: Sequence[Candidate], options: CollectOptions) -> tuple[CollectedImage, ...]:
    names = options.channels if len(options.channels) == len(candidates) else ()
    return tuple(_with_channel(c, names[i] if names else c.label) for i, c in enumerate(candidates))


def _by_channel_names(candidates: Sequence[Candidate], options: CollectOptions) -> Choice:
    chosen = []
    for name in options.channels:
        wanted = folded(name)
        fits = [c for c in candidates if folded(c.label) == wanted] or [
            c for c in candidates if wanted in {folded(word) for word in c.label.split()}
        ]
        if len(fits) != 1:
            labels = ", ".join(c.label or c.image.voxels.shown for c in candidates)
            return Choice(
                problem=(
                    "ambiguous-channels",
                    f"{len(fits)} images fit the channel {name!r}; there are: {labels}",
                    "give --channel the word of the file's name that only one image has",
                )
            )
        chosen.append(_with_channel(fits[0], name))
    return Choice(tuple(chosen))


def _with_channel(candidate: Candidate, name: str) -> CollectedImage:
    return replace(candidate.image, channel=name)
