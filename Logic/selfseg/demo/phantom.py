"""A made-up abdomen: anatomy in millimetres, seen by a made-up CT scanner in HU.

The contrast phase is the portal venous one; HU values are the usual textbook ones. Axes are
(Z, Y, X) with Z towards the head, Y towards the back and X towards the patient's left, which
is how a CT with an identity direction lies in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Shape3, Vector3
from .shapes import (
    Field,
    Points,
    correlated_noise,
    cover,
    deform,
    ellipsoid,
    grid_points,
    smooth_field,
    union,
)

LIVER, KIDNEY, LESION = 1, 2, 3

AIR, LUNG, FAT, MUSCLE, BOWEL = -1000.0, -830.0, -100.0, 45.0, 30.0
LIVER_HU, KIDNEY_HU, LESION_HU, SPLEEN_HU, VESSEL_HU = 105.0, 165.0, 15.0, 125.0, 150.0
BONE_HU, CORTEX_HU, DISC_HU, TABLE_HU = 190.0, 520.0, 75.0, -350.0

BODY = (1e6, 68.0, 98.0)
"""Half axes (mm) of the trunk: a slim person, so that a case stays small."""


@dataclass(frozen=True)
class Scan:
    """What the scanner saw and what is really there.

    Args:
        image: (Z, Y, X) int16 HU.
        labels: (Z, Y, X) uint8 of 0, LIVER, KIDNEY, LESION.
    """

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]


class _Canvas:
    """An image that shapes are painted on, later ones over earlier ones, with soft edges."""

    def __init__(self, shape: Sequence[int], width: float) -> None:
        self.image = np.full(tuple(shape), AIR, dtype=np.float32)
        self.width = width

    def paint(self, distance: Field, intensity: float | Field) -> None:
        share = cover(distance, self.width)
        self.image += share * (np.float32(intensity) - self.image)


def scan_patient(shape: Shape3, spacing: Vector3, rng: np.random.Generator) -> Scan:
    """One random patient on a grid of (Z, Y, X) voxels of `spacing` mm."""
    straight = grid_points(shape, spacing)
    build = float(rng.uniform(0.93, 1.07))
    z, y, x = straight
    scaled = (z / np.float32(build), y / np.float32(build), x / np.float32(build))
    bent = deform(scaled, spacing, 3.0, 70.0, rng)

    def texture(length: float) -> Field:
        return smooth_field(shape, spacing, length, rng)

    canvas = _Canvas(shape, float(np.mean(spacing)))
    _paint_table(canvas, straight)
    cavity = _paint_trunk(canvas, bent, texture(14.0), rng)
    _paint_bones(canvas, bent, cavity, rng)
    abdomen = _paint_neighbours(canvas, bent, cavity, texture(9.0), rng)

    # Organs vary more than the trunk does, so they are bent once more.
    soft = deform(bent, spacing, 3.5, 40.0, rng)
    liver = np.minimum(_liver(soft, rng), abdomen - np.float32(1.5))
    kidneys, right_kidney, pelvis = _kidneys(soft, rng)
    lesion = _lesions(bent, liver, right_kidney, cavity, spacing, rng)

    vessels = np.float32(3.2) - 22 * np.hypot(texture(45.0), texture(45.0))
    canvas.paint(liver, LIVER_HU + rng.normal(0, 6) + 3 * texture(12.0))
    canvas.paint(np.minimum(liver - 4, vessels), VESSEL_HU)
    canvas.paint(lesion, LESION_HU + rng.normal(0, 6) + 5 * texture(8.0))
    canvas.paint(kidneys, KIDNEY_HU + rng.normal(0, 8) + 4 * texture(10.0))
    canvas.paint(pelvis, BOWEL)

    labels = np.zeros(shape, dtype=np.uint8)
    labels[liver > 0] = LIVER
    labels[lesion > 0] = LESION
    labels[kidneys > 0] = KIDNEY

    dose = float(rng.uniform(9.0, 15.0))
    canvas.image += dose * correlated_noise(shape, (0.3, 0.65, 0.65), rng)
    image = np.clip(np.rint(canvas.image), -1024, 3071).astype(np.int16)
    return Scan(image, labels)


def _paint_table(canvas: _Canvas, points: Points) -> None:
    _, y, x = points
    bend = y - np.float32(88) + np.float32(0.0022) * x * x
    edge = np.float32(80) - np.abs(x)
    canvas.paint(np.minimum(np.float32(2.5) - np.abs(bend), edge), TABLE_HU)


def _paint_trunk(
    canvas: _Canvas, points: Points, texture: Field, rng: np.random.Generator
) -> Field:
    """Skin, fat, muscle and the contents of the abdominal cavity; returns the cavity."""
    skin = ellipsoid(points, (0, 0, 0), BODY)
    canvas.paint(skin, 20.0)
    canvas.paint(skin - np.float32(2), FAT)
    fat = float(rng.uniform(6, 13))
    muscle = skin - np.float32(fat)
    canvas.paint(muscle, MUSCLE)
    back = union(
        ellipsoid(points, (0, 46, -27), (1e6, 13, 20)),
        ellipsoid(points, (0, 46, 27), (1e6, 13, 20)),
    )
    back = np.maximum(back, ellipsoid(points, (0, 56, 0), (1e6, 18, 18)))
    cavity: Field = np.minimum(muscle - np.float32(8), -back - np.float32(3))
    loops = cover(texture + np.float32(0.1), 0.5)
    canvas.paint(cavity, FAT + (BOWEL - FAT) * loops)
    return cavity


def _paint_bones(canvas: _Canvas, points: Points, cavity: Field, rng: np.random.Generator) -> None:
    z, y, x = points
    start = float(rng.uniform(0, 32))
    level = np.abs((z + np.float32(start)) % np.float32(32) - np.float32(16))
    body = ellipsoid(points, (0, 36, 0), (1e6, 13, 17))
    canvas.paint(body + np.float32(2), DISC_HU)
    vertebra = np.minimum(body, np.float32(12.5) - level)
    process = np.float32(11) - level
    arch = np.minimum(ellipsoid(points, (0, 52, 0), (1e6, 7, 13)), process)
    spine = np.minimum(ellipsoid(points, (0, 60, 0), (1e6, 13, 3.2)), process - 2)
    wings = np.minimum(ellipsoid(points, (0, 50, 0), (1e6, 3.5, 30)), np.float32(5) - level)
    bone = union(union(vertebra, arch, 2), union(spine, wings, 2), 2)
    canvas.paint(bone, CORTEX_HU)
    canvas.paint(bone - np.float32(2.2), BONE_HU)
    canvas.paint(ellipsoid(points, (0, 52, 0), (1e6, 5, 7)), BOWEL)

    # Ribs: a slanting stripe pattern on a thin shell just outside the cavity.
    slant = z - np.float32(0.45) * y - np.float32(0.05) * np.abs(x)
    stripe = np.abs(slant % np.float32(26) - np.float32(13))
    shell = cavity + np.float32(4.5)
    ribs = np.float32(3.6) - np.hypot(shell * np.float32(1.3), stripe * np.float32(0.8))
    chest = np.minimum(z + np.float32(25) + np.float32(0.4) * y, y + np.float32(38))
    canvas.paint(np.minimum(ribs, np.minimum(chest, np.abs(x) - 24)), CORTEX_HU * 0.8)


def _paint_neighbours(
    canvas: _Canvas, points: Points, cavity: Field, texture: Field, rng: np.random.Generator
) -> Field:
    """Lungs, great vessels, a spleen and a stomach, none of them labelled.

    Returns:
        The part of the cavity below the diaphragm.
    """
    _, y, x = points
    dome = ellipsoid(points, (-40, 0, -42), (104 + rng.normal(0, 3), 82, 72))
    dome = union(dome, ellipsoid(points, (-40, 0, 42), (95 + rng.normal(0, 3), 82, 72)))
    heart_side = np.abs(x - np.float32(2)) - np.float32(20) + np.float32(0.3) * (y + 20)
    lung = np.minimum(np.minimum(-dome, cavity), heart_side)
    canvas.paint(np.minimum(cavity, -dome), MUSCLE + 15)
    canvas.paint(lung - 1, LUNG + 25 * texture)
    canvas.paint(ellipsoid(points, (0, 17, 11), (1e6, 8.5, 8.5)), VESSEL_HU)
    canvas.paint(ellipsoid(points, (0, 17, -13), (1e6, 7, 9)), VESSEL_HU - 25)
    inside = cavity - np.float32(2)
    spleen = ellipsoid(points, (20, 22, 66), (34, 26, 15), float(rng.normal(28, 5)))
    canvas.paint(np.minimum(spleen, inside), SPLEEN_HU + rng.normal(0, 5))
    stomach = ellipsoid(points, (14, -18, 40), (30, 23, 27), float(rng.normal(-20, 6)))
    stomach = np.minimum(stomach, inside)
    canvas.paint(stomach, MUSCLE + 10)
    canvas.paint(stomach - np.float32(3), 38.0)
    surface = float(rng.uniform(-34, -20))
    canvas.paint(np.minimum(stomach - np.float32(3.5), np.float32(surface) - y), -950.0)
    abdomen: Field = np.minimum(cavity, dome)
    return abdomen


def _liver(points: Points, rng: np.random.Generator) -> Field:
    size = rng.uniform(0.92, 1.08, 2)
    right = ellipsoid(
        points,
        (11 + rng.normal(0, 3), 0, -48 + rng.normal(0, 2)),
        tuple(np.array((53, 42, 34)) * size[0]),
        float(rng.normal(-12, 4)),
    )
    left = ellipsoid(
        points,
        (18 + rng.normal(0, 3), -26, -8 + rng.normal(0, 4)),
        tuple(np.array((24, 17, 42)) * size[1]),
        float(rng.normal(8, 4)),
    )
    return union(right, left, 14.0)


def _kidneys(points: Points, rng: np.random.Generator) -> tuple[Field, Field, Field]:
    """Both kidneys, the right one alone (it touches the liver), and their pelvis."""
    kidneys, hollows = [], []
    for side in (-1, 1):
        size = rng.uniform(0.92, 1.1)
        centre = np.array((-18 + 6 * side + rng.normal(0, 3), 26, side * 44.0))
        radii = np.array((34, 16, 14)) * size
        body = ellipsoid(points, tuple(centre), tuple(radii), side * 35.0)
        hilum = centre + np.array((0, -5, -side * 11.0))
        notch = ellipsoid(points, tuple(hilum), (11, 6, 8), side * 35.0)
        kidneys.append(np.minimum(body, -notch))
        hollows.append(np.minimum(notch, body))
    return np.maximum(*kidneys), kidneys[0], np.maximum(*hollows)


def _lesions(
    points: Points,
    liver: Field,
    kidney: Field,
    cavity: Field,
    spacing: Vector3,
    rng: np.random.Generator,
) -> Field:
    """One or two round lesions inside or at the border of the liver.

    The border ones bulge a little, but never into the kidney or out of the abdomen.
    """
    margin = np.float32(1.0)
    field = np.full(liver.shape, -1e3, dtype=np.float32)
    rough = 1.2 * smooth_field(liver.shape, spacing, 14.0, rng)
    for _ in range(int(rng.integers(1, 3))):
        radius = float(rng.uniform(14.5, 20.0))
        depth = radius * (0.7 if rng.random() < 0.5 else 1.1)
        room = (liver > depth) & (kidney < -(radius + margin)) & (field < -(radius + 8))
        room &= cavity > depth
        edge = max(2, int(np.ceil(radius / spacing[0])))
        room[:edge] = room[-edge:] = False
        found = np.flatnonzero(room)
        if found.size == 0:
            continue
        chosen = found[int(rng.integers(found.size))]
        centre = [float(p.flat[chosen]) for p in points]
        radii = radius * rng.uniform(0.85, 1.15, 3)
        field = np.maximum(field, ellipsoid(points, centre, tuple(radii)) + rough)
    inside = np.minimum(cavity - margin, -kidney - np.float32(0.5))
    lesions: Field = np.minimum(np.minimum(field, inside), liver + np.float32(4))
    return lesions
