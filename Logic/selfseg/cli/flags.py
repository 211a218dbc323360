"""Options that several verbs understand, each declared once.

A flag of `TRAINING` or `HOW` is understood by `train`, `run` and `launch`, which hands it on. To
add one, add it here and as a keyword of `pipeline.train` and `pipeline.run` (`TRAINING`) or as a
field of `TrainingOptions` (`HOW`). `TRAIN` is for `train` and `pipeline.train` alone.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLANNER_NAMES = ("plain", "resenc_m", "resenc_l", "resenc_xl")
DEVICES = ("auto", "cpu", "cuda", "mps")


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


def count(text: str) -> int:
    """Reads a whole number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def natural(text: str) -> int:
    """Reads a whole number that may be 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def millimetres(text: str) -> float:
    """Reads a distance.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        distance = float(text)
    except ValueError:
        distance = math.nan
    if not 0 <= distance < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no distance from 0 mm")
    return distance


@dataclass(frozen=True)
class Flag:
    """One option: how argparse reads it, and how it is handed on.

    Args:
        name: as it is written, "--epochs".
        settings: arguments of `ArgumentParser.add_argument`. Without a default it is None.
        keyword: the argument of the pipeline's function; the name with underscores otherwise.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    keyword: str = ""

    @property
    def destination(self) -> str:
        """The argument of the pipeline's function, and the name in the parsed options."""
        return self.keyword or self.name.removeprefix("--").replace("-", "_")

    def words(self, value: object) -> tuple[str, ...]:
        """The words of a command line that give this value; none for the default."""
        default = self.settings.get("default", False if self._is_switch else None)
        if value is None or value == default:
            return ()
        if value is True:
            return (self.name,)
        if value is False:
            return (f"--no-{self.name.removeprefix('--')}",)
        if isinstance(value, list | tuple):
            if self.settings.get("action") == "append":
                return tuple(word for item in value for word in (self.name, str(item)))
            return (self.name, *map(str, value))
        return (self.name, str(value))

    @property
    def _is_switch(self) -> bool:
        return self.settings.get("action") == "store_true"


DEVICE = Flag("--device", {"choices": DEVICES, "default": "auto"})
WORKERS = Flag("--workers", {"type": count, "help": "processes (default: by cores and memory)"})

TRAINING = (
    Flag("--epochs", {"type": count}),
    Flag("--iterations", {"type": count, "help": "per epoch"}),
    DEVICE,
    WORKERS,
)
"""Of `train`, `run` and `launch`, arguments of the pipeline's functions."""

HOW = (
    Flag("--seed", {"type": natural, "default": 0}),
    Flag(
        "--deterministic",
        {"action": "store_true", "help": "the same weights to the last bit every time; slower"},
    ),
    Flag(
        "--augmentation",
        {"choices": ("full", "mild", "mirror"), "help": "default: what the plan says"},
    ),
    Flag(
        "--augment-on",
        {
            "choices": ("auto", "loader", "device"),
            "default": "auto",
            "help": "where augmentation is computed (default: the faster one)",
        },
        keyword="augmentation_family",
    ),
    Flag(
        "--foreground-cases",
        {
            "choices": ("with_foreground", "by_structure"),
            "help": "by_structure: every structure is seen equally often, however rare",
        },
    ),
    Flag(
        "--validate-every",
        {
            "type": natural,
            "default": 0,
            "metavar": "EPOCHS",
            "help": "segment and score whole validation cases while training",
        },
    ),
    Flag(
        "--hold-out",
        {
            "action": "store_true",
            "help": "use a tenth of the training cases for that, not the validation cases",
        },
    ),
    Flag(
        "--early-stopping",
        {"action": "store_true", "help": "end after 30 epochs without a better score"},
    ),
    Flag(
        "--start-from",
        {
            "type": Path,
            "metavar": "MODEL",
            "help": "trained weights to begin with: of a project, a bundle or the library",
        },
    ),
    Flag(
        "--micro-batch",
        {"type": count, "metavar": "N", "help": "samples at a time, where memory is short"},
    ),
    Flag("--tensorboard", {"action": "store_true", "help": "also write TensorBoard's files"}),
)
"""Of `train`, `run` and `launch`, fields of `selfseg.stages.learn.TrainingOptions`."""

TRAIN = (
    Flag("--plan", {"help": "name of a plan in the project"}, keyword="plan_name"),
    Flag("--time-budget", {"type": seconds, "help": "for training alone, as 10m or 2h"}),
    Flag(
        "--checkpoint",
        {
            "choices": ("final", "best"),
            "default": "final",
            "help": "weights of a cascade's first stage to predict with",
        },
    ),
)
"""Of `train`."""

PLANNER = (
    Flag("--planner", {"choices": PLANNER_NAMES, "default": "plain"}),
    Flag(
        "--memory",
        {"type": float, "metavar": "GB", "help": "graphics memory to plan for"},
        keyword="memory_gb",
    ),
)
"""Of `plan` and `run`."""


CHECKPOINT = Flag("--checkpoint", {"choices": ("final", "best"), "default": "final"})
"""Of `run`, `crossvalidate` and `select`: the weights that judge a fold."""

WHOLE_BUDGET = Flag(
    "--time-budget", {"type": seconds, "help": "for the whole command, as 10m or 2h"}
)
"""Of `run` and `crossvalidate`."""


def add_flags(parser: argparse.ArgumentParser, flags: Iterable[Flag]) -> None:
    """Lets a verb understand these flags."""
    for flag in flags:
        parser.add_argument(flag.name, dest=flag.destination, **flag.settings)


def keywords(flags: Iterable[Flag], options: argparse.Namespace) -> dict[str, Any]:
    """What was given for these flags, as keyword arguments of a pipeline function."""
    return {flag.destination: getattr(options, flag.destination) for flag in flags}


def words(flags: Iterable[Flag], options: argparse.Namespace) -> tuple[str, ...]:
    """What was given for these flags, as the words of another command line."""
    return tuple(word for flag in flags for word in flag.words(getattr(options, flag.destination)))


def add_dataset_and_project(parser: argparse.ArgumentParser) -> None:
    """Lets a verb understand DATASET and -p PROJECT."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="nnU-Net or MSD folder")
    parser.add_argument("-p", "--project", type=Path, required=True, help="folder of the project")


def add_configurations(parser: argparse.ArgumentParser, *, default: str = "") -> None:
    """Lets a verb understand -c, again and again; `default` says what it takes without any."""
    parser.add_argument(
        "-c",
        "--configuration",
        action="append",
        default=[],
        help=f"default: {default}" if default else None,
    )


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Lets a verb understand -f, a fold or all of them."""
    parser.add_argument("-f", "--fold", default="cv", help="0, 1, ..., cv (default) or all")
