"""Finding trained weights to begin with, and a plan in which they fit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..crossvalidate.splits import ALL
from ..domain.errors import ModelError, ProjectError
from ..domain.events import Notice, Reporter, silent
from ..domain.fingerprint import Fingerprint
from ..domain.plan import Plan
from ..domain.starting_point import StartingPoint
from ..io.bundle_files import BUNDLE_ENDING, StoredBundle, WeightsKey, install_bundle, read_bundle
from ..io.bundle_layout import MANIFEST_FILE
from ..io.library_folder import default_library
from ..io.project import PROJECT_FILE, Project
from ..plan.transfer import plan_from
from ..registry.library import Library
from .models import choose_trained, weights_path


def starting_point(
    place: Path,
    configuration: str | None = None,
    *,
    checkpoint: str = "final",
    library: Path | None = None,
) -> StartingPoint:
    """The trained weights at a place.

    Args:
        place: a project folder, the folder of one training in it (.../fold_0), a model bundle
            (folder or `.selfseg` file), or a model's name in the library. What exists as a path is
            taken as one.
        configuration: which of a project's or bundle's; the first one otherwise.
        checkpoint: "final" or "best", of a project.
        library: folder of the library; the user's otherwise.

    Raises:
        ProjectError: the place is none of these.
        ModelError: nothing is trained there, or the bundle is damaged.
    """
    key, place = str(place), Path(place).absolute()
    if place.name.startswith("fold_") and place.parents[2].name == "runs":
        home = Project.open(place.parents[3])
        plan, name = home.read_plan(place.parents[1].name), place.parent.name
        return _in_project(home, plan, name, place.name.removeprefix("fold_"), checkpoint)
    if (place / PROJECT_FILE).is_file():
        home = Project.open(place)
        plan, name, folds = choose_trained(home, silent, None, configuration)
        return _in_project(home, plan, name, _one_of(folds), checkpoint)
    if (place / MANIFEST_FILE).is_file():
        return _in_bundle(read_bundle(place), configuration)
    if place.is_file() and place.suffix.lower() == BUNDLE_ENDING:
        return _in_bundle(_unpacked(place), configuration)
    entries = () if place.exists() else Library(library or default_library()).entries()
    if key in {known for entry in entries for known in (entry.key, entry.name)}:
        stored = Library(library or default_library()).find(key).stored
        assert stored is not None  # noqa: S101 - `find` gives none that is damaged
        return _in_bundle(stored, configuration)
    raise ProjectError(
        "there are no trained weights to start from here",
        expected="a project folder, the folder of a training "
        "(PROJECT/runs/PLAN/CONFIGURATION/fold_0), a model bundle (folder or .selfseg file), or a "
        "model's name in the library",
        found="something else" if place.exists() else "no such path, and no model of that name",
        cure="correct --start-from; `selfseg model list` names the models of the library",
        path=place,
    )


def _in_project(
    home: Project, plan: Plan, configuration: str, fold: str, checkpoint: str
) -> StartingPoint:
    weights = weights_path(home, plan, configuration, fold, checkpoint)
    source = f"{home.description.name}, {configuration} fold {fold}"
    return StartingPoint(weights, plan, configuration, source)


def _in_bundle(stored: StoredBundle, configuration: str | None) -> StartingPoint:
    bundle = stored.bundle
    known = {name: plan for plan, name in reversed(tuple(bundle.stages))}
    name = configuration or bundle.members[0].configuration
    if name not in known:
        raise ModelError(
            f"the model has no configuration {name}",
            expected=", ".join(sorted(known)),
            found=name,
            cure="train one of these with -c, or start from another model",
            path=stored.folder,
        )
    plan = bundle.plans[known[name]]
    fold = _one_of(stored.folds(plan.name, name))
    stored.read_weights(plan.name, name, fold)  # checks every byte
    weights = stored.folder / WeightsKey(plan.name, name, fold).file_name
    return StartingPoint(weights, plan, name, f"{bundle.card.key}, {name} fold {fold}")


def _one_of(folds: Sequence[str]) -> str:
    """The one that has learned from all cases, or the first."""
    return ALL if ALL in folds else folds[0]


_UNPACKED: dict[tuple[Path, int, int], tuple[tempfile.TemporaryDirectory[str], StoredBundle]] = {}


def _unpacked(path: Path) -> StoredBundle:
    """A packed bundle in a folder that is there as long as this process."""
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in _UNPACKED:
        folder = tempfile.TemporaryDirectory(prefix="selfseg-")
        _UNPACKED[key] = (folder, install_bundle(path, Path(folder.name) / "model"))
    return _UNPACKED[key][1]


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
