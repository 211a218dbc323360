"""From configurations and folds to jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.dataset import Dataset
from selfseg.domain.plan import Plan
from selfseg.io.datasets import open_dataset
from selfseg.io.project import FINAL_WEIGHTS, Project
from selfseg.launch.jobs import Job, check_jobs
from selfseg.launch.trainings import jobs_for

LOWRES, CASCADE = "3d_lowres", "3d_cascade_fullres"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Dataset, Plan]:
    folder = tmp_path_factory.mktemp("planned")
    data = make_small_dataset(folder / "data", cases=3)
    plan = pipeline.plan(data, folder / "p", workers=1)
    fullres = plan.configuration("3d_fullres")
    lowres = replace(fullres, name=LOWRES, spacing=tuple(2 * mm for mm in fullres.spacing))
    cascade = replace(fullres, name=CASCADE, previous_stage=LOWRES)
    configurations = {**plan.configurations, LOWRES: lowres, CASCADE: cascade}
    return (
        Project.open(folder / "p"),
        open_dataset(data),
        replace(plan, configurations=configurations),
    )


@pytest.fixture
def project(planned: tuple[Project, Dataset, Plan], tmp_path: Path) -> Project:
    """A project of its own, where trainings can be finished."""
    _, data, plan = planned
    made = Project.create(tmp_path / "p", data)
    made.write_plan(plan)
    return made


def finish(project: Project, configuration: str, *folds: str) -> None:
    for fold in folds:
        folder = project.run_folder("plain", configuration, fold)
        folder.mkdir(parents=True)
        (folder / FINAL_WEIGHTS).touch()


def needs(jobs: tuple[Job, ...]) -> dict[str, set[str]]:
    check_jobs(jobs)
    return {job.name: set(job.needs) for job in jobs}


def test_one_job_per_fold_after_one_that_preprocesses(
    project: Project, planned: tuple[Project, Dataset, Plan]
) -> None:
    _, data, plan = planned
    jobs = jobs_for(
        project, data, plan, ["3d_fullres", "2d"], "cv", words=("--epochs", "5"), gpus=1
    )
    first, *trainings = jobs
    assert first.arguments[:5] == ("preprocess", "-p", str(project.folder), "--plan", "plain")
    assert set(first.arguments[5:]) == {"-c", "3d_fullres", "2d"}
    assert first.gpus == 0
    assert [job.name for job in trainings] == [
        f"{c} fold {k}" for c in ("3d_fullres", "2d") for k in range(3)
    ]
    assert all(job.needs == (first.name,) for job in trainings)
    assert trainings[1].command == (
        f"selfseg train -p {project.folder} --plan plain -c 3d_fullres -f 1 --epochs 5"
    )


def test_several_cards_are_passed_on(
    project: Project, planned: tuple[Project, Dataset, Plan]
) -> None:
    _, data, plan = planned
    job = jobs_for(project, data, plan, ["2d"], "all", gpus=4)[-1]
    assert job.gpus == 4
    assert job.arguments[-2:] == ("--gpus", "4")


def test_what_is_trained_is_left_out(
    project: Project, planned: tuple[Project, Dataset, Plan]
) -> None:
    _, data, plan = planned
    finish(project, "2d", "0", "2")
    jobs = jobs_for(project, data, plan, ["2d"], "cv")
    assert [job.name for job in jobs] == ["preprocess 2d", "2d fold 1"]
    finish(project, "2d", "1")
    assert jobs_for(project, data, plan, ["2d"], "cv") == ()


def test_a_cascade_waits_for_every_fold_of_its_first_stage(
    project: Project, planned: tuple[Project, Dataset, Plan]
) -> None:
    _, data, plan = planned
    found = needs(jobs_for(project, data, plan, [CASCADE], "1"))
    images = f"preprocess {LOWRES} 3d_fullres"
    firsts = {f"{LOWRES} fold {k}" for k in range(3)}
    assert found == {
        images: set(),
        **{name: {images} for name in firsts},
        f"preprocess {CASCADE}": {images, *firsts},
        f"{CASCADE} fold 1": {f"preprocess {CASCADE}"},
    }
    finish(project, LOWRES, "0", "1")
    found = needs(jobs_for(project, data, plan, [LOWRES, CASCADE], "cv"))
    assert found[f"preprocess {CASCADE}"] == {images, f"{LOWRES} fold 2"}
    assert [name for name in found if name.startswith(CASCADE)] == [
        f"{CASCADE} fold {k}" for k in range(3)
    ]


def test_a_cascade_on_all_cases_needs_only_the_first_stage_on_all(
    project: Project, planned: tuple[Project, Dataset, Plan]
) -> None:
    _, data, plan = planned
    found = needs(jobs_for(project, data, plan, [CASCADE], "all"))
    assert found[f"preprocess {CASCADE}"] == {
        f"preprocess {LOWRES} 3d_fullres", f"{LOWRES} fold all",
    }  # fmt: skip
