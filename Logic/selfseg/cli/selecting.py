"""The verbs `crossvalidate`, `select` and `report`: from folds to the model one can trust."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console import StopRequest
from ..domain.events import Reporter
from ..domain.selection import Selection
from .flags import (
    CHECKPOINT,
    DEVICE,
    HOW,
    TRAINING,
    WHOLE_BUDGET,
    WORKERS,
    add_configurations,
    add_flags,
    keywords,
)


def add_crossvalidate_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `crossvalidate` takes."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="with a plan, see `plan`")
    add_configurations(parser, default="every configuration the plans recommend")
    parser.add_argument(
        "--plan", action="append", default=[], help="default: every plan of the project"
    )
    add_flags(parser, (WHOLE_BUDGET, CHECKPOINT, *TRAINING, *HOW))


def crossvalidate(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Trains and judges every fold and prints how to go on."""
    from .. import pipeline
    from ..stages.learn import TrainingOptions

    project = pipeline.crossvalidate(
        options.project,
        plans=options.plan,
        configurations=options.configuration,
        time_budget=options.time_budget,
        checkpoint=options.checkpoint,
        options=TrainingOptions(**keywords(HOW, options)),
        reporter=reporter,
        should_stop=stop,
        started=options.started,
        **keywords(TRAINING, options),
    )
    if options.progress != "json":
        print(f"now choose the best model: selfseg select {project.folder}")
    return 0


def add_select_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `select` takes."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="see `crossvalidate`")
    parser.add_argument(
        "--plan", action="append", default=[], help="that competes (default: all of the project)"
    )
    add_flags(parser, (CHECKPOINT,))
    parser.add_argument(
        "--no-pairs", action="store_true", help="let only single configurations compete"
    )
    parser.add_argument(
        "--no-refinements",
        action="store_true",
        help="try nnU-Net's own postprocessing only, and decide as it does",
    )
    parser.add_argument(
        "--atlas",
        action="store_true",
        help="also try label fusion of registered training cases; minutes per case",
    )
    add_flags(parser, (DEVICE, WORKERS))


def select(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Chooses and prints what competed."""
    from .. import pipeline
    from ..stages.select import SelectOptions

    selection = pipeline.select(
        options.project,
        SelectOptions(
            plans=tuple(options.plan),
            pairs=not options.no_pairs,
            refinements=not options.no_refinements,
            checkpoint=options.checkpoint,
            atlas=options.atlas,
        ),
        reporter=reporter,
        should_stop=stop,
        **keywords((DEVICE, WORKERS), options),
    )
    if options.progress != "json":
        print("\n".join(lines_of(selection)))
    return 0


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Arguments of `report`."""
    parser.add_argument("project", type=Path, metavar="PROJECT", help="trained, at least in part")
    parser.add_argument("--plan", help="name of the plan to report on (default: the first)")


def report(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Writes the report anew and prints where it is."""
    from .. import pipeline

    print(pipeline.report(options.project, plan_name=options.plan, reporter=reporter))
    return 0


def lines_of(selection: Selection) -> list[str]:
    """The result as a table for people; the chosen candidate is marked."""
    width = max(len(candidate.name) for candidate in selection.candidates)
    lines = [f"  {'':{width}}  Dice    95% interval"]
    for candidate in selection.candidates:
        mark = ">" if candidate.members == selection.members else " "
        lines.append(
            f"{mark} {candidate.name:{width}}  {_number(candidate.dice)}",
        )
        if candidate.interval is not None:
            lines[-1] += "  {:.4f} to {:.4f}".format(*candidate.interval)
    for trial in selection.tested:
        if trial.kept:
            names = ", ".join(trial.step.structures) or "all structures"
            lines.append(
                f"+ {trial.step.kind} of {names}: {_number(trial.before)} -> {_number(trial.after)}"
            )
    if selection.atlas is not None:
        lines.append(
            f"+ {len(selection.atlas.cases)} training cases vote as atlases when the project "
            "predicts; a bundle leaves them out"
        )
    lines.append(f"selected, on {selection.cases} held-out cases: Dice {_number(selection.dice)}")
    return lines


def _number(value: float | None) -> str:
    return "  --  " if value is None else f"{value:.4f}"
