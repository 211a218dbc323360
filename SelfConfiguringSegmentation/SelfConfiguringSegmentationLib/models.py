"""What the module needs to know of a model before and after it runs: name, channels, labels.

Read with the standard library alone: a model can be chosen before any package is installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ModelError
from selfseg.domain.labels import Label, LabelScheme

MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Model:
    """A trained model, as far as the interface shows it."""

    folder: Path
    name: str
    channel_names: tuple[str, ...]
    labels: LabelScheme


def read_model(folder: Path) -> Model:
    """Reads a project folder's description.

    All plans of a project are made for the same data set, so any of them names its labels.

    Raises:
        ModelError: the folder holds no plan, or one that cannot be read.
    """
    plans = sorted(folder.glob("plans/*.json"))
    if not plans:
        raise ModelError(
            "this is no model folder",
            expected="a project folder with plans/<name>.json, as `selfseg run` makes it",
            found="no such file" if folder.is_dir() else "no such folder",
            cure="choose the folder given to `selfseg run` as -p",
            path=folder,
        )
    try:
        if plans[0].stat().st_size > MAX_BYTES:
            raise ValueError("the file is too large to be a plan")
        description = json.loads(plans[0].read_text(encoding="utf-8"))["description"]
        return Model(
            folder=folder,
            name=str(description["name"]),
            channel_names=tuple(str(name) for name in description["channel_names"]),
            labels=_labels(description["labels"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the model's plan cannot be read",
            expected="a plan written by selfseg, with a description of channels and labels",
            found=f"{type(error).__name__}: {error}",
            cure="restore the file, or train the model again",
            path=plans[0],
        ) from error


def _labels(raw: Mapping[str, Any]) -> LabelScheme:
    order = raw.get("regions_class_order")
    return LabelScheme(
        foreground=tuple(
            Label(
                name=str(label["name"]),
                values=tuple(int(value) for value in label["values"]),
                colour=_colour(label.get("colour")),
                code=label.get("code"),
            )
            for label in raw["foreground"]
        ),
        regions_class_order=None if order is None else tuple(int(value) for value in order),
        ignore=raw.get("ignore"),
    )


def _colour(raw: Any) -> tuple[int, int, int] | None:
    if raw is None:
        return None
    red, green, blue = (int(part) for part in raw)
    return red, green, blue
