"""The simulated cluster of benchmarks/: what must be true of any number of GPUs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def events() -> ModuleType:
    return load("discrete_events")


@pytest.fixture(scope="module")
def cluster() -> ModuleType:
    return load("cluster_simulation")


def study_tasks(cluster: ModuleType, *, shards: int = 0, cascade: bool = False) -> tuple:
    plan = cluster.example_plan(50)
    dataset = cluster.example_dataset(plan, 50)
    names = cluster.EVERY if cascade else cluster.CONFIGURATIONS
    seconds = {
        name: 60.0 * i
        for i, name in enumerate(("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"), 1)
    }
    durations = cluster.Durations(10, seconds, seconds, seconds)
    return cluster.tasks_of(
        cluster.launched_jobs(dataset, plan, names), dataset, durations, shards=shards
    )


def test_one_gpu_takes_the_sum(events: ModuleType) -> None:
    tasks = [events.Task("a", 5), events.Task("b", 7, ("a",)), events.Task("c", 11)]
    assert events.simulate(tasks, 1).makespan == 23


@pytest.mark.parametrize("cascade", [False, True])
def test_many_gpus_take_the_critical_path(
    events: ModuleType, cluster: ModuleType, cascade: bool
) -> None:
    tasks = study_tasks(cluster, shards=4, cascade=cascade)
    longest = sum(task.seconds for task in events.critical_path(tasks))
    assert events.simulate(tasks, 10_000).makespan == pytest.approx(longest)


@pytest.mark.parametrize("shards", [0, 7])
def test_more_gpus_are_never_slower_without_failures(
    events: ModuleType, cluster: ModuleType, shards: int
) -> None:
    tasks = study_tasks(cluster, shards=shards)
    spans = [events.simulate(tasks, count).makespan for count in (1, 2, 4, 8, 15, 16, 32, 256)]
    assert spans == sorted(spans, reverse=True)


def test_no_task_begins_before_those_it_needs(events: ModuleType, cluster: ModuleType) -> None:
    tasks = study_tasks(cluster, cascade=True)
    ends = events.simulate(tasks, 3, failures=events.Failures(per_hour=0.5), seed=4).ends
    assert set(ends) == {task.name for task in tasks}
    for task in tasks:
        ready = max((ends[name] for name in task.needs), default=0)
        assert ends[task.name] >= ready + task.seconds - 1e-6


def test_never_more_gpus_than_there_are(events: ModuleType) -> None:
    tasks = [events.Task(f"t{i}", 10 + i, gpus=1 + i % 2) for i in range(20)]
    outcome = events.simulate(tasks, 3)
    begun = [(outcome.ends[t.name] - t.seconds, outcome.ends[t.name], t.gpus) for t in tasks]
    for moment, _, _ in begun:
        assert sum(gpus for start, end, gpus in begun if start <= moment < end) <= 3


def test_failures_come_from_the_seed_alone(events: ModuleType, cluster: ModuleType) -> None:
    tasks, often = study_tasks(cluster), events.Failures(per_hour=2.0)
    first = events.simulate(tasks, 4, failures=often, seed=1)
    assert events.simulate(tasks, 4, failures=often, seed=1) == first
    assert events.simulate(tasks, 4, failures=often, seed=2) != first
    assert events.simulate(tasks, 8, failures=often, seed=1).failures == first.failures > 0


def test_a_training_goes_on_where_it_saved(events: ModuleType) -> None:
    often = events.Failures(per_hour=1.0, saved_every=60, delay=0)
    begins = [events.Task("t", 36_000.0, saves=saves) for saves in (True, False)]
    saved, again = (events.simulate([task], 1, failures=often, seed=3) for task in begins)
    assert saved.makespan == pytest.approx(36_000 + saved.lost_seconds)
    assert saved.lost_seconds < 60 * saved.failures
    assert again.makespan > 2 * saved.makespan


def test_a_circle_is_an_error(events: ModuleType) -> None:
    circle = [events.Task("a", 1, ("b",)), events.Task("b", 1, ("a",))]
    with pytest.raises(ValueError, match="circle"):
        events.simulate(circle, 1)
    with pytest.raises(ValueError, match="GPUs"):
        events.simulate([events.Task("a", 1, gpus=2)], 1)


def test_the_jobs_are_those_of_launch(cluster: ModuleType) -> None:
    plan = cluster.example_plan(50)
    jobs = cluster.launched_jobs(cluster.example_dataset(plan, 50), plan, cluster.EVERY)
    kinds = [job.arguments[0] for job in jobs]
    assert kinds.count("train") == 20
    assert kinds.count("preprocess") == 2
    cascades = [job for job in jobs if job.name.startswith("3d_cascade_fullres fold")]
    assert {job.needs for job in cascades} == {("preprocess 3d_cascade_fullres",)}
