"""Which fold holds out which case: decided once, and kept in the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..crossvalidate.splits import ALL, make_splits, split_for_fold, splits_of, units_of
from ..crossvalidate.stratify import starved, stratified_splits
from ..domain.dataset import Dataset, Split
from ..domain.events import Notice, Reporter
from ..domain.labels import LabelScheme
from ..domain.plan import Plan
from ..io.case_store import StoredCase, open_case
from ..io.project import Project


def with_folds(
    project: Project, dataset: Dataset, plan: Plan, configuration: str, *, reporter: Reporter
) -> Dataset:
    """The data set with the folds that all trainings of this project share.

    Its own `splits_final.json` where there is one. Else what the project has decided before;
    else the method's folds, of patients where the data set says which cases belong together,
    and stratified where a fold would see too little of a rare structure.

    Args:
        project: holds `splits.json`.
        dataset: as opened.
        plan: says where the preprocessed cases lie, which know their structures.
        configuration: preprocessed.
        reporter: is told where the folds are not the method's.
    """
    if dataset.splits is not None:
        return dataset
    names = [case.identifier for case in dataset.cases]
    known = project.read_splits()
    if known is not None and _fit(known, names, dataset.groups):
        return replace(dataset, splits=known)
    begun = any(project.has_runs(name) for name in project.plan_names)
    if known is not None and begun:
        text = "the cases or their groups have changed since the folds were made: they are made "
        text += "anew, and trainings of before may have learned from what they are judged on"
        reporter(Notice(text, level="warning"))
    splits = make_splits(names, groups=dataset.groups)
    if known is not None or not begun:
        structures = _structures(project, dataset, plan, configuration)
        lacking = starved(splits, structures, dataset.groups)
        if lacking:
            stratified = stratified_splits(structures, folds=len(splits), groups=dataset.groups)
            if len(starved(stratified, structures, dataset.groups)) < len(lacking):
                splits = stratified
                text = "folds by chance would have shown some networks too little of "
                text += f"{', '.join(lacking)}: the cases are spread by structure instead"
                reporter(Notice(text))
    project.write_splits(splits)
    return replace(dataset, splits=splits)


def require_fold(project: Project, dataset: Dataset, fold: str) -> None:
    """Refuses a fold that the data set will not have, before hours go into preparing it.

    How many folds there are is known before it is decided which case is in which.

    Raises:
        DatasetError: there is no such fold.
    """
    if fold != ALL:
        split_for_fold(splits_of(with_known_folds(project, dataset)), fold, ())


def with_known_folds(project: Project, dataset: Dataset) -> Dataset:
    """The data set with the folds that the project has decided, if it has."""
    names = [case.identifier for case in dataset.cases]
    known = project.read_splits()
    if dataset.splits is not None or known is None or not _fit(known, names, dataset.groups):
        return dataset
    return replace(dataset, splits=known)


def _fit(splits: tuple[Split, ...], names: list[str], groups: Mapping[str, str] | None) -> bool:
    """Whether every case is held out once, and no group is on both sides of a fold."""
    held_out = [name for split in splits for name in split.validation]
    if sorted(held_out) != sorted(names):
        return False
    return not any(
        units_of(split.train, groups).keys() & units_of(split.validation, groups).keys()
        for split in splits
    )


def _structures(
    project: Project, dataset: Dataset, plan: Plan, configuration: str
) -> dict[str, set[str]]:
    folder = project.preprocessed_folder(plan.name, plan.images_of(configuration))
    scheme = plan.description.labels
    found = {}
    for case in dataset.cases:
        stored = open_case(folder, case.identifier)
        found[case.identifier] = structures_of(stored, scheme)
    return found


def structures_of(case: StoredCase, scheme: LabelScheme) -> set[str]:
    """The names of the structures that a case holds."""
    held = {values for values, voxels in case.foreground.items() if len(voxels)}
    return {structure.name for structure in scheme.foreground if structure.values in held}
