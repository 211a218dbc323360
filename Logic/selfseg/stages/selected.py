"""The model that `selfseg select` chose, for whoever predicts with a project or hands it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..domain.bundle import Member, PostprocessingStep
from ..domain.events import Notice, Reporter, silent
from ..domain.plan import Plan
from ..io.project import Project
from ..io.selection_file import read_selection
from .candidate_scores import FOLDER


@dataclass(frozen=True)
class SelectedModel:
    """What was chosen.

    Args:
        plans: of the members, by name.
        members: who votes.
        postprocessing: what is done to the label map.
        checkpoint: the weights that were judged.
        scores_file: out-of-fold scores of all of it, in the form of `validation.json`.
    """

    plans: Mapping[str, Plan]
    members: tuple[Member, ...]
    postprocessing: tuple[PostprocessingStep, ...]
    checkpoint: str
    scores_file: Path


def selected_model(project: Project, *, reporter: Reporter = silent) -> SelectedModel | None:
    """The selected model of a project; None where none was selected or it is not there any more.

    Args:
        project: the project.
        reporter: is told what was selected, or why that cannot be used.

    Raises:
        FileFormatError, ModelError: `selection.json` is damaged.
    """
    selection = read_selection(project)
    if selection is None:
        return None
    for member in selection.members:
        trained = project.trained_folds(member.plan, member.configuration)
        gone = [fold for fold in member.folds if fold not in trained]
        if gone or member.plan not in project.plan_names:
            text = f"the selected model is not complete any more: {member.plan} "
            text += f"{member.configuration} fold {', '.join(gone or member.folds)} is gone; "
            reporter(Notice(f"{text}run `selfseg select` again", level="warning"))
            return None
    reporter(Notice(f"selected by cross-validation: {selection.chosen.name}"))
    if selection.atlas is not None:
        reporter(Notice("its atlases are left out: they take the training cases", level="warning"))
    names = dict.fromkeys(member.plan for member in selection.members)
    return SelectedModel(
        {name: project.read_plan(name) for name in names},
        selection.members,
        selection.postprocessing,
        selection.checkpoint,
        project.folder / FOLDER / "validation.json",
    )
