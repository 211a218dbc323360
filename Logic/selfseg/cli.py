"""The command line: one verb per stage. Arguments in, progress events out.

Nothing heavy is imported before a verb runs, so that `selfseg --help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .console import JsonLines, StopRequest, TerminalBars
from .domain.errors import SelfsegError, UsageError
from .domain.events import Reporter

PLANNER_NAMES = ("plain", "resenc_m", "resenc_l", "resenc_xl")
DEVICES = ("auto", "cpu", "cuda", "mps")

Verb = Callable[[argparse.Namespace, Reporter, StopRequest], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0 done, 1 something is wrong with data, project or model (faults
        found by `check` too), 2 wrong usage, 130 stopped.
    """
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    options.started = started
    display = JsonLines() if options.progress == "json" else TerminalBars()
    stop = StopRequest()
    stop.install(watch_stdin=options.stop_on_stdin_close)
    verb: Verb = options.verb
    try:
        status = verb(options, stop.checking(display), stop)
    except SelfsegError as error:
        display.close()
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        display.close()
        sys.stderr.write("stopped; give the same command again to go on from here\n")
        return 130
    display.close()
    return status


def seconds(text: str) -> float:
    """Reads a duration: "90", "90s", "10m", "2h", "3d", "1h30m".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip().lower())
    total = sum(float(number) * units[unit] for number, unit in parts)
    if "".join(n + u for n, u in parts) != text.strip().lower() or total <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 90s, 10m, 2h or 1h30m")
    return total


def _demo(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from .demo.run import run_demo

    result = run_demo(
        options.output,
        budget=options.time_budget,
        device=options.device,
        reporter=reporter,
        should_stop=stop,
    )
    print(result.summary)
    if options.open:
        import webbrowser

        webbrowser.open(result.report.as_uri())
    return 0


def _check(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    faults = pipeline.check(options.dataset, reporter=reporter)
    errors = [fault for fault in faults if fault.severity == "error"]
    for fault in faults:
        print(
            f"{fault.severity}: {fault.path}: {fault.what} [{fault.kind}]\n"
            f"  expected: {fault.expected}\n  found: {fault.found}\n  what to do: {fault.cure}"
        )
    warnings = len(faults) - len(errors)
    print(f"{options.dataset}: {len(errors)} errors, {warnings} warnings")
    return 1 if errors else 0


def _fingerprint(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    pipeline.fingerprint(
        options.dataset, options.project, workers=options.workers, reporter=reporter
    )
    print(options.project / "fingerprint.json")
    return 0


def _plan(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    if options.fingerprint is not None:
        return _plan_from_files(options)
    if options.dataset is None or options.project is None:
        raise UsageError(
            "nothing to plan for",
            expected="DATASET -p PROJECT, or --fingerprint F.json --dataset-json D.json",
            found="neither",
            cure="see `selfseg plan --help`",
        )
    from . import pipeline

    plan = pipeline.plan(
        options.dataset,
        options.project,
        planner=options.planner,
        memory_gb=options.memory,
        device=options.device,
        time_budget=options.time_budget,
        name=options.name,
        workers=options.workers,
        reporter=reporter,
    )
    if options.output is not None:
        from .stages.plan_files import write_plan_file

        write_plan_file(options.output, plan, options.format)
    for decision in plan.decisions:
        print(f"{decision.what}: {decision.value}\n    {decision.reason}")
    return 0


def _plan_from_files(options: argparse.Namespace) -> int:
    from .stages.plan_files import plan_from_files, write_plan_file

    if options.dataset_json is None or options.output is None:
        raise UsageError(
            "planning from a fingerprint needs the data set's description and a file to write",
            expected="--fingerprint F.json --dataset-json D.json -o plans.json",
            found="--dataset-json or -o is missing",
            cure="add it",
        )
    plan, fingerprint = plan_from_files(
        options.fingerprint, options.dataset_json, options.planner, options.memory, options.name
    )
    write_plan_file(options.output, plan, options.format, fingerprint)
    print(options.output)
    return 0


def _preprocess(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    pipeline.preprocess(
        options.project,
        configurations=options.configuration,
        plan_name=options.plan,
        workers=options.workers,
        reporter=reporter,
    )
    return 0


def _train(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    pipeline.train(
        options.project,
        configuration=options.configuration,
        fold=options.fold,
        plan_name=options.plan,
        time_budget=options.time_budget,
        epochs=options.epochs,
        iterations=options.iterations,
        device=options.device,
        seed=options.seed,
        workers=options.workers,
        reporter=reporter,
        should_stop=stop,
    )
    return 0


def _predict(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    written = pipeline.predict(
        options.model,
        options.input,
        options.output,
        plan_name=options.plan,
        configuration=options.configuration,
        folds=tuple(options.folds),
        checkpoint=options.checkpoint,
        mirror=options.tta,
        step=options.step,
        device=options.device,
        reporter=reporter,
        should_stop=stop,
    )
    if options.progress != "json":
        for path in written:
            print(path)
    return 0


def _evaluate(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline
    from .io.json_files import write_plain_json

    scores = pipeline.evaluate(
        options.reference,
        options.prediction,
        dataset_json=options.dataset_json,
        reporter=reporter,
    )
    write_plain_json(options.output, scores.as_mapping())
    mean = scores.mean_foreground("Dice")
    print(f"mean foreground Dice: {'undefined' if mean is None else f'{mean:.4f}'}")
    return 0


def _run(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    from . import pipeline

    project = pipeline.run(
        options.dataset,
        options.project,
        configurations=options.configuration,
        folds=options.fold,
        planner=options.planner,
        memory_gb=options.memory,
        plan_name=options.plan,
        device=options.device,
        time_budget=options.time_budget,
        epochs=options.epochs,
        iterations=options.iterations,
        checkpoint=options.checkpoint,
        seed=options.seed,
        workers=options.workers,
        reporter=reporter,
        should_stop=stop,
        started=options.started,
    )
    if options.progress != "json":
        print(json.dumps({"project": str(project.folder), "report": str(project.report_file)}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="selfseg",
        description="From a folder of segmented scans to a trained, tested segmentation model.",
    )
    parser.add_argument("--version", action="version", version=f"selfseg {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--progress",
        choices=("bar", "json"),
        default="bar",
        help="bar: for people (default); json: one event per line on standard output",
    )
    common.add_argument("--stop-on-stdin-close", action="store_true", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, parents=[common])
        sub.set_defaults(verb=function)
        return sub

    demo = verb("demo", _demo, "Make a small data set, train on it, test and report.")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo-output"))
    demo.add_argument("--time-budget", type=seconds, default=180.0, help="training (default 3m)")
    demo.add_argument("--open", action="store_true", help="open the report in the browser")
    _add_device(demo)

    check = verb("check", _check, "Name every fault of a data set, with its cure.")
    check.add_argument("dataset", type=Path, metavar="DATASET")

    fingerprint = verb("fingerprint", _fingerprint, "Measure the training cases.")
    _add_dataset_and_project(fingerprint)
    _add_workers(fingerprint)

    plan = verb("plan", _plan, "Decide every setting.")
    plan.add_argument("dataset", type=Path, nargs="?", metavar="DATASET")
    plan.add_argument("-p", "--project", type=Path)
    _add_planner(plan)
    _add_device(plan)
    plan.add_argument("--time-budget", type=seconds, help="for one training, as 10m or 2h")
    plan.add_argument("--name", help="name of the plan in the project (default: the planner's)")
    plan.add_argument("--fingerprint", type=Path, help="plan from this file; needs no images")
    plan.add_argument("--dataset-json", type=Path, help="goes with --fingerprint")
    plan.add_argument("--format", choices=("selfseg", "nnunet"), default="selfseg")
    plan.add_argument("-o", "--output", type=Path, help="also write the plan to this file")
    _add_workers(plan)

    preprocess = verb("preprocess", _preprocess, "Crop, normalise and resample every case.")
    preprocess.add_argument("-p", "--project", type=Path, required=True)
    preprocess.add_argument("-c", "--configuration", action="append", default=[])
    preprocess.add_argument("--plan", help="name of a plan in the project")
    _add_workers(preprocess)

    train = verb("train", _train, "Train one fold of one configuration.")
    train.add_argument("-p", "--project", type=Path, required=True)
    train.add_argument("-c", "--configuration", required=True)
    train.add_argument("-f", "--fold", required=True, help="0, 1, ... or all")
    train.add_argument("--plan", help="name of a plan in the project")
    train.add_argument("--time-budget", type=seconds, help="for training alone, as 10m or 2h")
    _add_training(train)

    predict = verb("predict", _predict, "Segment images with a trained model.")
    predict.add_argument("-m", "--model", type=Path, required=True, help="project folder")
    predict.add_argument("-i", "--input", type=Path, nargs="+", required=True)
    predict.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    predict.add_argument("-c", "--configuration")
    predict.add_argument("--plan", help="name of a plan in the project")
    predict.add_argument("--folds", nargs="+", default=[], help="default: all that are trained")
    predict.add_argument("--checkpoint", choices=("final", "best"), default="final")
    predict.add_argument("--step", type=float, default=0.5, help="tile distance in patches")
    predict.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average over mirrored images (default), or not",
    )
    _add_device(predict)

    evaluate = verb("evaluate", _evaluate, "Score label maps against references.")
    evaluate.add_argument("reference", type=Path, metavar="REFERENCE_DIR")
    evaluate.add_argument("prediction", type=Path, metavar="PREDICTION_DIR")
    evaluate.add_argument("-o", "--output", type=Path, required=True, help="scores.json")
    evaluate.add_argument(
        "--dataset-json", type=Path, help="names the structures and regions (default: the files)"
    )

    run = verb("run", _run, "Everything in order: measure, plan, preprocess, train, judge, report.")
    _add_dataset_and_project(run)
    run.add_argument(
        "-c",
        "--configuration",
        action="append",
        default=[],
        help="default: every configuration the plan recommends",
    )
    run.add_argument("-f", "--fold", default="cv", help="0, 1, ..., cv (default) or all")
    run.add_argument("--plan", help="use this plan of the project as it stands")
    run.add_argument("--time-budget", type=seconds, help="for the whole command, as 10m or 2h")
    run.add_argument("--checkpoint", choices=("final", "best"), default="final")
    _add_planner(run)
    _add_training(run)
    return parser


def _add_dataset_and_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="nnU-Net or MSD folder")
    parser.add_argument("-p", "--project", type=Path, required=True, help="folder of the project")


def _add_planner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--planner", choices=PLANNER_NAMES, default="plain")
    parser.add_argument("--memory", type=float, metavar="GB", help="graphics memory to plan for")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=DEVICES, default="auto")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, help="processes (default: by cores and memory)")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--iterations", type=int, help="per epoch")
    parser.add_argument("--seed", type=int, default=0)
    _add_device(parser)
    _add_workers(parser)
