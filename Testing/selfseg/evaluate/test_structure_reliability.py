from __future__ import annotations

import numpy as np
import pytest

from selfseg.domain.errors import DatasetError
from selfseg.domain.labels import Label, LabelScheme
from selfseg.evaluate.calibration import foreground_box, structure_reliability

LABELS = LabelScheme((Label("a", (1,)), Label("b", (7,))), ignore=9)
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))


def test_heads_stand_for_structures() -> None:
    reference = np.array([0, 1, 7, 9]).reshape(1, 1, 4)
    probabilities = np.zeros((3, 1, 1, 4), np.float32)
    probabilities[1, 0, 0] = [0.0, 0.75, 0.0, 1.0]
    probabilities[2, 0, 0] = [0.5, 0.25, 1.0, 1.0]
    found = structure_reliability(probabilities, reference, LABELS)
    assert list(found) == ["1", "7"]
    assert found["1"].counts.sum() == 3  # the ignored voxel does not count
    assert found["1"].expected_error == pytest.approx(0.25 / 3)
    assert found["7"].expected_error == pytest.approx(0.75 / 3)


def test_regions_overlap() -> None:
    reference = np.array([0, 1, 2]).reshape(1, 1, 3)
    probabilities = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).reshape(2, 1, 1, 3)
    found = structure_reliability(probabilities, reference, REGIONS)
    assert [entry.expected_error for entry in found.values()] == [0.0, 0.0]
    assert list(found) == ["(1, 2)", "2"]


def test_the_box_around_the_foreground() -> None:
    reference = np.zeros((1, 50, 60), np.uint8)
    assert foreground_box(reference, LABELS) is None
    reference[0, 20:25, 3] = 7
    reference[0, 49, 59] = 9
    assert foreground_box(reference, LABELS) == (slice(0, 1), slice(10, 35), slice(0, 14))
    assert foreground_box(reference, LABELS, margin=0) == (slice(0, 1), slice(20, 25), slice(3, 4))


def test_heads_must_fit() -> None:
    with pytest.raises(DatasetError, match=r"\(3, 1, 2, 2\)"):
        structure_reliability(np.zeros((2, 1, 2, 2)), np.zeros((1, 2, 2), int), LABELS)
