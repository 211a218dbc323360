"""Where the predictors of a project's models lie, for whoever predicts or hands a model on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..crossvalidate.splits import ALL
from ..domain.bundle import Member
from ..domain.quality import QualityModel
from ..io.bundle_layout import QUALITY_FILE, QUALITY_SCHEMA
from ..io.json_files import read_json
from ..io.project import Project
from .selected import SELECTION_FOLDER


def quality_of(
    project: Project, members: Sequence[Member], *, selected: bool = False
) -> QualityModel | None:
    """The predictor for a project's model; None where nothing was learned.

    Args:
        project: the project.
        members: who votes. The mean of several is less sure than each of them: nothing is known
            of one that was not selected.
        selected: the model is the selected one, with its postprocessing.
    """
    if selected:
        path = project.folder / SELECTION_FOLDER / QUALITY_FILE
        if path.is_file():
            return read_json(path, QualityModel, schema=QUALITY_SCHEMA)
    if len(members) != 1:
        return None
    return read_quality(project, members[0].plan, members[0].configuration)


def without_names(model: QualityModel) -> QualityModel:
    """The predictor for somebody else: held-out cases are numbered, as they may name patients."""
    names = sorted({entry.case for entry in model.held_out})
    numbers = {name: f"held_out_{number:04d}" for number, name in enumerate(names, start=1)}
    held_out = tuple(replace(entry, case=numbers[entry.case]) for entry in model.held_out)
    return replace(model, held_out=held_out, learned_from="")


def read_quality(project: Project, plan: str, configuration: str) -> QualityModel | None:
    """What was learned for a configuration; None where nothing was.

    Raises:
        FileFormatError: the file is damaged.
    """
    path = quality_file(project, plan, configuration)
    return read_json(path, QualityModel, schema=QUALITY_SCHEMA) if path.is_file() else None


def quality_file(project: Project, plan: str, configuration: str) -> Path:
    """Where the predictor of a configuration lies."""
    return project.run_folder(plan, configuration, ALL).parent / QUALITY_FILE
