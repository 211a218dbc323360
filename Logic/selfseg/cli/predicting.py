"""The verb `predict`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..console import StopRequest
from ..domain.errors import UsageError
from ..domain.events import Reporter
from .flags import DEVICE

_UNITS = {"": 10**9, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20,
          "gib": 2**30, "m": 10**6, "g": 10**9}  # fmt: skip


def memory(text: str) -> int:
    """Reads an amount of memory: "4GB", "800MB", "4GiB"; a bare number is in GB.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; write 4GB or 800MB")
    return round(float(match[1]) * _UNITS[match[2]])


def tile_step(text: str) -> float:
    """Reads the distance of neighbouring tiles.

    Raises:
        argparse.ArgumentTypeError: it is not above 0 and at most 1.
    """
    try:
        step = float(text)
    except ValueError:
        step = 0.0
    if not 0 < step <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 1")
    return step


def names(text: str) -> list[str]:
    """Reads names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def add_options(predict: argparse.ArgumentParser) -> None:
    """Lets the verb understand its options."""
    what = predict.add_argument_group("what to segment")
    what.add_argument(
        "-m",
        "--model",
        required=True,
        help="project, model bundle (folder or .selfseg file), folder of ONNX graphs, or a "
        "model's name in the library",
    )
    what.add_argument("-i", "--input", type=Path, nargs="+", default=[], help="images, folders")
    what.add_argument("--list", type=Path, metavar="FILE", help="text file, an image per line")
    what.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    what.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="leave cases alone that the same model and options have segmented",
    )

    which = predict.add_argument_group("which networks (default: as the model says)")
    which.add_argument(
        "-c",
        "--configuration",
        action="append",
        default=[],
        help="several vote together",
    )
    which.add_argument("--plan", help="name of a plan of the model")
    which.add_argument("--folds", nargs="+", default=[], metavar="FOLD", help="folds to average")
    which.add_argument(
        "--checkpoint", choices=("final", "best"), help="of a project (default: as selected)"
    )
    which.add_argument("--library", type=Path, metavar="DIR", help="folder of the library")

    how = predict.add_argument_group("how")
    how.add_argument("--step", type=tile_step, default=0.5, help="tile distance in patches")
    how.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average over mirrored images (default), or not",
    )
    how.add_argument(
        "--roi",
        action="store_true",
        help="look first where the structures are, and predict only there in full",
    )
    how.add_argument(
        "--precision",
        choices=("auto", "float32"),
        default="auto",
        help="auto: half precision where the machine computes it natively (default)",
    )
    how.add_argument("--memory", type=memory, metavar="4GB", help="what the process may use")
    how.add_argument("--backend", choices=("torch", "onnx"), help="default: the model's")
    # "openvino" is ONNX Runtime's; the others are both backends'.
    how.add_argument(DEVICE.name, choices=(*DEVICE.settings["choices"], "openvino"), default="auto")

    out = predict.add_argument_group("what to write")
    out.add_argument(
        "--structures",
        type=names,
        default=[],
        metavar="NAME,NAME",
        help="only these; the others become background",
    )
    out.add_argument(
        "--probabilities", action="store_true", help="too, at the network's resolution"
    )
    out.add_argument(
        "--confidence",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure how sure the model is of each case (default), or not",
    )


def predict(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Segments images and prints the files written."""
    inputs = [*options.input, *_listed(options.list)]
    if not inputs:
        raise UsageError(
            "nothing to segment",
            expected="-i with images or folders, or --list",
            found="neither",
            cure="see `selfseg predict --help`",
        )
    from .. import pipeline
    from ..stages.predictions import Predictions

    written = pipeline.predict(
        options.model,
        inputs,
        options.output,
        plan_name=options.plan,
        configuration=options.configuration,
        folds=tuple(options.folds),
        checkpoint=options.checkpoint,
        mirror=options.tta,
        step=options.step,
        structures=options.structures,
        region=options.roi,
        probabilities=options.probabilities,
        confidence=options.confidence,
        go_on=options.go_on,
        memory_bytes=options.memory,
        backend=options.backend,
        library=options.library,
        device=options.device,
        precision=options.precision,
        reporter=reporter,
        should_stop=stop,
    )
    if options.progress != "json":
        for path in written:
            print(path)
        for line in Predictions(options.output).flagged(written):
            print(line)
    return 0


def _listed(path: Path | None) -> list[Path]:
    """The images a text file names, relative to it."""
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the list of images cannot be read",
            expected="a text file in UTF-8, one image per line",
            found=str(error),
            cure="check the path",
            path=path,
        ) from error
    return [path.parent / line.strip() for line in lines if line.strip()]
