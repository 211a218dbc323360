"""Made-up content for the report's tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from selfseg.arrays.calibration import reliability
from selfseg.domain.bundle import Member, PostprocessingStep
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.events import EpochFinished
from selfseg.domain.fingerprint import Fingerprint, Histogram, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import ComputeTarget, ConfigurationPlan, Decision, NetworkPlan, Plan
from selfseg.domain.quality import QualityModel, StructureFeatures
from selfseg.domain.selection import ScoredCandidate, Selection, TriedStep
from selfseg.quality.learning import Observation, fit_quality
from selfseg.report.content import (
    CalibrationContent,
    OverlayCase,
)

LABELS = LabelScheme.from_mapping({"background": 0, "liver": 1, "lesion": 3})


def a_description(**changes) -> DatasetDescription:
    return replace(DatasetDescription("Abdomen", ("CT",), LABELS, case_count=4), **changes)


def an_epoch(epoch: int, **changes) -> EpochFinished:
    values = {"liver": 0.1 * epoch, "lesion": None if epoch == 0 else 0.05 * epoch}
    return replace(
        EpochFinished("3d_fullres", "0", epoch, 9, 1.0 - 0.1 * epoch, 1.1 - 0.1 * epoch, values,
                      0.08 * epoch, 0.07 * epoch, 0.01, 10.0, 2.0),
        **changes,
    )  # fmt: skip


def an_entry(name: str, liver: float | None, lesion: float | None) -> dict:
    metrics = {"1": {"Dice": liver, "IoU": liver}, "3": {"Dice": lesion, "IoU": None}}
    path = f"/data/{name}.nii.gz"
    return {"reference_file": path, "prediction_file": path, "metrics": metrics}


SCORES = {
    "metric_per_case": [
        an_entry("a", 0.9, 0.5),
        an_entry("b", 0.8, None),
        an_entry("c", 0.95, float("nan")),
        an_entry("d", 0.7, 0.6),
    ],
    "mean": {"1": {"Dice": 0.8375}, "3": {"Dice": 0.55}},
    "foreground_mean": {"Dice": 0.69375, "HD95": 4.5},
    "confidence_intervals": {
        "foreground_mean": {"Dice": [0.61, 0.78]},
        "mean": {"1": {"Dice": [0.74, 0.93], "HD95": [1.0, 2.0]}, "3": {}},
    },
    "cases": {
        "1": {"both": 4, "missed": 0, "invented": 0, "neither": 0},
        "3": {"both": 1, "missed": 1, "invented": 2, "neither": 0},
    },
    "confusion": {"0": {"0": 900, "1": 5}, "1": {"0": 4, "1": 90, "3": 6}, "3": {"1": 3, "3": 7}},
    "surface_tolerance_mm": 2.0,
}


def an_overlay(**changes) -> OverlayCase:
    rng = np.random.default_rng(0)
    labels = np.zeros((14, 16, 18), dtype=np.uint8)
    labels[3:9, 4:10, 5:12] = 1
    labels[5:7, 6:8, 7:9] = 3
    image = rng.normal(40, 30, labels.shape).astype(np.float32)
    case = OverlayCase("a", image, np.roll(labels, 1, 2), (3.0, 1.5, 1.5), labels, score=0.81)
    return replace(case, **changes)


def a_fingerprint() -> Fingerprint:
    return Fingerprint(
        spacings=((3.0, 1.0, 1.0),) * 4,
        shapes_after_crop=((40, 80, 80),) * 3 + ((38, 70, 82),),
        median_relative_size_after_cropping=1.0,
        foreground_intensities=(IntensityProperties(80, 82, 20, -10, 170, 5, 160),),
        dataset_hash="ab" * 32,
        intensity_histograms=(Histogram((0.0, 50.0, 100.0, 150.0), (0.2, 0.6, 0.2)),),
        class_voxel_fractions=((1, 0.05), (3, 0.001)),
    )


def a_plan() -> Plan:
    network = NetworkPlan("plain", (8, 16), ((3,) * 3,) * 2, ((1,) * 3, (2,) * 3), (2, 2), (2,))
    configuration = ConfigurationPlan(
        "3d_fullres", (3.0, 1.0, 1.0), (32, 64, 64), (40, 80, 80), 2, ("ct",),
        (False,), False, network,
    )  # fmt: skip
    return Plan(
        "plain", "plain", a_description(), (3.0, 1.0, 1.0), (40, 80, 80), (0, 1, 2), (0, 1, 2),
        {"3d_fullres": configuration}, a_fingerprint().foreground_intensities, ComputeTarget(8.0),
        recommended=("3d_fullres",),
        decisions=(Decision("Patch", "32 × 64 × 64", "the largest that fits"),),
    )  # fmt: skip


def a_calibration() -> CalibrationContent:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    found = {name: reliability(p, rng.random(p.size) < p**2) for name in ("liver", "lesion")}
    return CalibrationContent(found, found, 1.4, 4, 20_000)


def a_quality() -> QualityModel:
    rng = np.random.default_rng(1)
    entries = []
    for i in range(12):
        error = float(rng.uniform(0.05, 0.4))
        seen = StructureFeatures(10.0 + i, 0.1, 1 - error / 2, None, 1, 1.0, 0.0)
        name = f"case_{i}"
        entries.append(Observation(name, str(i % 3), "liver", seen, 1 - error, 9 * error, True))
    return fit_quality([*entries, replace(entries[0], structure="lesion")])


def a_selection() -> Selection:
    flat, solid = Member("plain", "2d", ("0",)), Member("plain", "3d_fullres", ("0",))
    step = PostprocessingStep("largest_component", ("liver",))
    return Selection(
        (solid,), "final",
        (ScoredCandidate((flat,), 0.6, {}), ScoredCandidate((solid,), 0.69, {}, (0.6, 0.78))),
        4, (step,),
        (
            TriedStep(step, True, 0.69, 0.7, {}, "the mean rises"),
            TriedStep(PostprocessingStep("largest_component_all"), False, 0.7, 0.65, {}, "falls"),
        ),
        dice=0.7,
    )  # fmt: skip
