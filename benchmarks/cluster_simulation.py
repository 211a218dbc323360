"""A cross-validation on a cluster, simulated: how long, how busy, and where more GPUs stop helping.

    python benchmarks/cluster_simulation.py                     # benchmarks/scaling/cluster.json
    python benchmarks/cluster_simulation.py --seconds-per-epoch 2d=20 3d_fullres=60 --failures 0

The jobs and what each waits for are those that `selfseg launch` would submit
(`launch.trainings.jobs_for`), here for 1,000 cases, five folds and three configurations. `launch`
ends with the trainings; what comes after (the folds judged on the cases they have not seen, and
the selection) is what `selfseg run` does then: one process, one case after the other. `--shards N`
says what it would take if N jobs of each training did that beside each other, which the product
does not do.

Which durations were measured and which are assumed is in `cluster_durations`.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster_durations import (
    PUBLISHED_EPOCH,
    SOURCES,
    Durations,
    predict_seconds,
    seconds_per_large_case,
)
from discrete_events import Failures, Task, critical_path, simulate

from selfseg.crossvalidate.splits import splits_of
from selfseg.domain.dataset import CaseFiles, Dataset, DatasetDescription
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import Plan
from selfseg.io.project import Project
from selfseg.launch.jobs import Job
from selfseg.launch.trainings import jobs_for
from selfseg.plan.planner import make_plan

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "scaling" / "cluster.json"
CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")
CASCADE = "3d_cascade_fullres"
GPUS = (1, 2, 4, 8, 12, 15, 16, 32, 64, 128, 256)
EVERY = (*CONFIGURATIONS, CASCADE)
HELPS = 0.01
"""More GPUs help where they save at least this share of the time."""


def example_plan(cases: int) -> Plan:
    """The plan for CT scans of 1 x 0.8 x 0.8 mm and 300 x 512 x 512 voxels."""
    channel = IntensityProperties(0.0, 0.0, 100.0, -1000.0, 1000.0, -900.0, 900.0)
    fingerprint = Fingerprint(
        ((1.0, 0.8, 0.8),) * cases, ((300, 512, 512),) * cases, 1.0, (channel,)
    )
    labels = LabelScheme((Label("organ", (1,)), Label("lesion", (2,))))
    return make_plan(fingerprint, DatasetDescription("Simulated", ("CT",), labels))


def example_dataset(plan: Plan, cases: int) -> Dataset:
    """As many cases by name; there are no files."""
    folder = Path("images")
    names = [f"case{i:07d}" for i in range(cases)]
    files = tuple(CaseFiles(n, (folder / f"{n}_0000.nii.gz",), folder / f"{n}.nii.gz") for n in names)  # fmt: skip  # noqa: E501
    return Dataset(folder, plan.description, files)


def launched_jobs(dataset: Dataset, plan: Plan, configurations: Sequence[str]) -> tuple[Job, ...]:
    """What `selfseg launch -f cv` would submit for a new project."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project.create(Path(folder) / "project", dataset)
        return jobs_for(project, dataset, plan, configurations, "cv")


def tasks_of(
    jobs: Sequence[Job], dataset: Dataset, durations: Durations, *, shards: int = 0
) -> tuple[Task, ...]:
    """The launched jobs with their durations, and what follows them.

    Args:
        jobs: of `launch`.
        dataset: knows how many cases each fold holds out.
        durations: of everything.
        shards: jobs per training that judge its fold; 0: one process judges all, as `run`.
    """
    cases = len(dataset.cases)
    tasks = [Task("plan", durations.plan_seconds(cases), gpus=0)]
    judged: list[tuple[str, float]] = []
    for job in jobs:
        words = list(job.arguments)
        names = [words[i + 1] for i, word in enumerate(words) if word == "-c"]
        needs = job.needs or ("plan",)
        if words[0] == "train":
            seconds = durations.training_seconds(names[0])
            fold = int(words[words.index("-f") + 1])
            held_out = len(splits_of(dataset)[fold].validation)
            judged.append((job.name, held_out * durations.predict_seconds[names[0]]))
        elif job.gpus:  # the first stage's predictions for a cascade, of every case
            seconds = cases * durations.predict_seconds["3d_lowres"]
        else:
            seconds = sum(durations.preparing_seconds(name, cases) for name in names)
        tasks.append(Task(job.name, seconds, needs, job.gpus, saves=words[0] == "train"))
    ends = []
    if shards:
        for name, seconds in judged:
            for shard in range(shards):
                part = Task(f"judge {name} part {shard}", seconds / shards, (name,))
                tasks.append(part)
                ends.append(part.name)
    else:
        every = tuple(name for name, _ in judged)
        tasks.append(Task("judge all folds", sum(seconds for _, seconds in judged), every))
        ends.append("judge all folds")
    select = cases * len(judged) / len(splits_of(dataset)) * durations.score_seconds
    select /= durations.workers
    tasks.append(Task("select", select, tuple(ends), gpus=0))
    return tuple(tasks)


