"""From a project's trained networks to a model that can be handed on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from .. import __version__
from ..crossvalidate.splits import ALL
from ..domain.anatomy import appearances_of
from ..domain.bundle import Member, ModelBundle, ModelCard, PostprocessingStep
from ..domain.errors import ModelError
from ..domain.events import Notice, Reporter, silent
from ..domain.plan import Plan
from ..evaluate.results import CaseScores, read_case_scores, summarise_cases
from ..io.bundle_files import Weights, WeightsKey
from ..io.image_endings import image_ending
from ..io.project import Project
from ..io.weights import read_weights
from .models import choose_trained, first_stage_voters, wanted_of_first_stage, weights_path
from .quality_files import quality_of, without_names
from .selected import SelectedModel, selected_model


@dataclass(frozen=True)
class CardOptions:
    """What only the user can say of a model; see `ModelCard`.

    Without a name the data set's is taken.
    """

    name: str | None = None
    version: str | None = None
    summary: str = ""
    licence: str = ""
    citation: str = ""
    authors: tuple[str, ...] = ()


Precision = Literal["auto", "float32"]
"""How networks compute: as their plan says, which is in half precision where the machine does so
natively; or in float32, which is slower and closest to the network as it was trained."""


@dataclass(frozen=True)
class ModelChoice:
    """Which networks of a project make the model, and how they compute.

    Without plan and configuration those that `selfseg select` chose, with its postprocessing; where
    nothing was selected, the first configuration that is trained. Without folds, all of them that
    were selected or are trained. Without a checkpoint, the selected one's, or "final".
    """

    plan: str | None = None
    configurations: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    checkpoint: Literal["final", "best"] | None = None
    precision: Precision = "auto"

    def in_precision(self, plans: Mapping[str, Plan]) -> Mapping[str, Plan]:
        """The plans, to be predicted with in the arithmetic that was asked for."""
        if self.precision == "auto":
            return plans
        return {name: replace(plan, autocast="off") for name, plan in plans.items()}


@dataclass(frozen=True)
class Chosen:
    """The networks of a project that make the model, and what is done to their label map.

    Args:
        plans: of the members, by name.
        members: who votes.
        checkpoint: "final" or "best".
        selected: what `selfseg select` chose, where that was taken with all its folds or some.
    """

    plans: Mapping[str, Plan]
    members: tuple[Member, ...]
    checkpoint: str
    selected: SelectedModel | None = None

    @property
    def postprocessing(self) -> tuple[PostprocessingStep, ...]:
        """What was chosen with the members."""
        return () if self.selected is None else self.selected.postprocessing

    @property
    def plan(self) -> Plan:
        """Of the first member; the others are for the same channels and structures."""
        return self.plans[self.members[0].plan]


def bundle_from_project(
    project: Project,
    card: CardOptions,
    choice: ModelChoice | None = None,
    *,
    created: datetime | None = None,
    reporter: Reporter = silent,
) -> tuple[ModelBundle, Iterator[tuple[WeightsKey, Weights]]]:
    """Describes the model, and reads its weights one network after the other.

    Names of cases and paths stay behind: they may be those of patients. Scores count the cases
    instead, and the fingerprint is kept without names.

    Args:
        project: with at least one finished training.
        card: what the user says of the model.
        choice: which networks.
        created: the present time otherwise.
        reporter: is told what was chosen.

    Returns:
        the description, and what `write_bundle` takes as weights.

    Raises:
        ModelError: nothing is trained, or not what was asked for.
    """
    choice = choice or ModelChoice()
    chosen = choose_members(project, choice, reporter)
    atlas = None if chosen.selected is None else chosen.selected.atlas
    if atlas is not None:
        text = f"left out: {len(atlas.cases)} training cases that vote as atlases; a model that is "
        text += "handed on holds no scans, and is not quite the one that was selected"
        reporter(Notice(text, level="warning"))
    # Here, because it can measure, too, and loads SciPy: importing models needs neither.
    from .calibrate import calibration_of

    fingerprint = project.read_fingerprint()
    description = project.description
    moment = created or datetime.now(UTC)
    provenance = {
        "data set": description.name,
        "training cases": str(description.case_count),
        "data set's SHA-256": "" if fingerprint is None else fingerprint.dataset_hash,
        "data set's licence": description.licence,
        "data set's reference": description.reference,
        "selfseg": __version__,
        "checkpoint": chosen.checkpoint,
        "left out": "" if atlas is None else f"{len(atlas.cases)} training cases as atlases",
    }
    # Scores and predicted quality of a model with atlases do not hold without them.
    selected = chosen.selected is not None and atlas is None
    quality = quality_of(project, chosen.members, selected=selected)
    bundle = ModelBundle(
        card=ModelCard(
            name=card.name or name_from(description.name),
            version=card.version or "1",
            summary=card.summary,
            licence=card.licence,
            citation=card.citation,
            authors=card.authors,
            created=moment.isoformat(timespec="seconds"),
            provenance={key: text for key, text in provenance.items() if text},
        ),
        description=chosen.plan.description,
        plans=chosen.plans,
        members=chosen.members,
        appearances=appearances_of(chosen.plan.description.labels),
        postprocessing=chosen.postprocessing,
        calibration=calibration_of(project, chosen.members),
        scores=_scores(project, chosen, reporter),
        fingerprint=None if fingerprint is None else replace(fingerprint, case_identifiers=()),
        quality=None if quality is None else without_names(quality),
    )
    return bundle, _weights(project, bundle, chosen.checkpoint)


def name_from(text: str) -> str:
    """A model's name from any text: "MS Lesion (FLAIR)" becomes "MS-Lesion-FLAIR"."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80].rstrip("-._")
    return kept or "model"


