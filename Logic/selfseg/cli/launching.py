"""The verb `launch`: many trainings at once, here or on a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import StopRequest, duration
from ..domain.errors import Cancelled, UsageError
from ..domain.events import Event, Notice, Reporter
from .flags import (
    DEVICE,
    HOW,
    TRAINING,
    WORKERS,
    add_configurations,
    add_flags,
    add_folds,
    words,
)

if TYPE_CHECKING:
    from ..launch.jobs import JobResult

PLACES = ("local", "slurm", "ray")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `launch` takes."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="with a plan, see `plan`")
    add_configurations(parser, default="every configuration the plan recommends")
    add_folds(parser)
    parser.add_argument("--plan", help="name of a plan in the project")
    parser.add_argument("--on", choices=PLACES, default="local", help="this machine, or a cluster")
    parser.add_argument(
        "--slots",
        type=_count,
        help="trainings at a time on this machine (default: one per graphics card)",
    )
    parser.add_argument(
        "--gpus-per-job", type=int, help="default: 1, or none with --device cpu", metavar="N"
    )
    parser.add_argument("--cpus-per-job", type=_count, default=1, metavar="N", help="with ray")
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="of sbatch, as partition=gpu, time=12:00:00, mem=32G, cpus-per-task=8",
    )
    parser.add_argument("--ray-address", help="of a Ray cluster (default: RAY_ADDRESS, or start)")
    parser.add_argument(
        "--no-wait", action="store_true", help="with slurm: submit and return at once"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
    add_flags(parser, (*TRAINING, *HOW))


def launch(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Runs every training that is not done, and prints what failed and how to run it again."""
    from ..io.datasets import open_dataset
    from ..io.project import Project
    from ..launch.logs import LOG_FOLDER
    from ..launch.places import LAUNCHERS, Place
    from ..launch.trainings import jobs_for

    project = Project.open(options.project)
    on_cpu = options.device == "cpu"
    gpus = options.gpus_per_job
    if gpus is None:
        gpus = 0 if on_cpu else 1
    jobs = jobs_for(
        project,
        open_dataset(project.dataset_folder),
        project.read_plan(options.plan),
        options.configuration,
        options.fold,
        words=words((*TRAINING, *HOW), options),
        preparing_words=words((DEVICE, WORKERS), options),
        gpus=gpus,
        reporter=reporter,
    )
    if options.dry_run:
        for job in jobs:
            print(job.command)
        return 0
    place = Place(
        project.folder / LOG_FOLDER,
        use_gpus=gpus > 0,
        slots=options.slots,
        slurm=_pairs(options.slurm),
        wait=not options.no_wait,
        ray_address=options.ray_address,
        cpus=options.cpus_per_job,
    )
    if not jobs:
        return 0
    shown = reporter if options.progress == "json" else lines_of_jobs(reporter)
    results = LAUNCHERS[options.on](place).submit_all(jobs, shown, stop)
    if any(result.state == "stopped" for result in results) and stop():
        raise Cancelled("stopped as you asked", cure="give the same command again to go on")
    failed = [result for result in results if result.state not in ("done", "submitted")]
    if options.progress != "json":
        for result in failed:
            print(_how_it_failed(result))
        print(f"{len(results) - len(failed)} of {len(results)} jobs {_verb_of(options)}")
    return 1 if failed else 0


def lines_of_jobs(reporter: Reporter) -> Reporter:
    """A reporter for people: one line for what is worth one, with the name of the job."""

    def report(event: Event) -> None:
        from ..launch.events import JobEvent, JobFinished, JobStarted

        match event:
            case JobStarted():
                where = f" on {event.where}" if event.where else ""
                reporter(Notice(f"{event.job}: started{where}, log in {event.log}"))
            case JobEvent():
                line = _line(event.job, event.content)
                if line is not None:
                    reporter(line)
            case JobFinished():
                good = event.state in ("done", "submitted", "stopped")
                text = f"{event.job}: {event.state} after {duration(event.seconds)}"
                reporter(Notice(text, level="info" if good else "warning"))
            case _:
                reporter(event)

    return report


def _line(job: str, content: dict[str, Any]) -> Notice | None:
    kind = content["event"]
    if kind == "notice":
        return Notice(f"{job}: {content.get('text')}", level=content.get("level", "info"))
    if kind == "stage_finished" and content.get("detail"):
        return Notice(f"{job}: {content.get('stage')}: {content['detail']}")
    if kind != "epoch_finished":
        return None
    loss, left = content.get("train_loss"), content.get("eta_seconds")
    dice = content.get("mean_pseudo_dice")
    text = f"{job}: epoch {content.get('epoch', 0) + 1} of {content.get('epochs')}"
    text += "" if loss is None else f", loss {loss:.3f}"
    text += "" if dice is None else f", pseudo Dice {dice:.3f}"
    text += "" if left is None else f", {duration(left)} left"
    return Notice(text)


def _how_it_failed(result: JobResult) -> str:
    lines = "\n".join(f"    {line}" for line in result.message.splitlines())
    return (
        f"{result.job.name}: {result.state}\n{lines}\n"
        f"  log: {result.log}\n  run it again: {result.job.command}"
    )


def _verb_of(options: argparse.Namespace) -> str:
    return "submitted" if options.on == "slurm" and options.no_wait else "done"


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    for key in pairs:
        if not key:
            raise UsageError(
                "--slurm needs an option's name",
                expected="--slurm partition=gpu",
                found=" ".join(texts),
                cure="write --slurm NAME=VALUE for each, with the names of sbatch's options",
            )
    return pairs


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; at least 1")
    return number