def study(
    tasks: Sequence[Task], gpus: Sequence[int], failures: Failures, seed: int
) -> dict[str, Any]:
    """The same tasks on more and more GPUs."""
    rows = []
    for count in gpus:
        outcome = simulate(tasks, count, failures=failures, seed=seed)
        rows.append(
            {
                "gpus": count,
                "makespan_hours": round(outcome.makespan / 3600, 2),
                "gpu_hours": round(outcome.gpu_seconds / 3600, 2),
                "utilisation": round(outcome.gpu_seconds / (count * outcome.makespan), 3),
                "failures": outcome.failures,
                "lost_gpu_hours": round(outcome.lost_seconds / 3600, 2),
            }
        )
    best = min(row["makespan_hours"] for row in rows)
    enough = next(row["gpus"] for row in rows if row["makespan_hours"] <= best * (1 + HELPS))
    path = critical_path(tasks)
    length = sum(task.seconds for task in path)
    return {
        "rows": rows,
        "enough_gpus": enough,
        "critical_path": [
            {"task": task.name, "hours": round(task.seconds / 3600, 2)} for task in path
        ],
        "critical_path_hours": round(length / 3600, 2),
    }


def main() -> int:
    """Simulates, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument(
        "--seconds-per-epoch", nargs="+", default=[], metavar="CONFIGURATION=S", help="your own"
    )
    parser.add_argument(
        "--predict-seconds", nargs="+", default=[], metavar="CONFIGURATION=S", help="of a case"
    )
    parser.add_argument(
        "--failures", type=float, default=0.002, help="of a job per hour it runs (default 0.002)"
    )
    parser.add_argument("--workers", type=int, default=16, help="cores that preprocess")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--shards", type=int, default=16, help="in the study with shards")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--measured", type=Path, default=HERE / "scaling" / "scaling.json")
    options = parser.parse_args()
    plan = example_plan(options.cases)
    dataset = example_dataset(plan, options.cases)
    epochs = _changed(dict.fromkeys(EVERY, PUBLISHED_EPOCH), options.seconds_per_epoch)
    guessed = {name: predict_seconds(plan, name, epochs[name]) for name in EVERY}
    fingerprint, preprocess = seconds_per_large_case(options.measured)
    durations = Durations(
        options.epochs,
        epochs,
        _changed(guessed, options.predict_seconds),
        preprocess,
        fingerprint,
        workers=options.workers,
    )
    failures = Failures(per_hour=options.failures, saved_every=_saving_seconds(durations))
    studies: dict[str, Any] = {}
    for name, configurations, shards in (
        ("three configurations", CONFIGURATIONS, 0),
        ("three configurations, judging in shards", CONFIGURATIONS, options.shards),
        ("with the cascade", EVERY, 0),
    ):
        jobs = launched_jobs(dataset, plan, configurations)
        tasks = tasks_of(jobs, dataset, durations, shards=shards)
        found = study(tasks, options.gpus, failures, options.seed)
        found["trainings"] = sum(job.arguments[0] == "train" for job in jobs)
        studies[name] = found
        _print(name, found)
    content = {
        "cases": options.cases,
        "durations": asdict(durations),
        "sources": SOURCES,
        "failures_per_hour": options.failures,
        "seed": options.seed,
        "studies": studies,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _saving_seconds(durations: Durations) -> float:
    """A training saves after every epoch; the longest of them counts."""
    return max(durations.epoch_seconds.values())


def _changed(known: Mapping[str, float], words: Sequence[str]) -> dict[str, float]:
    changed = dict(known)
    for word in words:
        name, _, seconds = word.partition("=")
        if name not in changed or not seconds or not math.isfinite(float(seconds)):
            raise SystemExit(f"{word}: write CONFIGURATION=SECONDS, one of {', '.join(changed)}")
        changed[name] = float(seconds)
    return changed


def _print(name: str, found: Mapping[str, Any]) -> None:
    print(f"\n{name}: {found['trainings']} trainings")
    print(f"{'GPUs':>5} {'hours':>8} {'busy':>6} {'failures':>9}")
    for row in found["rows"]:
        print(
            f"{row['gpus']:>5} {row['makespan_hours']:>8.1f} {row['utilisation']:>6.1%}"
            f" {row['failures']:>9}"
        )
    steps = ", ".join(f"{step['task']} {step['hours']:g} h" for step in found["critical_path"])
    print(f"enough: {found['enough_gpus']} GPUs; the critical path is {steps}")


if __name__ == "__main__":
    raise SystemExit(main())
