"""Multi-atlas label fusion: label maps of other images, registered to an image, vote on it.

each atlas: its image registered, affine, then demons -> its label map on the image's grid
-> "weighted": every voxel listens most to atlases that look alike around it (Artaechevarria
et al. 2009, "Combination strategies in multi-atlas image segmentation"), or
"staple": the consensus that explains all of them (Warfield et al. 2004)
-> probabilities, as a network's
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from ..domain.case import FloatArray
from ..domain.geometry import Geometry
from ..domain.labels import LabelScheme

sitk: Any = SimpleITK
"""SimpleITK's wrappers carry no types."""

SAMPLED = 20_000
"""Voxels that the similarity is measured on, at each resolution."""

SHRINK_FACTORS = (4, 2, 1)
LEAST_SIZE = 8
"""Resolutions are left out at which an axis has fewer voxels."""

HISTOGRAM_LEVELS, MATCHED_QUANTILES = 256, 8
"""Intensities are brought to those of the image before they are compared one to one."""

DEMONS_ITERATIONS = 40

SMOOTHING_VOXELS = 1.5
"""Of the displacements: structures bend, they do not tear."""

NEIGHBOURHOOD_MM = 4.0
"""Standard deviation of the window in which images are compared."""

FAINTEST = 1e-3
"""No voxel is surer than this: atlases are few."""


@dataclass(frozen=True)
class Atlas:
    """A segmented image.

    Args:
        identifier: the case's name.
        image: (Z, Y, X) float32, its first channel.
        labels: (Z, Y, X) label values.
        geometry: the grid of both.
    """

    identifier: str
    image: FloatArray
    labels: NDArray[Any]
    geometry: Geometry


@dataclass(frozen=True)
class Registered:
    """An atlas on another image's grid, and how alike they are (lower is better)."""

    image: FloatArray
    labels: NDArray[Any]
    similarity: float


def register(atlas: Atlas, image: FloatArray, geometry: Geometry, *, seed: int = 1) -> Registered:
    """Brings an atlas onto an image: affine by correlation, then diffeomorphic demons.

    Both images must show the same with the same method, as the cases of a data set do. The same
    input gives the same result.

    Args:
        atlas: to be deformed.
        image: (Z, Y, X) float32.
        geometry: its grid; at least 4 slices.
        seed: of the voxels that are compared; 0 means the clock to ITK.
    """
    fixed, moving = _as_itk(image, geometry), _as_itk(atlas.image, atlas.geometry)
    with _one_thread():
        affine = _affine(fixed, moving, seed)
    low = float(atlas.image.min())
    moved = sitk.Resample(moving, fixed, affine, sitk.sitkLinear, low, sitk.sitkFloat32)
    matched = sitk.HistogramMatching(moved, fixed, HISTOGRAM_LEVELS, MATCHED_QUANTILES, True)
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(DEMONS_ITERATIONS)
    demons.SetStandardDeviations(SMOOTHING_VOXELS)
    demons.SetNumberOfThreads(1)
    bend = sitk.DisplacementFieldTransform(
        sitk.Cast(demons.Execute(fixed, matched), sitk.sitkVectorFloat64)
    )
    whole = sitk.CompositeTransform([affine, bend])
    warped = sitk.GetArrayFromImage(
        sitk.Resample(moving, fixed, whole, sitk.sitkLinear, low, sitk.sitkFloat32)
    )
    labels = sitk.Resample(
        _as_itk(atlas.labels.astype(np.int16), atlas.geometry), fixed, whole,
        sitk.sitkNearestNeighbor, 0, sitk.sitkInt16,
    )  # fmt: skip
    alike = float(np.mean(_standardised(warped) * _standardised(image)))
    return Registered(warped, sitk.GetArrayFromImage(labels), 1 - alike)


def fuse(
    atlases: Sequence[Registered],
    image: FloatArray,
    geometry: Geometry,
    labels: LabelScheme,
    *,
    per_image: int,
    fusion: str,
) -> FloatArray:
    """What the most similar atlases say: probabilities (K, Z, Y, X), heads as a network's.

    Args:
        atlases: on the image's grid.
        image: (Z, Y, X) float32.
        geometry: its grid.
        labels: which head means what.
        per_image: how many atlases vote.
        fusion: "weighted" or "staple".
    """
    voters = sorted(atlases, key=lambda atlas: atlas.similarity)[:per_image]
    heads = [_values(labels, head) for head in range(labels.head_count)]
    votes = [[np.isin(atlas.labels, list(values)) for atlas in voters] for values in heads]
    if fusion == "staple":
        found = np.stack([_staple(masks) for masks in votes])
    else:
        weights = _weights(voters, image, geometry)
        found = np.stack([sum(w * m for w, m in zip(weights, ms, strict=True)) for ms in votes])
    result: FloatArray = np.clip(found, FAINTEST, 1 - FAINTEST).astype(np.float32)
    if not labels.has_regions:
        result /= result.sum(axis=0)
    return result


def _weights(
    voters: Sequence[Registered], image: FloatArray, geometry: Geometry
) -> list[FloatArray]:
    """One map (Z, Y, X) per atlas; they sum to 1."""
    sigma = [NEIGHBOURHOOD_MM / mm for mm in geometry.spacing]
    target = _standardised(image)
    distances = np.stack(
        [
            ndimage.gaussian_filter((_standardised(voter.image) - target) ** 2, sigma)
            for voter in voters
        ]
    )
    # The scale of differences that are usual here decides how much they weigh.
    scale = max(float(np.median(distances)), 1e-6)
    weights = np.exp(-(distances - distances.min(axis=0)) / scale)
    weights /= weights.sum(axis=0)
    return list(weights.astype(np.float32))


def _staple(masks: Sequence[NDArray[np.bool_]]) -> FloatArray:
    together = np.logical_or.reduce(masks)
    if len(masks) < 2 or not together.any() or np.logical_and.reduce(masks).all():
        share: FloatArray = np.mean(masks, axis=0, dtype=np.float32)
        return share
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    found: FloatArray = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0)).astype(np.float32)
    return found


def _values(labels: LabelScheme, head: int) -> tuple[int, ...]:
    if labels.has_regions:
        return labels.foreground[head].values
    return (0,) if head == 0 else labels.foreground[head - 1].values


def _standardised(image: FloatArray) -> FloatArray:
    result: FloatArray = (image - image.mean()) / max(float(image.std()), 1e-6)
    return result


def _as_itk(array: NDArray[Any], geometry: Geometry) -> Any:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(mm) for mm in geometry.spacing[::-1]])
    image.SetOrigin([float(mm) for mm in geometry.origin])
    image.SetDirection([float(v) for row in geometry.direction for v in row])
    return image


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK's metrics add up what threads have found as they come: the last bits differ."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _affine(fixed: Any, moving: Any, seed: int) -> Any:
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    share = min(1.0, SAMPLED / fixed.GetNumberOfPixels())
    method.SetMetricSamplingPercentage(share, seed)
    method.SetInterpolator(sitk.sitkLinear)
    levels = [level for level in SHRINK_FACTORS if min(fixed.GetSize()) // level >= LEAST_SIZE]
    levels = levels or [1]
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([level - 1.0 for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsGradientDescentLineSearch(
        learningRate=1.0, numberOfIterations=40, convergenceMinimumValue=1e-5,
        convergenceWindowSize=8,
    )  # fmt: skip
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    method.SetNumberOfThreads(1)
    return method.Execute(fixed, moving)
