"""The verbs `train` and `run`: one fold, and everything in order."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import StopRequest, printable
from ..domain.events import Reporter
from .commands import program
from .flags import (
    CHECKPOINT,
    HOW,
    PLANNER,
    TRAIN,
    TRAINING,
    WHOLE_BUDGET,
    add_configurations,
    add_dataset_and_project,
    add_flags,
    add_folds,
    count,
    keywords,
    words,
)

if TYPE_CHECKING:
    from ..io.project import Project


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `train` takes."""
    parser.add_argument("-p", "--project", type=Path, required=True)
    parser.add_argument("-c", "--configuration", required=True)
    parser.add_argument("-f", "--fold", required=True, help="0, 1, ... or all")
    parser.add_argument(
        "--gpus", type=count, default=1, metavar="N", help="graphics cards that train together"
    )
    add_flags(parser, (*TRAIN, *TRAINING, *HOW))


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


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `run` takes."""
    add_dataset_and_project(parser)
    add_configurations(parser, default="every configuration the plan recommends")
    add_folds(parser)
    parser.add_argument("--plan", help="use this plan of the project as it stands")
    add_flags(parser, (WHOLE_BUDGET, CHECKPOINT))
    parser.add_argument(
        "--install",
        action="store_true",
        help="then choose the best model, see `select`, and take it into the library",
    )
    parser.add_argument("--model-name", metavar="NAME", help="in the library (default: the data's)")
    parser.add_argument(
        "--library", type=Path, metavar="DIR", help="folder of the library (default: the user's)"
    )
    add_flags(parser, PLANNER)
    add_flags(parser, (*TRAINING, *HOW))


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
