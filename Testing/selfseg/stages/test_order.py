"""Which trainings a command needs, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import pytest

from selfseg.domain.errors import PlanError, UsageError
from selfseg.stages.order import Training, trainings_in_order

if TYPE_CHECKING:
    from conftest import CascadeProject

LOWRES, FULLRES, CASCADE = "3d_lowres", "3d_fullres", "3d_cascade_fullres"
FOLDS = ("0", "1", "2")


def order(project: CascadeProject, wanted: Sequence[str], folds: str) -> list[tuple[str, str]]:
    found = trainings_in_order(
        project.home, project.dataset, project.plan, wanted, folds, reporter=project.told.append
    )
    assert all(isinstance(entry, Training) for entry in found)
    return [(entry.configuration, entry.fold) for entry in found]


def test_cross_validation_trains_the_first_stage_before_the_second(
    cascade_project: CascadeProject,
) -> None:
    assert order(cascade_project, (), "cv") == [
        *product(("2d", LOWRES, FULLRES), FOLDS), *product([CASCADE], FOLDS),
    ]  # fmt: skip
    assert order(cascade_project, [CASCADE, LOWRES], "cv") == [
        *product([LOWRES], FOLDS), *product([CASCADE], FOLDS),
    ]  # fmt: skip
    assert cascade_project.notices == ""


def test_a_cascade_asked_for_by_name_brings_what_is_missing(
    cascade_project: CascadeProject,
) -> None:
    wanted = [(LOWRES, "0"), (LOWRES, "1"), (LOWRES, "2"), (CASCADE, "1")]
    assert order(cascade_project, [CASCADE], "1") == wanted
    assert "fold 0, 1, 2 of 3d_lowres is trained first" in cascade_project.notices
    assert order(cascade_project, [LOWRES, CASCADE], "1") == [
        (LOWRES, "1"), (LOWRES, "0"), (LOWRES, "2"), (CASCADE, "1"),
    ]  # fmt: skip
    cascade_project.train(LOWRES, "0", "2")
    cascade_project.told.clear()
    # Folds 0 and 2 are trained and not judged: that is made up for.
    assert order(cascade_project, [CASCADE], "1") == wanted
    assert "fold 1 of 3d_lowres is trained first" in cascade_project.notices
    for fold in FOLDS:
        folder = cascade_project.home.run_folder("plain", LOWRES, fold)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "validation.json").write_text("{}")
    assert order(cascade_project, [CASCADE], "1") == [(LOWRES, "1"), (CASCADE, "1")]


def test_a_recommended_cascade_is_left_out_of_a_single_fold(
    cascade_project: CascadeProject,
) -> None:
    assert order(cascade_project, (), "0") == [(n, "0") for n in ("2d", LOWRES, FULLRES)]
    assert "3d_cascade_fullres is left out" in cascade_project.notices
    assert "fold 1, 2 is neither trained nor asked for" in cascade_project.notices
    cascade_project.train(LOWRES, "1", "2")
    assert (CASCADE, "0") in order(cascade_project, (), "0")


def test_fold_all_needs_the_first_stage_of_fold_all(cascade_project: CascadeProject) -> None:
    assert order(cascade_project, [CASCADE], "all") == [(LOWRES, "all"), (CASCADE, "all")]


def test_what_is_no_fold_or_configuration_is_refused(cascade_project: CascadeProject) -> None:
    with pytest.raises(UsageError, match="is no fold"):
        order(cascade_project, (), "first")
    with pytest.raises(PlanError, match="no configuration"):
        order(cascade_project, ["4d"], "0")
