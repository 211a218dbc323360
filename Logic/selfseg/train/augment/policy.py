"""Which random changes are made to training samples: probabilities and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["loader", "device"]
"""Where samples are changed: by the threads that load them, or on the device that trains."""


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; the defaults are RECIPE's, in the order they are applied.

    Angles are degrees. `rotation_2d_degrees` holds for 2D patches and for slice-wise rotation,
    `rotation_2d_elongated_degrees` for 2D patches of which one side is 1.5 times the other.

    `elastic` moves the control points of a cubic B-spline, `elastic_spacing_mm` apart, by
    normally distributed distances of `elastic_std_mm` on every axis, cut off at three standard
    deviations.

    `noise_std` is in units of the image, or with `noise_of_range` a share of the channel's
    range. With `low_resolution_sigma_mm` low resolution is imitated by a blur of that standard
    deviation instead of shrinking by `low_resolution_zoom`.

    Blur and low resolution change each channel with the probability `per_channel`. The last
    five change the input that a cascade has from its first stage, each label with the
    probability `previous_per_label`; radii are voxels, `component_share` is of the patch.
    """

    rotation: float = 0.2
    rotation_3d_degrees: float = 30.0
    rotation_2d_degrees: float = 180.0
    rotation_2d_elongated_degrees: float = 15.0
    scaling: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    elastic: float = 0.0
    elastic_spacing_mm: float = 30.0
    elastic_std_mm: float = 4.0
    noise: float = 0.1
    noise_std: tuple[float, float] = (0.0, 0.1)
    noise_of_range: bool = False
    blur: float = 0.2
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution: float = 0.25
    low_resolution_zoom: tuple[float, float] = (0.5, 1.0)
    low_resolution_sigma_mm: float | None = None
    gamma_inverted: float = 0.1
    gamma: float = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    per_channel: float = 0.5
    mirror: float = 0.5
    previous_morphology: float = 0.4
    previous_radius: tuple[float, float] = (1.0, 8.0)
    previous_removal: float = 0.2
    component_share: float = 0.15
    previous_per_label: float = 0.5


FULL = Augmentation()

MILD = Augmentation(
    rotation_3d_degrees=15.0,
    rotation_2d_degrees=15.0,
    rotation_2d_elongated_degrees=15.0,
    scaling_range=(0.9, 1.1),
    elastic=0.2,
    noise_std=(0.01, 0.01),
    noise_of_range=True,
    blur=0.0,
    brightness_range=(0.95, 1.05),
    contrast_range=(0.9, 1.1),
    low_resolution_sigma_mm=1.0,
    gamma_inverted=0.0,
    gamma_range=(0.8, 1.2),
)
"""RECIPE's gentler variant. It gives ranges only: the probabilities are those of the full
policy, the elastic deformation's that of rotation.

The elastic deformation's standard deviation is the largest that can never fold the image: a
cubic B-spline is one to one where no control point moves by 0.403 of the spacing in 3D or
0.489 in 2D (Choi and Lee, Graphical Models 62, 411-427, 2000), and three times 4 mm is 0.4 of
30 mm."""

MIRROR_ONLY = Augmentation(
    rotation=0.0,
    scaling=0.0,
    noise=0.0,
    blur=0.0,
    brightness=0.0,
    contrast=0.0,
    low_resolution=0.0,
    gamma_inverted=0.0,
    gamma=0.0,
    previous_morphology=0.0,
    previous_removal=0.0,
)

POLICIES: Mapping[str, Augmentation] = {"full": FULL, "mild": MILD, "mirror": MIRROR_ONLY}
"""By the name that a schedule gives."""
