"""The trained networks of a project, ready to predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..crossvalidate.splits import ALL
from ..domain.bundle import Member
from ..domain.errors import ModelError
from ..domain.events import Notice, Reporter, silent
from ..domain.plan import Plan
from ..infer.backend import Backend
from ..io.project import Project
from ..io.weights import read_weights


def load_backend(
    project: Project,
    plan: Plan,
    configuration: str,
    folds: Sequence[str],
    checkpoint: str,
    device: str,
) -> Backend:
    """The trained networks of some folds, ready to predict; a fresh one without folds.

    Raises:
        ModelError: a fold has no such weights.
    """
    paths = [weights_path(project, plan, configuration, fold, checkpoint) for fold in folds]
    weights = (read_weights(path)[0] for path in paths)  # one fold's weights at a time
    return torch_backend(plan, configuration, weights, device)


def torch_backend(
    plan: Plan, configuration: str, weights: Iterable[Mapping[str, NDArray[Any]]], device: str
) -> Backend:
    """Some networks of one configuration, from their weights; a fresh one without weights.

    Raises:
        ModelError: weights do not fit the plan.
    """
    from ..infer.torch_backend import TorchBackend

    return TorchBackend(
        plan.configuration(configuration).network,
        plan.input_channels(configuration),
        plan.description.labels.head_count,
        weights,
        device=device,
        autocast=plan.autocast,
    )


def weights_path(
    project: Project, plan: Plan, configuration: str, fold: str, checkpoint: str
) -> Path:
    """The weights file of a trained fold.

    Raises:
        ModelError: there is none.
    """
    folder = project.run_folder(plan.name, configuration, fold)
    path = folder / f"weights_{checkpoint}.safetensors"
    if not path.is_file():
        raise ModelError(
            f"fold {fold} of {configuration} has no {checkpoint} weights",
            expected=path.name,
            found="no such file",
            cure="train it with `selfseg run`, or choose other folds",
            path=path.parent,
        )
    return path


@dataclass(frozen=True)
class LoadedModel:
    """The trained networks of one configuration; a cascade brings its first stage along.

    Args:
        plan: with the configuration.
        configuration: of that plan.
        backend: its folds, whose logits are averaged.
        first: of a cascade.
        mirror_axes: axes of the patch that may be mirrored; None: all.
        folds: their names.
    """

    plan: Plan
    configuration: str
    backend: Backend
    first: LoadedModel | None = None
    mirror_axes: tuple[int, ...] | None = None
    folds: tuple[str, ...] = ()

    @property
    def stage_count(self) -> int:
        """Predictions it takes to segment a case."""
        return 1 if self.first is None else 1 + self.first.stage_count


def load_model(
    project: Project,
    plan: Plan,
    configuration: str,
    folds: Sequence[str],
    checkpoint: str,
    device: str,
    *,
    reporter: Reporter = silent,
) -> LoadedModel:
    """The networks of some folds, and below a cascade every trained fold of its first stage.

    A cascade's fold "all" has learned from the predictions of the first stage's fold "all", and
    takes those. The reporter is told which folds of the first stage predict.

    Raises:
        ModelError: a fold has no such weights, or no fold of the first stage is trained.
    """
    first, previous = None, plan.configuration(configuration).previous_stage
    if previous is not None:
        trained = project.trained_folds(plan.name, previous)
        chosen = first_stage_voters(folds, trained)
        if not chosen:
            raise ModelError(
                f"{configuration} cannot predict without its first stage",
                expected=f"fold {wanted_of_first_stage(folds)} of {previous}, trained",
                found=", ".join(trained) or "no trained fold",
                cure=f"train {previous}, or choose another configuration with -c",
                path=project.folder,
            )
        reporter(Notice(f"first stage: {previous}, fold {', '.join(chosen)}"))
        first = load_model(project, plan, previous, chosen, checkpoint, device, reporter=reporter)
    backend = load_backend(project, plan, configuration, folds, checkpoint, device)
    return LoadedModel(plan, configuration, backend, first, folds=tuple(folds))


def first_stage_voters(folds: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """The folds of a first stage that predict for some folds of the second; () without any.

    "all" goes with "all", the others with the others, as they have learned.

    Args:
        folds: of the second stage.
        there: of the first stage.
    """
    of_all = set(folds) == {ALL}
    return tuple(fold for fold in there if (fold == ALL) == of_all)


def member_below(member: Member, configuration: str, there: Sequence[str]) -> Member:
    """The first stage of a cascade that was handed on, as a member.

    A model that was handed on may lack folds of the right kind: then whatever there is predicts.

    Args:
        member: the second stage.
        configuration: the first stage's.
        there: its folds.
    """
    folds = first_stage_voters(member.folds, there) or tuple(there)
    return Member(member.plan, configuration, folds, member.mirror_axes)


def wanted_of_first_stage(folds: Sequence[str]) -> str:
    """What `first_stage_voters` looks for, in words."""
    return ALL if set(folds) == {ALL} else "0, 1, ..."


def choose_trained(
    project: Project, reporter: Reporter, plan_name: str | None, configuration: str | None
) -> tuple[Plan, str, tuple[str, ...]]:
    """What to predict with where nothing was selected: all folds of the first configuration.

    Raises:
        ModelError: the project holds no trained model.
    """
    for name in project.plan_names if plan_name is None else (plan_name,):
        plan = project.read_plan(name)
        for candidate in plan.configurations if configuration is None else (configuration,):
            folds = project.trained_folds(name, candidate)
            if folds:
                used = f"{candidate}, fold{'s' if len(folds) > 1 else ''} {', '.join(folds)}"
                reporter(Notice(_which(project, used, name)))
                return plan, candidate, folds
    done = [f"{n}, {c}" for n in project.plan_names for c in project.trained_configurations(n)]
    wanted = f" of {configuration or plan_name}" if done else ""
    raise ModelError(
        f"there is no trained model{wanted} here",
        expected="a finished training" + wanted,
        found=f"trainings of {'; '.join(done)}" if done else "none",
        cure="train one with `selfseg run DATASET -p PROJECT`",
        path=project.folder,
    )


def _which(project: Project, used: str, plan: str) -> str:
    """What is used, and how another could be, where there are several."""
    trained = sum(len(project.trained_configurations(name)) for name in project.plan_names)
    if trained == 1:
        return f"using the model that this project has trained: {used}"
    return (
        f"using {used} of plan {plan}, the first of {trained} models that this project has "
        "trained; `selfseg select` finds the best"
    )
