"""The verbs `fingerprint`, `plan` and `preprocess`: all that comes before a training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import StopRequest
from ..domain.errors import UsageError
from ..domain.events import Reporter
from .flags import (
    DEVICE,
    PLANNER,
    WORKERS,
    add_configurations,
    add_dataset_and_project,
    add_flags,
    keywords,
    seconds,
)

if TYPE_CHECKING:
    from ..domain.plan import Plan


def add_fingerprint_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `fingerprint` takes."""
    add_dataset_and_project(parser)
    add_flags(parser, (WORKERS,))


def fingerprint(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Measures the training cases and prints where the fingerprint is."""
    from .. import pipeline

    pipeline.fingerprint(
        options.dataset, options.project, workers=options.workers, reporter=reporter
    )
    print(options.project / "fingerprint.json")
    return 0


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `plan` takes."""
    parser.add_argument("dataset", type=Path, nargs="?", metavar="DATASET")
    parser.add_argument("-p", "--project", type=Path)
    add_flags(parser, PLANNER)
    add_flags(parser, (DEVICE,))
    parser.add_argument("--time-budget", type=seconds, help="for one training, as 10m or 2h")
    parser.add_argument("--name", help="name of the plan in the project (default: the planner's)")
    parser.add_argument("--fingerprint", type=Path, help="plan from this file; needs no images")
    parser.add_argument("--dataset-json", type=Path, help="goes with --fingerprint")
    parser.add_argument("--format", choices=("selfseg", "nnunet"), default="selfseg")
    parser.add_argument("-o", "--output", type=Path, help="also write the plan to this file")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="in plain words, with the time and memory that training takes on this machine",
    )
    add_flags(parser, (WORKERS,))


def plan(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Plans and prints each decision with its reason."""
    if options.fingerprint is not None:
        return _plan_from_files(options)
    if options.dataset is None or options.project is None:
        raise UsageError(
            "nothing to plan for",
            expected="DATASET -p PROJECT, or --fingerprint F.json --dataset-json D.json",
            found="neither",
            cure="see `selfseg plan --help`",
        )
    from .. import pipeline

    plan = pipeline.plan(
        options.dataset,
        options.project,
        time_budget=options.time_budget,
        name=options.name,
        reporter=reporter,
        **keywords((*PLANNER, DEVICE, WORKERS), options),
    )
    if options.output is not None:
        from ..stages.plan_files import write_plan_file

        write_plan_file(options.output, plan, options.format)
    if options.explain:
        _explain(options, plan, reporter)
    else:
        for decision in plan.decisions:
            print(f"{decision.what}: {decision.value}\n    {decision.reason}")
    return 0


def _explain(options: argparse.Namespace, plan: Plan, reporter: Reporter) -> None:
    from ..io.datasets import open_dataset
    from ..io.project import Project
    from ..stages.explain import explain_plan

    project, data = Project.open(options.project), open_dataset(options.dataset)
    told = explain_plan(project, data, plan, device=options.device, reporter=reporter)
    reporter(told)
    if options.progress == "json":
        return
    for topic in told.topics:
        print(f"{topic['title']}\n    {topic['text']}")
    for configuration in told.configurations:
        print(
            f"{configuration['name']}: about {configuration['seconds_per_step']:.2g} s per step, "
            f"{_size(configuration['memory_bytes'])} of memory"
        )
    print(f"preprocessed cases: about {_size(told.disk_bytes)} on disk")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _plan_from_files(options: argparse.Namespace) -> int:
    from ..stages.plan_files import plan_from_files, write_plan_file

    if options.dataset_json is None or options.output is None:
        raise UsageError(
            "planning from a fingerprint needs the data set's description and a file to write",
            expected="--fingerprint F.json --dataset-json D.json -o plans.json",
            found="--dataset-json or -o is missing",
            cure="add it",
        )
    plan, fingerprint = plan_from_files(
        options.fingerprint, options.dataset_json, options.planner, options.memory_gb, options.name
    )
    write_plan_file(options.output, plan, options.format, fingerprint)
    print(options.output)
    return 0


def add_preprocess_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `preprocess` takes."""
    parser.add_argument("-p", "--project", type=Path, required=True)
    add_configurations(parser)
    parser.add_argument("--plan", help="name of a plan in the project")
    parser.add_argument(
        "--checkpoint",
        choices=("final", "best"),
        default="final",
        help="weights of a cascade's first stage, where it is trained, to predict with",
    )
    add_flags(parser, (DEVICE, WORKERS))


def preprocess(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Preprocesses a project's cases."""
    from .. import pipeline

    pipeline.preprocess(
        options.project,
        configurations=options.configuration,
        plan_name=options.plan,
        checkpoint=options.checkpoint,
        device=options.device,
        workers=options.workers,
        reporter=reporter,
        should_stop=stop,
    )
    return 0
