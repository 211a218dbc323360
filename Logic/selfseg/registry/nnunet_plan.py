"""plans.json and dataset.json of trained nnU-Net v2 models, as plans that predict alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..domain.dataset import DatasetDescription
from ..domain.errors import ModelError, SelfsegError
from ..domain.plan import Plan
from ..io.dataset_json import READERS
from ..io.json_files import read_plain_json
from ..io.nnunet_json import description_from_nnunet, plan_from_nnunet
from ..io.usable_plan import check_usable
from .nnunet_choice import Chosen


def read_plans(chosen: Sequence[Chosen]) -> tuple[dict[str, Plan], dict[int, str]]:
    """The plans by name, and for each chosen configuration (by position) the name of its plan.

    Configurations share a plan where their files are the same and none is there twice.
    """
    contents: list[tuple[object, object, list[str]]] = []
    places: list[int] = []
    for entry in chosen:
        raw = tuple(
            read_plain_json(entry.folder.path / name) for name in ("plans.json", "dataset.json")
        )
        names = [stage.configuration for stage in entry.stages]
        for place, (plans, dataset, taken) in enumerate(contents):
            if (plans, dataset) == raw and not set(names) & set(taken):
                taken += names
                places.append(place)
                break
        else:
            contents.append((*raw, names))
            places.append(len(contents) - 1)
    by_name: dict[str, Plan] = {}
    at_place: list[str] = []
    for place, (raw_plans, raw_dataset, names) in enumerate(contents):
        folder = chosen[places.index(place)].folder.path
        plan = read_plan(raw_plans, raw_dataset, names, folder)
        unique, number = plan.name, 2
        while unique in by_name:
            unique, number = f"{plan.name}_{number}", number + 1
        by_name[unique] = replace(plan, name=unique)
        at_place.append(unique)
    return by_name, {index: at_place[place] for index, place in enumerate(places)}


def read_plan(plans: object, dataset: object, names: Sequence[str], folder: Path) -> Plan:
    """The plan with the configurations that are used, and those they inherit from.

    Args:
        plans: content of plans.json.
        dataset: content of dataset.json.
        names: configurations that are used.
        folder: the trainer's folder, for messages and names.

    Raises:
        PlanError, DatasetError, FileFormatError, ModelError: something cannot be repeated here.
    """
    try:
        description = _description(dataset, plans, folder)
        if isinstance(plans, dict) and isinstance(plans.get("configurations"), dict):
            reader = plans.get("image_reader_writer", READERS[0])
            if reader not in READERS:
                raise ModelError(
                    "the model's images were read in a way that cannot be repeated here",
                    expected="one of " + ", ".join(READERS),
                    found=str(reader)[:100],
                    cure="import another model, or train one with `selfseg run`",
                )
            plans = plans | {"configurations": _used(plans["configurations"], names)}
        plan = plan_from_nnunet(plans, description)
        for name in names:
            plan.configuration(name)
        check_usable(plan)
    except SelfsegError as error:
        if error.path is not None:
            raise
        raise error.retold(path=folder) from error
    return plan


def _description(dataset: object, plans: object, folder: Path) -> DatasetDescription:
    """dataset.json's, with labels in the order of the network's heads."""
    description = description_from_nnunet(dataset, folder.parent)
    name = plans.get("dataset_name") if isinstance(plans, dict) else None
    if isinstance(name, str) and name.strip() and isinstance(dataset, dict):
        named = dataset.get("name")
        description = replace(description, name=named if isinstance(named, str) and named else name)
    labels = description.labels
    if not labels.has_regions:
        # nnU-Net's heads follow the values, in whatever order dataset.json names them.
        ordered = tuple(sorted(labels.foreground, key=lambda label: label.values))
        description = replace(description, labels=replace(labels, foreground=ordered))
    return description


def _used(configurations: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Published plans often hold configurations of custom planners that nobody has trained."""
    wanted, todo = set(), list(names)
    while todo:
        name = todo.pop()
        entry = configurations.get(name)
        if name in wanted or not isinstance(entry, dict):
            continue
        wanted.add(name)
        todo += [str(entry[key]) for key in ("inherits_from", "previous_stage") if entry.get(key)]
    return {name: entry for name, entry in configurations.items() if name in wanted}
