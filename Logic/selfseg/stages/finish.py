"""The last step of a training that nobody watches: its best model goes into the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..crossvalidate.splits import ALL
from ..domain.bundle import ModelBundle
from ..domain.errors import ModelError
from ..domain.events import ModelReady, Notice, Reporter, silent
from ..io.bundle_files import Weights
from ..io.bundle_layout import WeightsKey
from ..io.project import Project
from ..registry.library import Library, LibraryEntry
from .bundle import CardOptions, ModelChoice, bundle_from_project, name_from
from .select import SelectOptions, select


def install_best(
    project: Path,
    library: Library,
    *,
    name: str | None = None,
    checkpoint: str = "final",
    device: str = "auto",
    workers: int | None = None,
    reporter: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
) -> LibraryEntry:
    """Chooses the model that did best on held-out cases, and takes it into the library.

    A project without held-out cases (fold "all") gives its one model, without scores. A model
    never takes the place of another: the next version that is free is used. A model that is in
    the library already is not taken once more, so that a command which was killed at its end can
    be given again.

    Args:
        project: with at least one finished training.
        library: to take it into.
        name: of the model; the data set's otherwise.
        checkpoint: the weights that were judged, "final" or "best".
        device: where to predict what choosing needs.
        workers: processes; by cores and memory otherwise.
        reporter: is told what was chosen, and at last `ModelReady`.
        should_stop: polled while predicting.

    Raises:
        ModelError: nothing is trained.
        Cancelled: `should_stop` said so; what is done is kept.
    """
    home, dice, cases = Project.open(project), None, 0
    if _has_held_out_cases(home):
        options = SelectOptions(checkpoint=checkpoint)
        selection = select(
            project,
            options,
            device=device,
            workers=workers,
            reporter=reporter,
            should_stop=should_stop,
        )
        dice, cases = selection.dice, selection.cases
    card = CardOptions(name=None if name is None else name_from(name))
    bundle, weights = bundle_from_project(home, card, ModelChoice(), reporter=reporter)
    library.tidy()
    entry = _known(library, bundle, weights)
    if entry is None:
        _, weights = bundle_from_project(home, card, ModelChoice(), reporter=silent)
        bundle = replace(bundle, card=replace(bundle.card, version=_free_version(library, bundle)))
        entry = library.add(bundle, weights)
    reporter(Notice(f"the model {entry.key} is in the library"))
    reporter(ModelReady(entry.name, entry.version, str(entry.folder.absolute()), dice, cases))
    return entry


def _has_held_out_cases(project: Project) -> bool:
    return any(
        fold != ALL
        for plan in project.plan_names
        for configuration in project.read_plan(plan).configurations
        for fold in project.trained_folds(plan, configuration)
    )


def _known(
    library: Library, bundle: ModelBundle, weights: Iterable[tuple[WeightsKey, Weights]]
) -> LibraryEntry | None:
    """The latest entry of that name, if it is the same model to the last bit."""
    name = bundle.card.name.lower()
    same_name = [entry for entry in library.entries() if entry.name.lower() == name]
    stored = same_name[-1].stored if same_name else None
    if stored is None:
        return None
    card = replace(bundle.card, version=stored.bundle.card.version)
    card = replace(card, created=stored.bundle.card.created)
    if stored.bundle != replace(bundle, card=card):
        return None
    try:
        for key, arrays in weights:
            there = stored.read_weights(key.plan, key.configuration, key.fold)
            if there.keys() != arrays.keys() or not all(
                np.array_equal(there[part], array) for part, array in arrays.items()
            ):
                return None
    except ModelError:  # other networks, or damaged
        return None
    return same_name[-1]


def _free_version(library: Library, bundle: ModelBundle) -> str:
    """A whole number above those of all versions of that name."""
    name = bundle.card.name.lower()
    taken = [entry.version for entry in library.entries() if entry.name.lower() == name]
    numbers = [int(version.split(".")[0]) for version in taken if version.split(".")[0].isdecimal()]
    return str(max(numbers, default=0) + 1)
