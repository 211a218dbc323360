"""Made images, and small plans, for everything that tests or compares preprocessing.

The images come from whole-number arithmetic and one square root, so that they are the same to
the last bit on every machine; `benchmarks/preprocess_parity.py` shows them to nnunetv2, and the
golden arrays are what it made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfseg.domain.case import RawCase
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.fingerprint import IntensityProperties
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import ComputeTarget, ConfigurationPlan, NetworkPlan, Plan

LABELS = LabelScheme.from_mapping({"background": 0, "shell": 1, "core": 2, "plate": 5})
INTENSITIES = IntensityProperties(96.0, 101.5, 41.25, -20.0, 260.0, 4.0, 181.0)
GOLDEN_STEP = 3
"""Every how many voxels (per axis) the golden arrays keep."""


@dataclass(frozen=True)
class Recipe:
    """One made case and how it is to be preprocessed."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    target: tuple[float, ...]
    schemes: tuple[str, ...]
    in_mask: tuple[bool, ...]
    transpose: tuple[int, int, int] = (0, 1, 2)
    border: int = 0
    """Voxels of zero around the image (not across slices of a single-slice image)."""

    @property
    def configuration(self) -> str:
        return "2d" if len(self.target) == 2 else "3d_fullres"


GOLDEN = {
    "cubic": Recipe(
        (22, 31, 27), (1.0, 0.9, 1.1), (1.3, 0.7, 1.0),
        ("zscore", "nonorm"), (False, False), (2, 0, 1), 3,
    ),
    "thick_slices": Recipe(
        (7, 40, 44), (6.0, 0.8, 0.8), (4.0, 1.0, 1.1),
        ("zscore",), (True,), border=2,
    ),
    "thick_target": Recipe(
        (24, 26, 25), (1.0, 1.0, 1.0), (1.2, 4.0, 0.9), ("ct",), (False,),
    ),
    "two_coarse_axes": Recipe(
        (20, 21, 44), (2.0, 2.0, 0.5), (1.5, 1.0, 1.0),
        ("rescale_to_0_1",), (False,),
    ),
    "slices_2d": Recipe(
        (12, 28, 30), (2.0, 1.0, 1.0), (0.8, 1.2), ("zscore",), (False,),
    ),
    "flat_image": Recipe(
        (1, 45, 52), (999.0, 1.0, 1.0), (0.9, 1.2),
        ("rgb_to_0_1",) * 3, (False,) * 3,
    ),
}  # fmt: skip


def made_case(recipe: Recipe, identifier: str = "made") -> RawCase:
    """Two nested balls and a thin plate in a wavy, noisy background."""
    z, y, x = np.ogrid[tuple(slice(n) for n in recipe.shape)]
    scaled = [
        ((2 * axis - n + 1) * 1000) // n for axis, n in zip((z, y, x), recipe.shape, strict=True)
    ]
    radius = scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2
    labels = np.zeros(recipe.shape, dtype=np.int16)
    labels[np.broadcast_to(radius < 640_000, recipe.shape)] = 1
    labels[np.broadcast_to(radius < 160_000, recipe.shape)] = 2
    labels[..., -9] = 5
    noise = (z * 7919 + y * 104_729 + x * 1_299_709 + (z * y + y * x + x * z) * 31) % 97
    channels = []
    for channel in range(len(recipe.schemes)):
        wave = (np.sqrt(radius.astype(np.float64)) * (channel + 1) / 9).astype(np.int64) % 140
        image = 40 + labels * 25 + noise // 3 + np.abs(wave - 70)
        channels.append(np.clip(image, 1, 255).astype(np.float32))
    stacked = np.stack(channels)
    if recipe.border:
        outside = np.ones(recipe.shape, dtype=bool)
        b = recipe.border
        inner_z = slice(b, -b) if recipe.shape[0] > 2 * b + 4 else slice(None)
        outside[inner_z, b:-b, b : -2 * b] = False
        # A corner is cut off, so that the nonzero mask is not the whole box.
        outside |= np.broadcast_to(scaled[1] + scaled[2] < -900, recipe.shape)
        # A hole of zeros inside belongs to the mask.
        stacked[:, recipe.shape[0] // 2, 15:18, 14:17] = 0
        stacked[:, outside] = 0
        labels[outside] = 0
    return RawCase(identifier, stacked, Geometry(recipe.shape, recipe.spacing), labels)


def made_plan(recipe: Recipe, labels: LabelScheme = LABELS) -> Plan:
    """A plan that holds this one way of preprocessing and a network of no interest."""
    dimensions = len(recipe.target)
    ones = (1,) * dimensions
    network = NetworkPlan("plain", (8,), ((3,) * dimensions,), (ones,), (2,), ())
    configuration = ConfigurationPlan(
        name=recipe.configuration,
        spacing=recipe.target,
        patch_size=(16,) * dimensions,
        median_shape=tuple(float(n) for n in recipe.shape[3 - dimensions :]),
        batch_size=2,
        normalisation=recipe.schemes,
        normalise_in_mask=recipe.in_mask,
        batch_dice=False,
        network=network,
    )
    names = tuple(f"channel_{i}" for i in range(len(recipe.schemes)))
    a, b, c = (recipe.transpose.index(axis) for axis in range(3))
    return Plan(
        name="plain",
        planner="plain",
        description=DatasetDescription("Made", names, labels),
        original_median_spacing=recipe.spacing,
        original_median_shape=recipe.shape,
        transpose_forward=recipe.transpose,
        transpose_backward=(a, b, c),
        configurations={recipe.configuration: configuration},
        foreground_intensities=(INTENSITIES,) * len(recipe.schemes),
        target=ComputeTarget(8.0),
    )
