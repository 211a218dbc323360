"""All verbs of the command line, in the order in which `--help` names them."""

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
    planning,
    predicting,
    reviewing,
    selecting,
    serving,
    training,
    verbs,
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

    verbs.add_demo_options(
        verb("demo", verbs.demo, "Make a small data set, train on it, test and report.")
    )
    verbs.add_check_options(
        verb("check", verbs.check, "Name every fault of a data set, with its cure.")
    )
    collecting.add_options(
        verb(
            "collect",
            collecting.collect,
            "Make a data set of segmented scans: NIfTI or NRRD pairs, files of Slicer, DICOM.",
        )
    )
    planning.add_fingerprint_options(
        verb("fingerprint", planning.fingerprint, "Measure the training cases.")
    )
    planning.add_plan_options(verb("plan", planning.plan, "Decide every setting."))
    planning.add_preprocess_options(
        verb("preprocess", planning.preprocess, "Crop, normalise and resample every case.")
    )
    training.add_train_options(
        verb("train", training.train, "Train one fold of one configuration.")
    )
    predicting.add_options(
        verb("predict", predicting.predict, "Segment images with a trained model.")
    )
    verbs.add_evaluate_options(
        verb("evaluate", verbs.evaluate, "Score label maps against references.")
    )
    training.add_run_options(
        verb(
            "run",
            training.run,
            "Everything in order: measure, plan, preprocess, train, judge, report.",
        )
    )
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
