"""The table of metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfseg.arrays.metrics import Overlap
from selfseg.domain.labels import Label, LabelScheme
from selfseg.evaluate.case import measure_case
from selfseg.evaluate.metrics import (
    METRIC_NAMES,
    METRICS,
    OVERLAP_METRICS,
    OVERLAP_NAMES,
    PEER_NAMES,
)


def test_names_are_unique_and_those_of_the_peer_are_there_for_ever() -> None:
    assert len(set(METRIC_NAMES)) == len(METRIC_NAMES)
    assert PEER_NAMES == ("Dice", "IoU", "FP", "FN", "TP", "n_pred", "n_ref")
    assert set(PEER_NAMES) <= set(OVERLAP_NAMES)


def test_units_are_known_and_titles_can_be_printed() -> None:
    assert {metric.unit for metric in METRICS} <= {"", "mm", "ml", "voxels", "lesions"}
    titles = [metric.title.format(tolerance=2.0) for metric in METRICS if metric.title]
    assert titles == ["mean foreground Dice", "mean HD95 (mm)", "mean surface Dice at 2 mm"]


def test_the_reference_defines_every_metric(project_folder: Path) -> None:
    page = (project_folder / "docs/reference/metrics.md").read_text(encoding="utf-8")
    defined = page.partition("\n## ")[0]
    assert [name for name in METRIC_NAMES if f"`{name}`" not in defined] == []


@pytest.mark.parametrize(
    ("overlap", "precision", "recall"),
    [
        (Overlap(6, 2, 4, 9), 0.75, 0.6),
        (Overlap(0, 0, 4, 9), None, 0.0),
        (Overlap(0, 2, 0, 9), 0.0, None),
    ],
)
def test_precision_and_recall(
    overlap: Overlap, precision: float | None, recall: float | None
) -> None:
    found = {metric.name: metric.of(overlap) for metric in OVERLAP_METRICS}
    assert (found["Precision"], found["Recall"]) == (precision, recall)


def test_a_declared_structure_in_neither_map_is_undefined_by_voxels_alone() -> None:
    nothing = np.zeros((1, 2, 3), np.uint8)
    found = measure_case(nothing, nothing, LabelScheme((Label("a", (1,)),))).structures["1"]
    assert {name for name, value in found.items() if value is not None} == {
        "FP", "FN", "TP", "n_pred", "n_ref"
    }  # fmt: skip
