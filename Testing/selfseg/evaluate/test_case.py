from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.arrays.lesions import count_lesions
from selfseg.arrays.surface import surface_distances
from selfseg.domain.errors import DatasetError
from selfseg.domain.labels import Label, LabelScheme
from selfseg.evaluate.case import absent, measure_case, score_case
from selfseg.evaluate.metrics import COUNT_NAMES, METRIC_NAMES, OVERLAP_NAMES

LABELS = LabelScheme((Label("a", (1,)), Label("b", (2,)), Label("c", (9,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2), ignore=3)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(4, 7, 6), (1, 8, 9)]),
    st.sampled_from([LABELS, REGIONS]),
)
def test_every_structure_is_measured_as_if_it_were_alone(
    seed: int, shape: tuple[int, ...], labels: LabelScheme
) -> None:
    draw = np.random.default_rng(seed)
    values = [0, 0, 0, *labels.values, *([] if labels.ignore is None else [labels.ignore])]
    reference, prediction = (draw.choice(values, shape).astype(np.int16) for _ in range(2))
    # Structures in a corner only, in one slice only, or in one map only.
    reference[:, : draw.integers(0, 6)] = 0
    prediction[draw.integers(0, 4) :] = 0
    spacing = (3.0, 0.7, 1.2)
    found = score_case(reference, prediction, labels, spacing)
    counted = np.ones(shape, bool) if labels.ignore is None else reference != labels.ignore
    voxel = 0.7 * 1.2 / 100 if shape[0] == 1 else 3.0 * 0.7 * 1.2 / 1000
    for label in labels.foreground:
        a = np.isin(reference, label.values) & counted
        b = np.isin(prediction, label.values) & counted
        surface, lesions = surface_distances(a, b, spacing), count_lesions(a, b)
        metrics = found[label.key]
        assert list(metrics) == list(METRIC_NAMES)
        expected = {
            "Dice": 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else None,
            "IoU": (a & b).sum() / (a | b).sum() if (a | b).any() else None,
            "Precision": (a & b).sum() / b.sum() if b.any() else None,
            "Recall": (a & b).sum() / a.sum() if a.any() else None,
            "FP": (b & ~a).sum(),
            "FN": (a & ~b).sum(),
            "TP": (a & b).sum(),
            "n_pred": b.sum(),
            "n_ref": a.sum(),
            "HD95": surface.hd95,
            "SurfaceDice": surface.surface_dice(2.0),
            "MSD": surface.mean_surface_distance,
            "VolumeDifference": (b.sum() - a.sum()) * voxel if (a | b).any() else None,
            "RelativeVolumeDifference": (b.sum() - a.sum()) / a.sum() if a.any() else None,
            "LesionPrecision": lesions.precision,
            "LesionRecall": lesions.recall,
            "LesionF1": lesions.f1,
            "n_lesions_pred": lesions.prediction,
            "n_lesions_ref": lesions.reference,
        }
        for name, value in expected.items():
            assert metrics[name] == (None if value is None else pytest.approx(value)), name


def test_regions_are_unions_and_ignored_voxels_count_nowhere() -> None:
    reference = np.array([1, 2, 2, 3, 3, 0, 0, 0]).reshape(1, 2, 4)
    prediction = np.array([2, 2, 0, 1, 0, 0, 0, 1]).reshape(1, 2, 4)
    found = measure_case(reference, prediction, REGIONS)
    assert list(found.structures) == ["(1, 2)", "2"]
    whole, core = found.structures["(1, 2)"], found.structures["2"]
    assert list(whole) == list(OVERLAP_NAMES)
    assert (whole["TP"], whole["FP"], whole["FN"]) == (2, 1, 1)
    assert (core["TP"], core["FP"], core["FN"]) == (1, 1, 1)
    assert found.confusion == {0: {0: 2, 1: 1}, 1: {2: 1}, 2: {0: 1, 2: 1}}


def test_without_a_scheme_every_value_is_a_structure() -> None:
    reference, prediction = np.zeros((2, 3, 4), np.uint16), np.zeros((2, 3, 4), np.uint16)
    assert measure_case(reference, prediction, None, (1.0, 1.0, 1.0)).structures == {}
    reference[0, 0, 0], prediction[1, 2, 3] = 117, 9
    found = measure_case(reference, prediction, None, (1.0, 1.0, 1.0)).structures
    assert list(found) == ["9", "117"]
    assert found["9"]["Dice"] == 0
    assert found["9"]["HD95"] is None
    assert found["9"]["LesionPrecision"] == 0
    assert found["117"]["SurfaceDice"] == 0


def test_a_structure_in_neither_map_has_no_values() -> None:
    nothing = np.zeros((2, 3, 4), np.uint8)
    found = score_case(nothing, nothing, LABELS, (1.0, 1.0, 1.0))
    assert found["9"] == absent(METRIC_NAMES)
    assert {name for name, value in found["9"].items() if value is not None} == set(COUNT_NAMES)
    assert set(COUNT_NAMES) == {
        "FP", "FN", "TP", "n_pred", "n_ref", "n_lesions_pred", "n_lesions_ref"
    }  # fmt: skip


def test_shapes_must_agree() -> None:
    with pytest.raises(DatasetError, match="shape"):
        score_case(np.zeros((1, 2, 3), int), np.zeros((1, 2, 4), int), LABELS)
