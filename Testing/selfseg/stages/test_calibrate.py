from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from selfseg.domain.bundle import Calibration, Member
from selfseg.domain.labels import LabelScheme
from selfseg.stages.bundle import CardOptions, bundle_from_project
from selfseg.stages.calibrate import (
    CALIBRATION_FILE,
    SAMPLES_FILE,
    VOXELS_PER_CASE,
    LogitSampler,
    calibration_of,
    fit_configuration,
)
from selfseg.stages.learn import judge_fold

if TYPE_CHECKING:
    from conftest import CascadeProject

LOWRES = "3d_lowres"
LABELS = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 4, "ignore": 9})


def test_voxels_are_drawn_around_the_structures_and_never_where_ignored() -> None:
    reference = np.zeros((60, 60, 60), np.int16)
    reference[25:35, 25:35, 25:35] = 1
    reference[30, 30, 30:34] = 9
    logits = np.zeros((3, 60, 60, 60), np.float32)
    logits[0] = np.arange(60)[:, None, None]  # tells where a voxel was
    sampler = LogitSampler(LABELS)
    sampler.add("case", logits, reference)
    (found,), (truth,) = sampler.logits, sampler.truth
    assert found.shape == (VOXELS_PER_CASE, 3)
    assert found[:, 0].min() >= 15
    assert found[:, 0].max() <= 44
    assert set(truth.tolist()) == {0, 1}
    again = LogitSampler(LABELS)
    again.add("case", logits, reference)
    np.testing.assert_array_equal(again.logits[0], found)  # the name decides
    again.add("empty", logits, np.zeros_like(reference))
    assert len(again.logits) == 1


def test_judging_folds_fits_the_configuration(cascade_project: CascadeProject) -> None:
    project = cascade_project
    project.train(LOWRES, "0", "1", "all")
    member = Member("plain", LOWRES, ("0", "1"))
    assert calibration_of(project.home, (member,)) == Calibration()
    for fold in ("0", "all"):
        judge_fold(project.run(LOWRES, fold), mirror=False, checkpoint="final")
    folder = project.home.run_folder("plain", LOWRES, "0")
    assert (folder / SAMPLES_FILE).is_file()
    path = folder.parent / CALIBRATION_FILE
    first = json.loads(path.read_text())
    assert first["folds"] == ["0"]  # "all" has learned from what it is judged on
    judge_fold(project.run(LOWRES, "1"), mirror=False, checkpoint="final")
    both = json.loads(path.read_text())
    assert both["folds"] == ["0", "1"]
    assert both["loss_after"] <= both["loss_before"]
    found = calibration_of(project.home, (member,))
    assert found.temperature == both["temperature"] != 1
    assert "held-out cases, fold 0, 1" in found.fitted_on
    bundle, _ = bundle_from_project(project.home, CardOptions())
    assert bundle.members[0].configuration == LOWRES
    assert bundle.calibration == found
    # What was fitted to one configuration says nothing about the mean of two.
    other = Member("plain", "3d_fullres", ("0",))
    assert calibration_of(project.home, (member, other)) == Calibration()


def test_nothing_is_fitted_to_nothing(cascade_project: CascadeProject) -> None:
    project = cascade_project
    project.train(LOWRES, "0")
    assert fit_configuration(project.home, project.plan, LOWRES) is None
    sampler = LogitSampler(project.plan.description.labels)
    sampler.write(project.home.run_folder("plain", LOWRES, "0"))
    assert not list(project.home.folder.rglob(SAMPLES_FILE))


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_regions_are_fitted_too(cascade_project: CascadeProject, temperature: float) -> None:
    """Regions and an ignore label: logits that are too sure, or not sure enough."""
    project, generator = cascade_project, np.random.default_rng(0)
    project.train(LOWRES, "0")
    scheme = project.plan.description.labels
    assert scheme.has_regions
    reference = generator.integers(1, 3, (40, 40, 40)).astype(np.int16)
    inside = np.stack([np.isin(reference, label.values) for label in scheme.foreground])
    noisy = inside ^ (generator.random(inside.shape) < 0.2)
    sure = np.log(0.8 / 0.2) * temperature
    logits = np.where(noisy, sure, -sure).astype(np.float32)
    sampler = LogitSampler(scheme)
    sampler.add("case", logits, reference)
    sampler.write(project.home.run_folder("plain", LOWRES, "0"))
    fitted = fit_configuration(project.home, project.plan, LOWRES)
    assert fitted is not None
    assert fitted.temperature == pytest.approx(temperature, rel=0.1)
