"""A trained model as it is handed on: everything that prediction needs but the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from .appearance import Appearance, Code
from .dataset import DatasetDescription
from .errors import ModelError
from .fingerprint import Fingerprint
from .plan import ConfigurationPlan, Plan
from .quality import QualityModel

__all__ = [
    "Appearance",
    "Calibration",
    "Code",
    "Member",
    "ModelBundle",
    "ModelCard",
    "PostprocessingKind",
    "PostprocessingStep",
]

PostprocessingKind = Literal[
    "largest_component_all",
    "largest_component",
    "k_largest_components",
    "remove_small_components",
    "fill_holes",
]

# Both stand in the name of a folder, on every system; see `ModelCard`.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?")
_VERSION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,38}[A-Za-z0-9_+-])?")
_LONGEST_TEXT = 10_000
_FOLD = re.compile(r"0|[1-9][0-9]{0,3}|all")


@dataclass(frozen=True)
class Member:
    """One configuration that votes, with its folds.

    A cascade names its second stage only: the plan says what the first one is, and every fold
    of it that the bundle holds predicts.

    Args:
        plan: the plan's name.
        configuration: of that plan.
        folds: "0", "1", ... or "all".
        mirror_axes: axes of the patch that the training has mirrored, so that prediction may;
            None for all of them.

    Raises:
        ModelError: no fold, one of another name or twice; axes that are none.
    """

    plan: str
    configuration: str
    folds: tuple[str, ...]
    mirror_axes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        wrong = [fold for fold in self.folds if not _FOLD.fullmatch(fold)]
        if not self.folds or wrong or len(set(self.folds)) != len(self.folds):
            raise _error(
                f"the folds of {self.configuration} are not valid",
                "0, 1, ... or all, each once and at least one",
                ", ".join(map(repr, self.folds)) or "none",
                "name the folds that are to vote",
            )
        axes = self.mirror_axes or ()
        if any(not 0 <= axis <= 2 for axis in axes) or len(set(axes)) != len(axes):
            raise _error(
                f"the mirrored axes of {self.configuration} are not valid",
                "axes of the patch from 0 to 2, each once",
                str(axes),
                "correct mirror_axes",
            )


@dataclass(frozen=True)
class PostprocessingStep:
    """One thing done to a predicted label map, as data: nothing in a bundle is code.

    Args:
        kind: "largest_component_all" keeps the largest component of all these structures taken
            as one, "largest_component" that of each; "k_largest_components" keeps `count` of
            each; "remove_small_components" those of at least `min_voxels`.
        structures: names; none means all.
        count: components to keep.
        min_voxels: the smallest component that stays, on the native grid.

    Raises:
        ModelError: a kind or number that means nothing, a structure twice.
    """

    kind: PostprocessingKind
    structures: tuple[str, ...] = ()
    count: int = 1
    min_voxels: int = 0

    def __post_init__(self) -> None:
        wrong = ""
        if self.kind not in get_args(PostprocessingKind):
            wrong = f"the step {self.kind!r}"
        elif self.count < 1 or self.min_voxels < 0:
            wrong = f"count {self.count}, min_voxels {self.min_voxels}"
        elif len(set(self.structures)) != len(self.structures):
            wrong = "a structure twice: " + ", ".join(self.structures)
        if wrong:
            raise _error(
                "the postprocessing is not valid",
                "one of " + ", ".join(get_args(PostprocessingKind)) + "; count at least 1, "
                "min_voxels at least 0, each structure once",
                wrong,
                "correct this step; a newer selfseg may know it",
            )


@dataclass(frozen=True)
class Calibration:
    """What turns logits into probabilities that keep their word: softmax(logits / temperature).

    Args:
        temperature: above 0; 1 changes nothing.
        fitted_on: on which cases, in words; "" where nothing was fitted.

    Raises:
        ModelError: a temperature that is none.
    """

    temperature: float = 1.0
    fitted_on: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise _error(
                "the calibration has no valid temperature",
                "a finite number above 0",
                str(self.temperature),
                "fit it again, or leave it at 1",
            )


@dataclass(frozen=True)
class ModelCard:
    """Who made the model, and what it may be used for.

    Args:
        name: letters, digits, and . _ - inside: with the version it names a folder.
        version: likewise, + too: "1", "2.1.0".
        summary: what it segments in what, in a sentence or two.
        licence: of the weights: an SPDX name or a sentence; "" where nobody has said.
        citation: what to cite.
        authors: their names.
        created: when, in ISO 8601.
        provenance: data set and its hash, program and version, ...: plain text by name.

    Raises:
        ModelError: a name, version or time that is none.
    """

    name: str
    version: str
    summary: str = ""
    licence: str = ""
    citation: str = ""
    authors: tuple[str, ...] = ()
    created: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, text, form, longest in (
            ("name", self.name, _NAME, 80),
            ("version", self.version, _VERSION, 40),
        ):
            if not form.fullmatch(text):
                raise _error(
                    f"the model's {what} is not valid",
                    f"1 to {longest} of a-z, A-Z, 0-9, and . _ - inside",
                    repr(text[: longest + 20]),
                    f"choose another {what}; the summary may say everything",
                )
        if self.created and not _is_time(self.created):
            raise _error(
                "nobody can say when the model was made",
                "a time in ISO 8601, as 2026-11-21T10:00:00+00:00",
                repr(self.created[:60]),
                "correct `created`, or leave it empty",
            )
        texts = (self.summary, self.licence, self.citation, *self.authors)
        for text in (*texts, *self.provenance, *self.provenance.values()):
            # Terminals obey what cannot be shown.
            if len(text) > _LONGEST_TEXT or not text.replace("\n", " ").isprintable():
                raise _error(
                    "the model's card holds a text that cannot be shown",
                    f"at most {_LONGEST_TEXT} signs, none of them a control sign",
                    repr(text[:60]),
                    "correct the text",
                )

    @property
    def key(self) -> str:
        """What the model is called in a library: "liver-ct@1.0"."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ModelBundle:
    """A trained model, described in full; the weights lie beside it.

    Args:
        card: name, version, licence, origin.
        description: channels and structures, as in every plan.
        plans: by name.
        members: the configurations whose probabilities are averaged.
        appearances: one per structure, in the order of the label scheme.
        postprocessing: in order.
        calibration: of the probabilities.
        scores: out-of-fold, in the form of `Scores.as_mapping`; None where unknown.
        fingerprint: of the training cases; new images are compared with it. None where unknown.
        quality: what the quality of new segmentations is predicted with; None where nothing was
            learned.

    Raises:
        ModelError: parts that do not belong together.
    """

    card: ModelCard
    description: DatasetDescription
    plans: Mapping[str, Plan]
    members: tuple[Member, ...]
    appearances: tuple[Appearance, ...]
    postprocessing: tuple[PostprocessingStep, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    scores: Mapping[str, Any] | None = None
    fingerprint: Fingerprint | None = None
    quality: QualityModel | None = None

    def __post_init__(self) -> None:
        self._check_plans()
        self._check_members()
        structures = [label.name for label in self.description.labels.foreground]
        shown = [appearance.name for appearance in self.appearances]
        if shown != structures:
            raise _error(
                "the appearances are not those of the structures",
                ", ".join(structures[:20]),
                ", ".join(shown[:20]) or "none",
                "give one appearance per structure, in the order of the labels",
            )
        judged = () if self.quality is None else self.quality.structures
        if not set(judged) <= set(structures):
            raise _error(
                "the quality is predicted of structures the model does not have",
                ", ".join(structures[:20]),
                ", ".join(sorted(set(judged) - set(structures))[:20]),
                "learn it again with `selfseg select`",
            )
        for step in self.postprocessing:
            unknown = [name for name in step.structures if name not in structures]
            if unknown:
                raise _error(
                    f"the postprocessing {step.kind} concerns structures the model does not have",
                    ", ".join(structures[:20]),
                    ", ".join(unknown[:20]),
                    "correct the names",
                )

    @property
    def stages(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """(plan, configuration) whose weights it takes, with the folds its members name.

        First stages of cascades have no folds here: all that the bundle holds predict.
        """
        wanted = {(member.plan, member.configuration): member.folds for member in self.members}
        for member in self.members:
            for name in _first_stages(self.plans[member.plan], member.configuration):
                wanted.setdefault((member.plan, name), ())
        return wanted

    def _check_plans(self) -> None:
        for key, plan in self.plans.items():
            if plan.name != key:
                raise _error(
                    "a plan goes by another name than its own", plan.name, key, "use its own name"
                )
            theirs, ours = plan.description, self.description
            same = theirs.channel_names == ours.channel_names and (
                theirs.labels.to_mapping() == ours.labels.to_mapping()
                and list(theirs.labels.to_mapping()) == list(ours.labels.to_mapping())
                and theirs.labels.regions_class_order == ours.labels.regions_class_order
            )
            if not same:
                raise _error(
                    f"the plan {key} is for other channels or structures than the model",
                    f"{', '.join(ours.channel_names)}; {ours.labels.to_mapping()}",
                    f"{', '.join(theirs.channel_names)}; {theirs.labels.to_mapping()}",
                    "put only plans of one data set into a model",
                )

    def _check_members(self) -> None:
        chosen = [(member.plan, member.configuration) for member in self.members]
        if not chosen or len(set(chosen)) != len(chosen):
            raise _error(
                "the members of the model are not valid",
                "at least one configuration, each once with all its folds",
                "; ".join(f"{plan} {name}" for plan, name in chosen) or "none",
                "name the configurations that are to vote",
            )
        for member in self.members:
            if member.plan not in self.plans:
                raise _error(
                    "a member names a plan that the model does not hold",
                    ", ".join(self.plans) or "a plan",
                    member.plan,
                    "add the plan, or take the member out",
                )
            plan = self.plans[member.plan]
            configuration = _configuration(plan, member.configuration)
            _first_stages(plan, member.configuration)
            dimensions = len(configuration.patch_size)
            if any(axis >= dimensions for axis in member.mirror_axes or ()):
                raise _error(
                    f"{member.configuration} mirrors an axis that its patches do not have",
                    f"axes below {dimensions}",
                    str(member.mirror_axes),
                    "correct mirror_axes",
                )
        unused = self.plans.keys() - {member.plan for member in self.members}
        if unused:
            raise _error(
                "the model holds plans that no member uses",
                "the plans of its members only",
                ", ".join(sorted(unused)),
                "leave them out",
            )


def _configuration(plan: Plan, name: str) -> ConfigurationPlan:
    if name not in plan.configurations:
        raise _error(
            f"the plan {plan.name} has no configuration {name!r}",
            ", ".join(plan.configurations),
            name,
            "use configurations of the plan",
        )
    return plan.configurations[name]


def _first_stages(plan: Plan, name: str) -> tuple[str, ...]:
    """The stages below a cascade, the nearest first."""
    found: list[str] = []
    previous = _configuration(plan, name).previous_stage
    while previous is not None:
        if previous in (name, *found):
            raise _error(
                "a cascade leads back to itself",
                "a first stage that has none below it",
                " < ".join((name, *found, previous)),
                "plan again with `selfseg plan`",
            )
        found.append(previous)
        previous = _configuration(plan, previous).previous_stage
    return tuple(found)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _error(what: str, expected: str, found: str, cure: str) -> ModelError:
    return ModelError(what, expected=expected, found=found, cure=cure)
