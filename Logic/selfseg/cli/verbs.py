"""The verbs: each calls its function of the pipeline and prints the result."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING

from ..console import StopRequest, printable
from ..domain.errors import UsageError
from ..domain.events import Reporter
from ..domain.wording import counted
from .commands import program, runnable
from .flags import DEVICE, HOW, PLANNER, TRAIN, TRAINING, WORKERS, keywords, words

if TYPE_CHECKING:
    from ..domain.plan import Plan
    from ..io.project import Project


def demo(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Makes data, trains, tests and reports."""
    from ..demo.run import run_demo

    result = run_demo(
        options.output,
        budget=options.time_budget,
        device=options.device,
        reporter=reporter,
        should_stop=stop,
    )
    print(result.summary)
    project = shlex.quote(str(result.project))
    print(f"segment more: {program()} predict -m {project} -i IMAGES -o FOLDER")
    if options.open:
        import webbrowser

        webbrowser.open(result.report.as_uri())
    return 0


def check(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Prints every fault of a data set."""
    from .. import pipeline

    faults = pipeline.check(options.dataset, reporter=reporter)
    errors = [fault for fault in faults if fault.severity == "error"]
    for fault in faults:
        told = (
            f"{fault.severity}: {fault.path}: {fault.what} [{fault.kind}]\n"
            f"  expected: {fault.expected}\n  found: {fault.found}\n  what to do: {fault.cure}"
        )
        print(printable(runnable(told)))
    warnings = counted(len(faults) - len(errors), "warning")
    print(f"{options.dataset}: {counted(len(errors), 'error')}, {warnings}")
    return 1 if errors else 0


def fingerprint(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Measures the training cases and prints where the fingerprint is."""
    from .. import pipeline

    pipeline.fingerprint(
        options.dataset, options.project, workers=options.workers, reporter=reporter
    )
    print(options.project / "fingerprint.json")
    return 0


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


def train(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Trains one fold of one configuration, in one process or in several."""
    if options.gpus > 1:
        from ..train.torchrun import run_ranks

        own = ("-p", str(options.project), "-c", options.configuration, "-f", options.fold)
        given = words((*TRAIN, *TRAINING, *HOW), options)
        if options.stop_on_stdin_close:
            given = ("--stop-on-stdin-close", *given)
        run_ranks(options.gpus, ("train", *own, "--progress", options.progress, *given))
        return 0
    from .. import pipeline
    from ..stages.learn import TrainingOptions

    pipeline.train(
        options.project,
        configuration=options.configuration,
        fold=options.fold,
        options=TrainingOptions(**keywords(HOW, options)),
        reporter=reporter,
        should_stop=stop,
        **keywords((*TRAIN, *TRAINING), options),
    )
    return 0


def evaluate(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Writes scores and prints their mean."""
    from .. import pipeline
    from ..io.json_files import write_plain_json

    scores = pipeline.evaluate(
        options.reference,
        options.prediction,
        dataset_json=options.dataset_json,
        tolerance_mm=options.tolerance,
        workers=options.workers,
        reporter=reporter,
    )
    write_plain_json(options.output, scores.as_mapping())
    for name, title in (
        ("Dice", "mean foreground Dice"),
        ("HD95", "mean HD95 (mm)"),
        ("SurfaceDice", f"mean surface Dice at {options.tolerance:g} mm"),
    ):
        mean = scores.mean_foreground(name)
        print(f"{title}: {'undefined' if mean is None else f'{mean:.4f}'}")
    return 0


def run(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Does everything in order and prints how good it is and where the report lies."""
    from .. import pipeline
    from ..stages.learn import TrainingOptions

    project = pipeline.run(
        options.dataset,
        options.project,
        configurations=options.configuration,
        folds=options.fold,
        plan_name=options.plan,
        time_budget=options.time_budget,
        checkpoint=options.checkpoint,
        options=TrainingOptions(**keywords(HOW, options)),
        reporter=reporter,
        should_stop=stop,
        started=options.started,
        **keywords((*PLANNER, *TRAINING), options),
    )
    if options.install:
        from ..io.library_folder import default_library
        from ..registry.library import Library
        from ..stages.finish import install_best

        install_best(
            project.folder,
            Library(options.library or default_library()),
            name=options.model_name,
            checkpoint=options.checkpoint,
            device=options.device,
            workers=options.workers,
            reporter=reporter,
            should_stop=stop,
        )
    if options.progress == "json":
        print(json.dumps({"project": str(project.folder), "report": str(project.report_file)}))
    else:
        print(printable(_result(project)))
    return 0


def _result(project: Project) -> str:
    """How good it is, where that can be seen, and how to go on."""
    from ..io.json_files import read_plain_json

    numbers = read_plain_json(project.report_file.with_suffix(".json"))
    mean, scored_on = numbers["mean_dice"], numbers["scored_on"]
    return (
        (
            "no held-out case was scored: nothing is known about the quality yet\n"
            if mean is None
            else f"mean Dice {mean:.3f} on {scored_on}\n"
        )
        + f"report: {project.report_file.as_uri()}\n"
        + f"segment more: {program()} predict -m {shlex.quote(str(project.folder))} "
        + "-i IMAGES -o FOLDER"
    )
