"""Whatever can predict, under one roof: a project, a model bundle, ONNX graphs, a library's name.

`open_model` finds out what it is given; from there on all are a `TrainedModel`.
"""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from ..domain.anatomy import appearances_of
from ..domain.bundle import Calibration, Member, ModelBundle, ModelCard
from ..domain.errors import ModelError, UsageError
from ..domain.events import Notice, Reporter, silent
from ..infer.engine import Backend
from ..io.bundle_files import BUNDLE_ENDING, StoredBundle, install_bundle, read_bundle
from ..io.bundle_layout import MANIFEST_FILE
from ..io.digests import digest_of
from ..io.library_folder import default_library
from ..io.onnx_files import ONNX_FILE, StoredOnnx, is_onnx_model, read_onnx
from ..io.project import PROJECT_FILE, Project
from ..io.weights import read_weights
from ..registry.library import Library
from .atlas_vote import AtlasVoters, atlases_of
from .bundle import ModelChoice, choose_members, name_from
from .calibrate import calibration_of
from .models import (
    LoadedModel,
    first_stage_voters,
    load_model,
    member_below,
    torch_backend,
    weights_path,
)
from .onnx_models import load_onnx_member
from .quality_files import quality_of

BackendName = Literal["torch", "onnx"]


class TrainedModel(Protocol):
    """A trained model that can be loaded, member by member."""

    @property
    def bundle(self) -> ModelBundle:
        """All but the weights. Its members are those that were chosen to vote."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides what is predicted."""
        ...

    @property
    def backend(self) -> BackendName:
        """What runs its networks."""
        ...

    @property
    def atlases(self) -> AtlasVoters | None:
        """Training cases that vote beside the networks; only a project has them."""
        ...

    def load(self, member: Member, device: str, *, reporter: Reporter = silent) -> LoadedModel:
        """The networks of a member, and below a cascade those of its first stage.

        Raises:
            ModelError: weights are missing or damaged.
        """
        ...


@dataclass(frozen=True)
class ProjectModel:
    """The trained networks of a project, which may still grow."""

    project: Project
    bundle: ModelBundle
    checkpoint: str
    digest: str
    backend: BackendName = "torch"
    atlases: AtlasVoters | None = None

    def read_weights(self, plan: str, configuration: str, fold: str) -> Mapping[str, NDArray[Any]]:
        """The weights of one network by name.

        Raises:
            ModelError: there are none.
        """
        found = self.bundle.plans[plan]
        return read_weights(
            weights_path(self.project, found, configuration, fold, self.checkpoint)
        )[0]

    def load(self, member: Member, device: str, *, reporter: Reporter = silent) -> LoadedModel:
        """See `TrainedModel.load`."""
        plan = self.bundle.plans[member.plan]
        return load_model(
            self.project,
            plan,
            member.configuration,
            member.folds,
            self.checkpoint,
            device,
            reporter=reporter,
        )


@dataclass(frozen=True)
class BundleModel:
    """A model bundle in a folder; see `open_model` for a packed one."""

    stored: StoredBundle
    bundle: ModelBundle
    digest: str
    backend: BackendName = "torch"
    atlases: None = None

    def read_weights(self, plan: str, configuration: str, fold: str) -> Mapping[str, NDArray[Any]]:
        """The weights of one network by name, checked.

        Raises:
            ModelError: there are none, or they are not what they should be.
        """
        return self.stored.read_weights(plan, configuration, fold)

    def load(self, member: Member, device: str, *, reporter: Reporter = silent) -> LoadedModel:
        """See `TrainedModel.load`."""
        plan = self.bundle.plans[member.plan]
        first, previous = None, plan.configuration(member.configuration).previous_stage
        if previous is not None:
            below = member_below(member, previous, self.stored.folds(member.plan, previous))
            reporter(Notice(f"first stage: {previous}, fold {', '.join(below.folds)}"))
            first = self.load(below, device, reporter=reporter)
        weights = (self.read_weights(plan.name, member.configuration, k) for k in member.folds)
        made: Backend = torch_backend(plan, member.configuration, weights, device)
        return LoadedModel(
            plan, member.configuration, made, first, member.mirror_axes, member.folds
        )


