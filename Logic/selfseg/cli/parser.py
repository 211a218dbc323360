"""Which verb takes what."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..console import StopRequest
from ..domain.events import Reporter
from . import (
    collecting,
    exporting,
    launching,
    model_verbs,
    predicting,
    reviewing,
    selecting,
    serving,
    verbs,
)
from .flags import (
    DEVICE,
    HOW,
    PLANNER,
    TRAIN,
    TRAINING,
    WORKERS,
    add_dataset_and_project,
    add_flags,
    count,
    millimetres,
    seconds,
)

Verb = Callable[[argparse.Namespace, Reporter, StopRequest], int]


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; each verb's function is in `options.verb`."""
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
    common.add_argument(
        "--progress-file", type=Path, metavar="FILE", help="also append every event to this file"
    )
    common.add_argument(
        "--stop-file", type=Path, metavar="FILE", help="stop when this file appears"
    )
    parsers = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        sub = parsers.add_parser(name, help=text, description=text, parents=[common])
        sub.set_defaults(verb=function)
        return sub

    demo = verb("demo", verbs.demo, "Make a small data set, train on it, test and report.")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo-output"))
    demo.add_argument("--time-budget", type=seconds, default=180.0, help="training (default 3m)")
    demo.add_argument("--open", action="store_true", help="open the report in the browser")
    add_flags(demo, (DEVICE,))

    check = verb("check", verbs.check, "Name every fault of a data set, with its cure.")
    check.add_argument("dataset", type=Path, metavar="DATASET")

    collecting.add_options(
        verb(
            "collect",
            collecting.collect,
            "Make a data set of segmented scans: NIfTI or NRRD pairs, files of Slicer, DICOM.",
        )
    )

    fingerprint = verb("fingerprint", verbs.fingerprint, "Measure the training cases.")
    add_dataset_and_project(fingerprint)
    add_flags(fingerprint, (WORKERS,))

    plan = verb("plan", verbs.plan, "Decide every setting.")
    plan.add_argument("dataset", type=Path, nargs="?", metavar="DATASET")
    plan.add_argument("-p", "--project", type=Path)
    add_flags(plan, PLANNER)
    add_flags(plan, (DEVICE,))
    plan.add_argument("--time-budget", type=seconds, help="for one training, as 10m or 2h")
    plan.add_argument("--name", help="name of the plan in the project (default: the planner's)")
    plan.add_argument("--fingerprint", type=Path, help="plan from this file; needs no images")
    plan.add_argument("--dataset-json", type=Path, help="goes with --fingerprint")
    plan.add_argument("--format", choices=("selfseg", "nnunet"), default="selfseg")
    plan.add_argument("-o", "--output", type=Path, help="also write the plan to this file")
    plan.add_argument(
        "--explain",
        action="store_true",
        help="in plain words, with the time and memory that training takes on this machine",
    )
    add_flags(plan, (WORKERS,))

    preprocess = verb("preprocess", verbs.preprocess, "Crop, normalise and resample every case.")
    preprocess.add_argument("-p", "--project", type=Path, required=True)
    preprocess.add_argument("-c", "--configuration", action="append", default=[])
    preprocess.add_argument("--plan", help="name of a plan in the project")
    preprocess.add_argument(
        "--checkpoint",
        choices=("final", "best"),
        default="final",
        help="weights of a cascade's first stage, where it is trained, to predict with",
    )
    add_flags(preprocess, (DEVICE, WORKERS))

    train = verb("train", verbs.train, "Train one fold of one configuration.")
    train.add_argument("-p", "--project", type=Path, required=True)
    train.add_argument("-c", "--configuration", required=True)
    train.add_argument("-f", "--fold", required=True, help="0, 1, ... or all")
    train.add_argument(
        "--gpus", type=count, default=1, metavar="N", help="graphics cards that train together"
    )
    add_flags(train, (*TRAIN, *TRAINING, *HOW))

    predicting.add_options(
        verb("predict", predicting.predict, "Segment images with a trained model.")
    )

    evaluate = verb("evaluate", verbs.evaluate, "Score label maps against references.")
    evaluate.add_argument("reference", type=Path, metavar="REFERENCE_DIR")
    evaluate.add_argument("prediction", type=Path, metavar="PREDICTION_DIR")
    evaluate.add_argument("-o", "--output", type=Path, required=True, help="scores.json")
    evaluate.add_argument(
        "--dataset-json", type=Path, help="names the structures and regions (default: the files)"
    )
    evaluate.add_argument(
        "--tolerance",
        type=millimetres,
        default=2.0,
        metavar="MM",
        help="of surface Dice (default 2)",
    )
    add_flags(evaluate, (WORKERS,))

    run = verb(
        "run", verbs.run, "Everything in order: measure, plan, preprocess, train, judge, report."
    )
    add_dataset_and_project(run)
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
    run.add_argument(
        "--install",
        action="store_true",
        help="then choose the best model, see `select`, and take it into the library",
    )
    run.add_argument("--model-name", metavar="NAME", help="in the library (default: the data's)")
    run.add_argument(
        "--library", type=Path, metavar="DIR", help="folder of the library (default: the user's)"
    )
    add_flags(run, PLANNER)
    add_flags(run, (*TRAINING, *HOW))

    exporting.add_options(
        verb("export", exporting.export, "Write segmentations as files of other programs.")
    )
    reviewing.add_options(
        verb("review-log", reviewing.review_log, "Show what reviewers have decided.")
    )
    launching.add_options(
        verb("launch", launching.launch, "Train many folds and configurations side by side.")
    )
    selecting.add_crossvalidate_options(
        verb(
            "crossvalidate",
            selecting.crossvalidate,
            "Train and judge every fold of every configuration.",
        )
    )
    selecting.add_select_options(
        verb("select", selecting.select, "Choose the best model on cases it has not seen.")
    )
    selecting.add_report_options(verb("report", selecting.report, "Write a project's report anew."))
    serving.add_options(
        verb("serve", serving.serve, "Keep models in memory, and segment when asked to.")
    )
    model_verbs.add_verbs(parsers, common)
    return parser
