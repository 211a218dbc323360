"""One case measured, and all measurements combined into the fingerprint.

nnU-Net draws 10^8 foreground voxels with replacement, the same number from every case, and
takes statistics of the sample. Here the distribution that sample is drawn from is used itself:
every case weighs the same, whatever its size. That is exact, the same every time, and needs
less memory (docs/decisions/0003-exact-fingerprint.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays.bounding_box import nonzero_box
from ..domain.case import RawCase
from ..domain.errors import DatasetError
from ..domain.fingerprint import Fingerprint, Histogram, IntensityProperties
from ..domain.geometry import Shape3, Vector3
from .distribution import Distribution, mixture

HISTOGRAM_BINS = 64

_SAMPLED_VOXELS = 2**18
"""Evenly spaced voxels of the whole cropped image that its histogram is made of."""

_POINTS_PER_CASE = 512
"""Equally heavy points that stand for one case's intensities in the pooled histogram."""

_HISTOGRAM_RANGE = (0.001, 0.999)
"""Quantiles of the pooled intensities between which the bins lie; the end bins take the rest."""


@dataclass(frozen=True)
class CaseMeasurement:
    """What the fingerprint needs to know of one case.

    Args:
        identifier: the case's name.
        spacing: mm (Z, Y, X).
        shape_after_crop: of the box around the non-zero voxels.
        relative_size: voxels of that box / voxels of the image.
        foreground: intensities where the label is above 0 (the ignore label counts), one per
            channel; empty where nothing is labelled.
        points: (C, 512) float32, equally heavy points of the cropped image's intensities.
        class_fractions: label value -> share of the cropped image's voxels.
        content_hash: SHA-256 of the case's files, "" where it was not read from files.
    """

    identifier: str
    spacing: Vector3
    shape_after_crop: Shape3
    relative_size: float
    foreground: tuple[Distribution, ...]
    points: NDArray[np.float32]
    class_fractions: dict[int, float]
    content_hash: str = ""


def measure_case(raw: RawCase, content_hash: str = "") -> CaseMeasurement:
    """Measures one case.

    Raises:
        DatasetError: the case has no label map.
    """
    if raw.labels is None:
        raise DatasetError(
            f"case {raw.identifier} has no label map",
            expected="a label map for every training case",
            found="images only",
            cure="add its label map, or take the case out of the training images",
        )
    start, stop = nonzero_box(raw.channels)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    channels, labels = raw.channels[:, *box], raw.labels[box]
    inside = labels > 0
    foreground: tuple[Distribution, ...] = ()
    if inside.any():
        foreground = tuple(Distribution.of(channel[inside]) for channel in channels)
    return CaseMeasurement(
        identifier=raw.identifier,
        spacing=raw.geometry.spacing,
        shape_after_crop=(labels.shape[0], labels.shape[1], labels.shape[2]),
        relative_size=labels.size / raw.labels.size,
        foreground=foreground,
        points=np.stack([_points(channel) for channel in channels]),
        class_fractions=_class_fractions(labels, inside),
        content_hash=content_hash,
    )


def combine(measurements: Iterable[CaseMeasurement], dataset_hash: str = "") -> Fingerprint:
    """The fingerprint of the measured cases, in their order.

    Cases without foreground count for shapes and spacings, not for foreground intensities.

    Raises:
        DatasetError: there is no case, or none has any foreground.
    """
    cases = tuple(measurements)
    labelled = [case for case in cases if case.foreground]
    if not labelled:
        raise DatasetError(
            "no training case has any labelled voxel",
            expected="label maps with values above 0",
            found=f"{len(cases)} cases with background only" if cases else "no case",
            cure="check that the label maps hold the structures (values from dataset.json)",
        )
    channel_count = len(labelled[0].foreground)
    values = sorted({value for case in cases for value in case.class_fractions})
    return Fingerprint(
        spacings=tuple(case.spacing for case in cases),
        shapes_after_crop=tuple(case.shape_after_crop for case in cases),
        median_relative_size_after_cropping=float(np.median([c.relative_size for c in cases])),
        foreground_intensities=tuple(
            _properties([case.foreground[channel] for case in labelled])
            for channel in range(channel_count)
        ),
        case_identifiers=tuple(case.identifier for case in cases),
        dataset_hash=dataset_hash,
        intensity_histograms=tuple(
            _histogram(np.concatenate([case.points[channel] for case in cases]))
            for channel in range(channel_count)
        ),
        class_voxel_fractions=tuple(
            (value, float(np.mean([case.class_fractions.get(value, 0.0) for case in cases])))
            for value in values
        ),
    )


def _properties(cases: list[Distribution]) -> IntensityProperties:
    pooled = mixture(cases)
    low, median, high = pooled.quantiles((0.005, 0.5, 0.995))
    return IntensityProperties(
        mean=pooled.mean,
        median=median,
        std=pooled.std,
        min=pooled.smallest,
        max=pooled.largest,
        percentile_00_5=low,
        percentile_99_5=high,
    )


def _points(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Equally heavy points of a channel's intensities, from evenly spaced voxels."""
    count = min(channel.size, _SAMPLED_VOXELS)
    where = np.linspace(0, channel.size - 1, count).astype(np.intp)
    sample = np.sort(channel[np.unravel_index(where, channel.shape)])
    middles = (np.arange(_POINTS_PER_CASE) + 0.5) / _POINTS_PER_CASE
    points: NDArray[np.float32] = sample[(middles * count).astype(np.intp)]
    return points


def _histogram(points: NDArray[np.float32]) -> Histogram:
    low, high = (float(q) for q in np.quantile(points.astype(np.float64), _HISTOGRAM_RANGE))
    if not high > low:
        # A constant image still has a place on the axis.
        half = max(abs(low) * 1e-3, 0.5)
        low, high = low - half, low + half
    counts, edges = np.histogram(np.clip(points, low, high), HISTOGRAM_BINS, (low, high))
    return Histogram(
        tuple(float(edge) for edge in edges), tuple(float(c) / len(points) for c in counts)
    )


def _class_fractions(labels: NDArray[np.generic], inside: NDArray[np.bool_]) -> dict[int, float]:
    values, counts = np.unique(labels[inside], return_counts=True)
    found = {int(v): int(c) / labels.size for v, c in zip(values, counts, strict=True)}
    background = labels.size - int(counts.sum())
    return ({0: background / labels.size} if background else {}) | found