def choose_members(project: Project, choice: ModelChoice, reporter: Reporter) -> Chosen:
    """The networks of a project that vote.

    Raises:
        ModelError: nothing is trained, or not what was asked for.
    """
    if choice.plan is None and not choice.configurations:
        selected = selected_model(project, reporter=reporter)
        if selected is not None and choice.checkpoint in (None, selected.checkpoint):
            return _selected(project, selected, choice.folds, reporter)
    wanted: Sequence[str | None] = choice.configurations or (None,)
    plan_name, members = choice.plan, []
    for name in wanted:
        plan, configuration, trained = choose_trained(project, reporter, plan_name, name)
        plan_name = plan.name
        _check_trained(project, configuration, choice.folds, trained)
        # A fold that has seen every case would outvote none, but no score would hold for it.
        folds = choice.folds or tuple(fold for fold in trained if fold != ALL) or trained
        members.append(Member(plan.name, configuration, tuple(folds)))
    return Chosen({plan.name: plan}, tuple(members), choice.checkpoint or "final")


def _selected(
    project: Project, selected: SelectedModel, folds: tuple[str, ...], reporter: Reporter
) -> Chosen:
    members = tuple(replace(m, folds=folds) if folds else m for m in selected.members)
    for member in members:
        trained = project.trained_folds(member.plan, member.configuration)
        _check_trained(project, member.configuration, member.folds, trained)
    names = "; ".join(f"{m.plan} {m.configuration} fold {' '.join(m.folds)}" for m in members)
    reporter(Notice(f"selected: {names}"))
    return Chosen(selected.plans, members, selected.checkpoint, selected)


def _check_trained(
    project: Project, configuration: str, folds: Sequence[str], trained: Sequence[str]
) -> None:
    missing = [fold for fold in folds if fold not in trained]
    if missing:
        raise ModelError(
            f"fold {', '.join(missing)} of {configuration} is not trained",
            expected="some of " + ", ".join(trained),
            found=", ".join(folds),
            cure="train it, or choose other folds",
            path=project.folder,
        )


def _scores(project: Project, chosen: Chosen, reporter: Reporter) -> dict[str, Any] | None:
    """Out-of-fold scores, the cases counted through.

    Of what was selected, all of it; of other networks, what they are by themselves.
    """
    cases: list[CaseScores] = []
    selected = chosen.selected
    if selected is not None and selected.atlas is None and selected.scores_file.is_file():
        cases += read_case_scores(selected.scores_file)
    elif len(chosen.members) > 1:
        reporter(Notice("the model has no scores: they are not known for these configurations"))
        return None
    else:
        (member,) = chosen.members
        for fold in member.folds:
            folder = project.run_folder(member.plan, member.configuration, fold)
            path = folder / "validation.json"
            if fold != ALL and path.is_file():
                cases += read_case_scores(path)
    if not cases:
        reporter(Notice("the model has no scores: no fold was judged on cases it has not seen"))
        return None
    groups = list(dict.fromkeys(case.group for case in cases if case.group is not None))
    named = [
        replace(
            case,
            reference_file=f"held_out_{index:04d}{image_ending(case.reference_file) or ''}",
            prediction_file=f"held_out_{index:04d}{image_ending(case.prediction_file) or ''}",
            group=None if case.group is None else f"group_{groups.index(case.group) + 1:04d}",
        )
        for index, case in enumerate(cases, start=1)
    ]
    return summarise_cases(named).as_mapping()


def _weights(
    project: Project, bundle: ModelBundle, checkpoint: str
) -> Iterator[tuple[WeightsKey, Weights]]:
    for (plan_name, configuration), folds in bundle.stages.items():
        plan = bundle.plans[plan_name]
        chosen = folds or _first_stage_folds(project, bundle, plan_name, configuration)
        for fold in chosen:
            path = weights_path(project, plan, configuration, fold, checkpoint)
            weights, _ = read_weights(path, check_finite=True)
            yield WeightsKey(plan_name, configuration, fold), weights


def _first_stage_folds(
    project: Project, bundle: ModelBundle, plan: str, configuration: str
) -> tuple[str, ...]:
    trained = project.trained_folds(plan, configuration)
    above = [fold for member in bundle.members if member.plan == plan for fold in member.folds]
    chosen = first_stage_voters(above, trained)
    if not chosen:
        raise ModelError(
            f"the cascade cannot be exported without its first stage {configuration}",
            expected=f"fold {wanted_of_first_stage(above)} of {configuration}, trained",
            found=", ".join(trained) or "no trained fold",
            cure=f"train {configuration}, or export another configuration with -c",
            path=project.folder,
        )
    return chosen
