"""What nnU-Net has found out about a model: postprocessing, scores, fingerprint.

None of it is needed to predict: what cannot be read is left out, with a notice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..domain.bundle import PostprocessingStep
from ..domain.errors import SelfsegError
from ..domain.events import Notice, Reporter
from ..domain.fingerprint import Fingerprint
from ..domain.labels import LabelScheme
from ..io.json_files import read_plain_json
from ..io.nnunet_json import fingerprint_from_nnunet
from .nnunet_choice import Chosen
from .nnunet_postprocessing import read_postprocessing


def postprocessing_of(
    chosen: Sequence[Chosen], labels: LabelScheme, reporter: Reporter
) -> tuple[PostprocessingStep, ...]:
    """The steps that nnU-Net found to help this configuration, or this ensemble."""
    folder = _results_folder(chosen)
    files = ("postprocessing.json", "postprocessing.pkl")
    if folder is None or not any((folder / name).is_file() for name in files):
        return ()
    try:
        return read_postprocessing(folder, labels)
    except SelfsegError as error:
        reporter(_left_out("postprocessing is", error))
        return ()


def scores_of(
    chosen: Sequence[Chosen], labels: LabelScheme, reporter: Reporter
) -> dict[str, Any] | None:
    """nnU-Net's cross-validation in the form of `selfseg evaluate`, without names of cases."""
    folder = _results_folder(chosen)
    path = None if folder is None else folder / "summary.json"
    if path is None or not path.is_file():
        return None
    try:
        content = read_plain_json(path)
    except SelfsegError as error:
        reporter(_left_out("scores are", error))
        return None
    if not isinstance(content, dict) or not isinstance(content.get("mean"), dict):
        reporter(
            Notice("the model's scores are left out: summary.json has another form", "warning")
        )
        return None
    known = {label.key for label in labels.foreground}
    return {
        "foreground_mean": _numbers(content.get("foreground_mean")),
        "mean": {
            key: _numbers(entry) for key, entry in content["mean"].items() if str(key) in known
        },
        "metric_per_case": [],
    }


def fingerprint_of(folder: Path, reporter: Reporter) -> Fingerprint | None:
    """dataset_fingerprint.json, where it is there."""
    path = folder / "dataset_fingerprint.json"
    if not path.is_file():
        return None
    try:
        return fingerprint_from_nnunet(read_plain_json(path))
    except SelfsegError as error:
        reporter(_left_out("fingerprint is", error))
        return None


def _results_folder(chosen: Sequence[Chosen]) -> Path | None:
    """Where nnU-Net keeps the cross-validation of one configuration, or of an ensemble."""
    folds = "_".join(chosen[0].checkpoints)
    if len(chosen) == 1:
        return chosen[0].folder.path / f"crossval_results_folds_{folds}"
    names = [entry.folder.name for entry in chosen]
    room = chosen[0].folder.path.parent / "ensembles"
    for order in (names, names[::-1]):
        folder = room / "___".join(("ensemble", *order, folds))
        if folder.is_dir():
            return folder
    return None


def _left_out(what: str, error: SelfsegError) -> Notice:
    name = "" if error.path is None else f"{error.path.name}: "
    text = f"the model's {what} left out: {name}{error.what} (found: {error.found}); {error.cure}"
    return Notice(text, "warning")


def _numbers(entry: object) -> dict[str, float | None]:
    if not isinstance(entry, dict):
        return {}
    return {
        str(name): float(value) if math.isfinite(value) else None
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
