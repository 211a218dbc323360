"""One case as the network takes it, and the record that leads back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays.bounding_box import nonzero_box, nonzero_mask
from ..arrays.resample import resample_image, resample_labels, shape_at_spacing
from ..domain.case import PreprocessedCase, PreprocessRecord, RawCase
from ..domain.errors import ImageError
from ..domain.geometry import Geometry, Shape3, Vector3
from ..domain.plan import ConfigurationPlan, Plan
from ..domain.stopping import Stop, check_stop, never
from .foreground import foreground_locations
from .normalise import normalise
from .orientation import axes_of_plan


def preprocess_case(
    raw: RawCase, plan: Plan, configuration: str, should_stop: Stop = never
) -> PreprocessedCase:
    """Transposes, crops to the non-zero box, normalises and resamples a case.

    Normalisation comes before resampling, so that the nonzero mask still fits the image
    exactly. Labels and foreground locations are there where the case has labels.
    `should_stop` is asked between these steps, and often while the image is resampled.

    Raises:
        Cancelled: `should_stop` said so.
        PlanError: the plan has no such configuration, or does not fit the channels.
        ImageError: intensities or labels cannot be used as planned.
    """
    chosen = plan.configuration(configuration)
    record, box = _steps(raw, plan, chosen)
    identifier = raw.identifier
    check_stop(should_stop)
    image, labels = _cropped(raw.channels, record, box), raw.labels
    # Where the caller keeps no reference either, the image as read is freed here.
    del raw
    if labels is not None:
        cropped = _as_int16(labels[box], identifier)
        labels = np.ascontiguousarray(record.on_plan_axes(cropped))
        del cropped
    check_stop(should_stop)
    nonzero = nonzero_mask(image) if any(chosen.normalise_in_mask) else None
    normalise(
        image,
        chosen.normalisation,
        chosen.normalise_in_mask,
        plan.foreground_intensities,
        nonzero,
    )
    shape, before, after = (
        record.shape_after_resampling,
        record.spacing_before,
        record.spacing_after,
    )
    image = resample_image(image, shape, before, after, should_stop)
    if nonzero is not None:
        nonzero = resample_labels(nonzero, shape, before, after)
    if labels is None:
        return PreprocessedCase(identifier, image, record, nonzero=nonzero)
    labels = resample_labels(labels, shape, before, after)
    locations = foreground_locations(labels, plan.description.labels, identifier)
    return PreprocessedCase(identifier, image, record, labels, nonzero, locations)


def _steps(
    raw: RawCase, plan: Plan, chosen: ConfigurationPlan
) -> tuple[PreprocessRecord, tuple[slice, slice, slice]]:
    """What will be done, and the native box to crop to."""
    start, stop = nonzero_box(raw.channels)
    z, y, x = (slice(a, b) for a, b in zip(start, stop, strict=True))
    return record_of(raw.geometry, plan, chosen, start, stop), (z, y, x)


def record_of(
    geometry: Geometry, plan: Plan, chosen: ConfigurationPlan, start: Shape3, stop: Shape3
) -> PreprocessRecord:
    """What preprocessing does to an image on that grid, cropped to a native box (Z, Y, X)."""
    forward, flipped = axes_of_plan(geometry, plan)
    whole = _permuted(geometry.shape, forward)
    ends = zip(whole, _permuted(start, forward), _permuted(stop, forward), flipped, strict=True)
    kept = [(n - b, n - a) if flip else (a, b) for n, a, b, flip in ends]
    crop_start, crop_stop = _shape3([a for a, _ in kept]), _shape3([b for _, b in kept])
    shape = _shape3([b - a for a, b in zip(crop_start, crop_stop, strict=True)])
    native = geometry.spacing
    spacing: Vector3 = (native[forward[0]], native[forward[1]], native[forward[2]])
    # A 2D plan says nothing about the distance of slices, which stays the case's own.
    target = chosen.spacing if len(chosen.spacing) == 3 else (spacing[0], *chosen.spacing)
    spacing_after: Vector3 = (float(target[0]), float(target[1]), float(target[2]))
    return PreprocessRecord(
        native=geometry,
        transpose=forward,
        crop_start=crop_start,
        crop_stop=crop_stop,
        shape_before_resampling=shape,
        spacing_before=spacing,
        shape_after_resampling=shape_at_spacing(shape, spacing, spacing_after),
        spacing_after=spacing_after,
        transposed_shape=whole,
        flipped=flipped,
    )


def _cropped(
    channels: NDArray[np.float32], record: PreprocessRecord, box: tuple[slice, slice, slice]
) -> NDArray[np.float32]:
    """The one copy of the image: in the plan's axis order, to be normalised in place."""
    image = np.empty((len(channels), *record.shape_before_resampling), dtype=np.float32)
    for target, channel in zip(image, channels, strict=True):
        target[...] = record.on_plan_axes(channel[box])
    return image


def _as_int16(labels: NDArray[np.generic], identifier: str) -> NDArray[np.int16]:
    limits = np.iinfo(np.int16)
    if labels.dtype.itemsize > 1 and labels.dtype != np.int16:
        low, high = int(labels.min()), int(labels.max())
        if low < limits.min or high > limits.max:
            raise ImageError(
                f"case {identifier}: a label value is too large",
                expected=f"label values up to {limits.max}",
                found=f"{low} to {high}",
                cure="number the structures from 1 upwards in dataset.json and the label maps",
            )
    return labels.astype(np.int16)


def _permuted(values: Shape3, axes: tuple[int, int, int]) -> Shape3:
    return _shape3([values[axis] for axis in axes])


def _shape3(values: list[int]) -> Shape3:
    z, y, x = values
    return (int(z), int(y), int(x))