@dataclass(frozen=True)
class OnnxModel:
    """A folder of ONNX graphs."""

    stored: StoredOnnx
    bundle: ModelBundle
    digest: str
    backend: BackendName = "onnx"
    atlases: None = None

    def load(self, member: Member, device: str, *, reporter: Reporter = silent) -> LoadedModel:
        """See `TrainedModel.load`."""
        return load_onnx_member(self.stored, member, device=device)


@contextmanager
def open_model(
    where: str | Path,
    choice: ModelChoice | None = None,
    *,
    backend: BackendName | None = None,
    library: Path | None = None,
    reporter: Reporter = silent,
) -> Iterator[TrainedModel]:
    """The model that a path or name stands for; a packed one is unpacked while it is open.

    Args:
        where: a project, a bundle's folder, a `.selfseg` file, a folder of ONNX graphs, or
            the name of a model in the library. What exists as a path is taken as one.
        choice: which networks vote; what the model says otherwise.
        backend: what has to run the networks; what the model is made for otherwise.
        library: folder of the library; the user's otherwise.
        reporter: is told what was chosen.

    Raises:
        ModelError: there is no such model, it is damaged, or not made for that backend.
        UsageError: the choice means nothing for it.
    """
    choice = choice or ModelChoice()
    path = Path(where)
    if (path / PROJECT_FILE).is_file():
        yield _checked(_project_model(Project.open(path), choice, reporter), backend, path)
    elif (path / MANIFEST_FILE).is_file():
        yield _checked(_bundle_model(read_bundle(path), choice), backend, path)
    elif is_onnx_model(path):
        yield _checked(_onnx_model(read_onnx(path), choice), backend, path)
    elif path.is_file() and path.suffix.lower() == BUNDLE_ENDING:
        with tempfile.TemporaryDirectory(prefix="selfseg-") as folder:
            stored = install_bundle(path, Path(folder) / "model")
            yield _checked(_bundle_model(stored, choice), backend, path)
    else:
        stored = _from_library(path, str(where), Library(library or default_library()))
        yield _checked(_bundle_model(stored, choice), backend, stored.folder)


def narrowed(
    bundle: ModelBundle, choice: ModelChoice, folds: Callable[[str, str], Sequence[str]]
) -> ModelBundle:
    """The model with the members that were asked for.

    Args:
        bundle: of a model that is handed on.
        choice: plan, configurations, folds and arithmetic; whatever is not said stays as it is.
            The first stage of a cascade may be chosen, too.
        folds: those of a plan and configuration that the model holds.

    Raises:
        UsageError: the model has no such plan, configuration or fold.
    """
    if choice.checkpoint not in (None, "final"):
        raise UsageError(
            "a model that was handed on has one kind of weights",
            expected="no --checkpoint",
            found=str(choice.checkpoint),
            cure="leave it out, or name the project",
        )
    voting = {(m.plan, m.configuration): m for m in bundle.members}
    known = dict(voting)
    for plan, configuration in bundle.stages:
        there = tuple(folds(plan, configuration))
        known.setdefault((plan, configuration), Member(plan, configuration, there))
    _check_names("plan", [choice.plan] if choice.plan else [], [plan for plan, _ in known])
    _check_names("configuration", choice.configurations, [name for _, name in known])
    wanted = [
        member
        for (plan, name), member in known.items()
        if choice.plan in (None, plan)
        and (name in choice.configurations if choice.configurations else (plan, name) in voting)
    ]
    members = []
    for member in wanted:
        if choice.folds:
            known_folds = folds(member.plan, member.configuration)
            _check_names(f"fold of {member.configuration}", choice.folds, known_folds)
            member = replace(member, folds=choice.folds)
        members.append(member)
    used = {member.plan for member in members}
    plans = {name: plan for name, plan in bundle.plans.items() if name in used}
    if {(member.plan, member.configuration) for member in members} != voting.keys():
        # What was learned of the whole model says nothing about others.
        bundle = replace(bundle, calibration=Calibration(), quality=None)
    return replace(bundle, members=tuple(members), plans=choice.in_precision(plans))


