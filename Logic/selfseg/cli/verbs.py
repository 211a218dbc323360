"""The verbs `demo`, `check` and `evaluate`: to look around, at data, and at results."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ..console import StopRequest, printable
from ..domain.events import Reporter
from ..domain.wording import counted
from .commands import program, runnable
from .flags import DEVICE, WORKERS, add_flags, millimetres, seconds


def add_demo_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `demo` takes."""
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--time-budget", type=seconds, default=180.0, help="training (default 3m)")
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    add_flags(parser, (DEVICE,))


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


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `check` takes."""
    parser.add_argument("dataset", type=Path, metavar="DATASET")


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


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `evaluate` takes."""
    parser.add_argument("reference", type=Path, metavar="REFERENCE_DIR")
    parser.add_argument("prediction", type=Path, metavar="PREDICTION_DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, help="scores.json")
    parser.add_argument(
        "--dataset-json", type=Path, help="names the structures and regions (default: the files)"
    )
    parser.add_argument(
        "--tolerance",
        type=millimetres,
        default=2.0,
        metavar="MM",
        help="of surface Dice (default 2)",
    )
    add_flags(parser, (WORKERS,))


def evaluate(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Writes scores and prints their mean."""
    from .. import pipeline
    from ..evaluate.metrics import METRICS
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
    for metric in METRICS:
        if metric.title:
            mean = scores.mean_foreground(metric.name)
            title = metric.title.format(tolerance=options.tolerance)
            print(f"{title}: {'undefined' if mean is None else f'{mean:.4f}'}")
    return 0
