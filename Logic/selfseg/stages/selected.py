"""The model that `selfseg select` chose, for whoever predicts with a project or hands it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..domain.bundle import Member, PostprocessingStep
from ..domain.events import Notice, Reporter, silent
from ..domain.plan import Plan
from ..domain.selection import AtlasFusion
from ..io.project import Project
from ..io.selection_file import read_selection

SELECTION_FOLDER = "selection"
"""Of a project: the label maps of the selected model on held-out cases, their scores, and what
was learned from them."""


@dataclass(frozen=True)
class SelectedModel:
    """What was chosen.

    Args:
        plans: of the members, by name.
        members: who votes.
        postprocessing: what is done to the label map.
        checkpoint: the weights that were judged.
        scores_file: out-of-fold scores of all of it, in the form of `validation.json`.
        atlas: training cases that vote, too; only the project itself can ask them.
    """

    plans: Mapping[str, Plan]
    members: tuple[Member, ...]
    postprocessing: tuple[PostprocessingStep, ...]
    checkpoint: str
    scores_file: Path
    atlas: AtlasFusion | None = None


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
    names = dict.fromkeys(member.plan for member in selection.members)
    return SelectedModel(
        {name: project.read_plan(name) for name in names},
        selection.members,
        selection.postprocessing,
        selection.checkpoint,
        project.folder / SELECTION_FOLDER / "validation.json",
        selection.atlas,
    )