def _check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            raise UsageError(
                f"the model has no {what} {name!r}",
                expected="one of " + ", ".join(dict.fromkeys(known)),
                found=name,
                cure=f"did you mean {' or '.join(close)}?" if close else "choose one of these",
            )


def _project_model(project: Project, choice: ModelChoice, reporter: Reporter) -> ProjectModel:
    chosen = choose_members(project, choice, reporter)
    selected = chosen.selected
    bundle = ModelBundle(
        card=ModelCard(name_from(project.folder.name), "unreleased"),
        description=chosen.plan.description,
        plans=choice.in_precision(chosen.plans),
        members=chosen.members,
        appearances=appearances_of(chosen.plan.description.labels),
        postprocessing=chosen.postprocessing,
        calibration=calibration_of(project, chosen.members),
        quality=quality_of(project, chosen.members, selected=selected is not None),
    )
    atlases = atlases_of(project, selected.atlas if selected else None, reporter=reporter)
    digest = _digest_of_project(project, bundle, chosen.checkpoint, atlases)
    return ProjectModel(project, bundle, chosen.checkpoint, digest, atlases=atlases)


def _digest_of_project(
    project: Project, bundle: ModelBundle, checkpoint: str, atlases: AtlasVoters | None
) -> str:
    total = hashlib.sha256(repr(bundle.postprocessing).encode())
    if atlases is not None:
        total.update(repr(atlases.fusion).encode())
    for (name, configuration), folds in bundle.stages.items():
        trained = project.trained_folds(name, configuration)
        # Without a fold of the right kind loading will say what is missing.
        for fold in folds or first_stage_voters(bundle.members[0].folds, trained) or trained:
            path = weights_path(project, bundle.plans[name], configuration, fold, checkpoint)
            total.update(bytes.fromhex(digest_of(path)))
    for name in bundle.plans:
        total.update((project.folder / "plans" / f"{name}.json").read_bytes())
    return total.hexdigest()


def _bundle_model(stored: StoredBundle, choice: ModelChoice) -> BundleModel:
    bundle = narrowed(stored.bundle, choice, stored.folds)
    return BundleModel(stored, bundle, digest_of(stored.folder / MANIFEST_FILE))


def _onnx_model(stored: StoredOnnx, choice: ModelChoice) -> OnnxModel:
    bundle = narrowed(stored.bundle, choice, stored.folds)
    return OnnxModel(stored, bundle, digest_of(stored.folder / ONNX_FILE))


def _checked(model: TrainedModel, backend: BackendName | None, path: Path) -> TrainedModel:
    if backend in (None, model.backend):
        return model
    raise UsageError(
        f"the model is not made for {backend}",
        expected=f"--backend {model.backend}, or none",
        found=f"--backend {backend}",
        cure="write it for ONNX Runtime first: `selfseg model export MODEL --onnx -o FOLDER`"
        if backend == "onnx"
        else "give the bundle or project that the graphs were made from",
        path=path,
    )


def _from_library(path: Path, key: str, library: Library) -> StoredBundle:
    entries = library.entries()
    known = {name for entry in entries for name in (entry.key, entry.name)}
    if key in known:
        stored = library.find(key).stored
        assert stored is not None  # noqa: S101 - `find` gives none that is damaged
        return stored
    names = sorted({entry.name for entry in entries})
    close = difflib.get_close_matches(key.split("@")[0], names, n=3)
    if path.exists():
        found = "a folder without one" if path.is_dir() else "another kind of file"
    else:
        found = "no such path, and no model of that name in the library"
    raise ModelError(
        "there is no model of that name or at that path",
        expected="a project, a model bundle (folder or .selfseg file), a folder of ONNX graphs, "
        "or one of the library: " + (", ".join(names[:20]) or "which is empty"),
        found=f"{key}: {found}",
        cure=f"did you mean {' or '.join(close)}?" if close else "see `selfseg model list`",
        path=library.folder if not path.exists() else path,
    )
