from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfseg.arrays import surface
from selfseg.arrays.metrics import count_pairs
from selfseg.arrays.surface import surface_distances

# Made by benchmarks/metrics.py: the numbers are DeepMind's surface-distance's.
GOLDEN = json.loads((Path(__file__).parent / "surface_golden.json").read_text())

Mask = NDArray[np.bool_]


def unpack(text: str, shape: tuple[int, ...]) -> Mask:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)


def measure(a: Mask, b: Mask, spacing: tuple[float, float, float]) -> list[float | None]:
    found = surface_distances(a, b, spacing)
    return [found.hd95, found.hausdorff(100), found.surface_dice(2), found.mean_surface_distance]


@pytest.mark.parametrize("entry", GOLDEN, ids=[entry["title"] for entry in GOLDEN])
def test_equals_the_independent_program(entry: dict[str, Any]) -> None:
    shape, spacing, expected = tuple(entry["shape"]), tuple(entry["spacing"]), entry["expected"]
    a, b = unpack(entry["reference"], shape), unpack(entry["prediction"], shape)
    found = surface_distances(a, b, spacing)
    mine = {
        "dice": count_pairs(a.view(np.uint8), b.view(np.uint8)).overlap((1,)).dice,
        "hd95": found.hd95,
        "hd100": found.hausdorff(100),
        "surface_dice_2": found.surface_dice(2.0),
        "surface_dice_1": found.surface_dice(1.0),
        "mean_surface_distance": found.mean_surface_distance,
    }
    for name, value in expected.items():
        assert mine[name] == (value if value is None else pytest.approx(value, abs=1e-9)), name


def test_what_the_edge_cases_say() -> None:
    empty, voxel = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    voxel[2, 2, 2] = True
    assert measure(empty, empty, (1, 1, 1)) == [None, None, None, None]
    assert measure(voxel, empty, (1, 1, 1)) == [None, None, 0.0, None]
    assert measure(empty, voxel, (1, 1, 1)) == [None, None, 0.0, None]
    assert measure(voxel, voxel, (1, 1, 1)) == [0.0, 0.0, 1.0, 0.0]
    moved = np.roll(voxel, 1, axis=0)
    far, dice, mean = 3.0, 1.0, 1.5
    # Half of the eight elements lie on the other's, half one voxel of 3 mm away.
    assert measure(voxel, moved, (3, 1, 1)) == [far, far, dice / 2, mean]


def test_the_through_plane_spacing_of_one_slice_does_not_matter() -> None:
    a, b = np.zeros((1, 9, 9), bool), np.zeros((1, 9, 9), bool)
    a[0, 2:5, 2:5] = b[0, 2:5, 4:7] = True
    assert measure(a, b, (999.0, 0.5, 2.0)) == measure(a, b, (1.0, 0.5, 2.0))
    assert measure(a, b, (999.0, 0.5, 2.0))[0] == 4.0


def test_a_sphere_has_its_area() -> None:
    places = np.indices((41, 41, 41)) - 20
    ball = (places**2).sum(axis=0) <= 18**2
    found = surface_distances(ball, ball, (1.0, 1.0, 1.0))
    # Voxels make steps: the area is too large by some percent, not by half as faces would be.
    assert found.reference_areas.sum() == pytest.approx(4 * np.pi * 18**2, rel=0.1)
    stretched = surface_distances(ball, ball, (2.0, 2.0, 2.0))
    assert stretched.reference_areas.sum() == pytest.approx(4 * found.reference_areas.sum())


pairs = st.tuples(
    st.integers(0, 2**32 - 1), st.sampled_from([(4, 5, 6), (1, 6, 7), (7, 2, 3), (3, 1, 4)])
)


def draw(seed: int, shape: tuple[int, ...]) -> tuple[Mask, Mask, tuple[float, float, float]]:
    generator = np.random.default_rng(seed)
    a, b = (generator.random(shape) < generator.random() for _ in range(2))
    z, y, x = generator.choice([0.5, 1.0, 1.7, 4.0], 3)
    return a, b, (float(z), float(y), float(x))


@settings(deadline=None, max_examples=60)
@given(pairs)
def test_swapping_turning_and_shifting_change_nothing(pair: tuple[int, tuple[int, ...]]) -> None:
    a, b, spacing = draw(*pair)
    expected = [
        value if value is None else pytest.approx(value) for value in measure(a, b, spacing)
    ]
    assert measure(b, a, spacing) == expected
    assert measure(a[:, ::-1, ::-1], b[:, ::-1, ::-1], spacing) == expected
    turned = (spacing[0], spacing[2], spacing[1])
    assert measure(a.swapaxes(1, 2), b.swapaxes(1, 2), turned) == expected
    around = ((0, 0) if a.shape[0] == 1 else (2, 1), (3, 0), (1, 5))
    assert measure(np.pad(a, around), np.pad(b, around), spacing) == expected


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_distances_are_those_of_an_exhaustive_search(pair: tuple[int, tuple[int, ...]]) -> None:
    a, b, spacing = draw(*pair)
    flat = a.shape[0] == 1

    def elements(mask: Mask) -> NDArray[np.float64]:
        padded = np.pad(mask[0] if flat else mask, 1)
        blocks = np.lib.stride_tricks.sliding_window_view(padded, (2,) * padded.ndim)
        inside = blocks.reshape(*blocks.shape[: padded.ndim], -1).mean(axis=-1)
        return np.argwhere((inside > 0) & (inside < 1)) * np.array(spacing[1:] if flat else spacing)

    first, second = elements(a), elements(b)
    found = surface_distances(a, b, spacing)
    if len(first) and len(second):
        table = np.linalg.norm(first[:, None] - second[None], axis=2)
        np.testing.assert_allclose(found.reference_distances, np.sort(table.min(axis=1)))
        np.testing.assert_allclose(found.prediction_distances, np.sort(table.min(axis=0)))
        assert found.hausdorff(100) == pytest.approx(max(table.min(0).max(), table.min(1).max()))
    else:
        assert np.isinf(found.reference_distances).all()
        assert len(found.reference_distances) == len(first)


def test_the_tree_and_the_map_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    a, b = (np.zeros((20, 30, 25), bool) for _ in range(2))
    a[2:5, 2:6, 3:5] = True
    b[generator.random(b.shape) < 0.002] = True
    monkeypatch.setattr(surface, "VOXELS_PER_QUERY", 0)
    by_tree = surface_distances(a, b, (2.0, 1.0, 0.7))
    monkeypatch.setattr(surface, "VOXELS_PER_QUERY", 10**9)
    by_map = surface_distances(a, b, (2.0, 1.0, 0.7))
    np.testing.assert_allclose(by_tree.prediction_distances, by_map.prediction_distances)
    assert by_tree.prediction_distances.max() > 8 * 2.0  # beyond NEAR, so both were asked


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        surface_distances(np.zeros((1, 2, 3), bool), np.zeros((1, 3, 2), bool), (1.0, 1.0, 1.0))
