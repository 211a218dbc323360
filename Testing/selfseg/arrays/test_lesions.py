from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfseg.arrays.lesions import LesionCounts, count_lesions


def parts(mask: NDArray[np.bool_]) -> list[set[tuple[int, ...]]]:
    """Connected parts, by walking from voxel to voxel."""
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            here = edge.pop()
            part.add(here)
            for step in product((-1, 0, 1), repeat=3):
                there = tuple(a + b for a, b in zip(here, step, strict=True))
                if there in left:
                    left.remove(there)
                    edge.append(there)
        found.append(part)
    return found


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.9]))
def test_agrees_with_walking(seed: int, overlap: float) -> None:
    generator = np.random.default_rng(seed)
    a, b = (generator.random((4, 6, 7)) < generator.choice([0.0, 0.05, 0.15]) for _ in range(2))
    mine, theirs = parts(a), parts(b)
    all_a, all_b = set().union(*mine), set().union(*theirs)
    assert count_lesions(a, b, minimum_overlap=overlap) == LesionCounts(
        len(mine),
        sum(len(part & all_b) > overlap * len(part) for part in mine),
        len(theirs),
        sum(len(part & all_a) > overlap * len(part) for part in theirs),
    )


def test_known_numbers() -> None:
    row = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0], bool).reshape(1, 1, -1)
    other = np.array([1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0], bool).reshape(1, 1, -1)
    found = count_lesions(row, other)
    assert found == LesionCounts(3, 2, 4, 3)  # two predicted lesions lie in one of the reference
    assert found.recall == pytest.approx(2 / 3)
    assert found.precision == pytest.approx(3 / 4)
    assert found.f1 == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_empty_masks() -> None:
    empty, voxel = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    voxel[0, 0, 0] = True
    nothing = count_lesions(empty, empty)
    assert (nothing.recall, nothing.precision, nothing.f1) == (None, None, None)
    invented = count_lesions(empty, voxel)
    assert (invented.recall, invented.precision, invented.f1) == (None, 0.0, 0.0)
    missed = count_lesions(voxel, empty)
    assert (missed.recall, missed.precision, missed.f1) == (0.0, None, 0.0)
    corner = np.zeros((2, 2, 2), bool)
    corner[1, 1, 1] = True
    apart = count_lesions(voxel, corner)
    assert (apart.recall, apart.precision, apart.f1) == (0.0, 0.0, 0.0)
    assert count_lesions(voxel | corner, voxel).reference == 1  # corners connect


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        count_lesions(np.zeros((1, 2, 3), bool), np.zeros((1, 3, 2), bool))
