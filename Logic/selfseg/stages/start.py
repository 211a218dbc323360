"""Finding trained weights to begin with, and a plan in which they fit."""

from __future__ import annotations

from pathlib import Path

from ..crossvalidate.splits import ALL
from ..domain.errors import ProjectError
from ..domain.events import Notice, Reporter, silent
from ..domain.fingerprint import Fingerprint
from ..domain.plan import Plan
from ..domain.starting_point import StartingPoint
from ..io.project import Project
from ..plan.transfer import plan_from
from .models import choose_trained, weights_path


def starting_point(
    place: Path, configuration: str | None = None, *, checkpoint: str = "final"
) -> StartingPoint:
    """The trained weights at a place.

    Args:
        place: a project folder, or the folder of one training in it (.../fold_0).
        configuration: which of a project's; the first trained one otherwise.
        checkpoint: "final" or "best".

    Raises:
        ProjectError: the place is neither.
        ModelError: nothing is trained there.
    """
    place = Path(place).absolute()
    project, fold = place, None
    if place.name.startswith("fold_") and place.parents[2].name == "runs":
        project, fold = place.parents[3], place.name.removeprefix("fold_")
    if not (project / "project.json").is_file():
        raise ProjectError(
            "there are no trained weights to start from here",
            expected="a project folder, or the folder of a training "
            "(PROJECT/runs/PLAN/CONFIGURATION/fold_0)",
            found="another folder" if place.is_dir() else "no such folder",
            cure="correct --start-from",
            path=place,
        )
    home = Project.open(project)
    if fold is None:
        plan, name, folds = choose_trained(home, silent, None, configuration)
        fold = ALL if ALL in folds else folds[0]
    else:
        plan, name = home.read_plan(place.parents[1].name), place.parent.name
    weights = weights_path(home, plan, name, fold, checkpoint)
    return StartingPoint(weights, plan, name, f"{home.description.name}, {name} fold {fold}")


def plan_to_start_from(
    project: Project, fingerprint: Fingerprint, start: StartingPoint, *, reporter: Reporter
) -> Plan:
    """A plan of the project in which the weights fit: one that is there, or a new one.

    A plan fits where it has the starting point's configuration with the same network, patch
    and spacing. A new one is written to the project.
    """
    for name in project.plan_names:
        plan = project.read_plan(name)
        if _fits(plan, start):
            return plan
    made = plan_from(start, fingerprint, project.description)
    number, name = 1, made.name
    while name in project.plan_names:  # of another starting point
        number += 1
        name = f"{made.name}_{number}"
    made = plan_from(start, fingerprint, project.description, name)
    project.write_plan(made)
    reporter(
        Notice(
            f"new plan {made.name}: network, patch and spacing of {start.source}, whose weights "
            "training begins with"
        )
    )
    return made


def _fits(plan: Plan, start: StartingPoint) -> bool:
    if start.configuration not in plan.configurations:
        return False
    ours = plan.configuration(start.configuration)
    theirs = start.plan.configuration(start.configuration)
    same = (ours.network, ours.patch_size, ours.spacing, ours.previous_stage)
    return same == (theirs.network, theirs.patch_size, theirs.spacing, theirs.previous_stage) and (
        (plan.orientation, plan.transpose_forward)
        == (start.plan.orientation, start.plan.transpose_forward)
    )
