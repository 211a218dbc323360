"""Which of the trained configurations and folds that lie together are to be imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..domain.errors import ModelError
from ..domain.events import Notice, Reporter
from ..io.json_files import read_plain_json
from .nnunet_checkpoint import describe_checkpoints
from .nnunet_layout import TrainedFolder

ALL = "all"
"""nnU-Net's name for the fold that learns from every case."""


@dataclass(frozen=True)
class NnunetOptions:
    """What of a model is imported, and what only the user can say of it.

    Args:
        configurations: "3d_fullres", or the whole name of a folder where that is not enough;
            several vote together. None: the only one there is, or the only cascade.
        folds: "0", ... or "all". None: all that are trained, "all" where there are no others.
        checkpoint: "final" takes "best" where there is no other, and says so.
        standard_network: take trainers that are not known; see `check_trainer`.
        name: of the model; the data set's otherwise.
        version: of the model.
        summary: what it segments in what.
        licence: of the weights; what dataset.json says otherwise.
        citation: what dataset.json gives as reference otherwise.
        authors: names.
    """

    configurations: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    checkpoint: Literal["final", "best"] = "final"
    standard_network: bool = False
    name: str = ""
    version: str = "1"
    summary: str = ""
    licence: str = ""
    citation: str = ""
    authors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """One configuration that votes; a cascade brings its first stage along.

    Args:
        folder: the trainer's folder.
        configuration: its name in the plans.
        checkpoints: fold to file.
        kind: "final" or "best".
        first: what a cascade builds on.
    """

    folder: TrainedFolder
    configuration: str
    checkpoints: Mapping[str, Path]
    kind: str
    first: Chosen | None = None

    @property
    def stages(self) -> tuple[Chosen, ...]:
        """This one, and those below."""
        return (self,) if self.first is None else (self, *self.first.stages)


def choose(
    found: Sequence[TrainedFolder],
    beside: Sequence[TrainedFolder],
    options: NnunetOptions,
    reporter: Reporter,
) -> tuple[Chosen, ...]:
    """The configurations that vote, with folds and checkpoints.

    Args:
        found: what was given.
        beside: what lies beside it; a cascade's first stage is looked for there too.
        options: see `NnunetOptions`.
        reporter: is told what was chosen without being asked for.

    Raises:
        ModelError: nothing fits, or there is more than one way to choose.
    """
    configurations = {folder.name: _configuration(folder) for folder in found}
    chosen = (
        [_named(found, configurations, wanted) for wanted in options.configurations]
        if options.configurations
        else [_only(found, configurations, reporter)]
    )
    if len({folder.name for folder in chosen}) != len(chosen):
        raise _unclear(found, "each configuration once", ", ".join(options.configurations))
    return tuple(
        _complete(folder, configurations[folder.name], (*found, *beside), options, reporter)
        for folder in chosen
    )


def previous_stage(folder: TrainedFolder, configuration: str) -> str | None:
    """The configuration that this one builds on, as its plans.json says; None without a cascade."""
    entry: Any = _configurations(folder)
    seen = set()
    while isinstance(entry, dict) and configuration in entry and configuration not in seen:
        seen.add(configuration)
        own = entry[configuration]
        if not isinstance(own, dict):
            return None
        if own.get("previous_stage") is not None:
            return str(own["previous_stage"])
        configuration = str(own.get("inherits_from"))
    return None


def _configurations(folder: TrainedFolder) -> object:
    plans = read_plain_json(folder.path / "plans.json")
    return plans.get("configurations") if isinstance(plans, dict) else None


def _configuration(folder: TrainedFolder) -> str:
    """By the folder's name; where it has another one, by what its checkpoint says."""
    if folder.identifier is not None:
        return folder.identifier[2]
    checkpoint = next(iter(next(iter(folder.folds.values())).values()))
    return describe_checkpoints([checkpoint])[0].configuration


def _named(
    found: Sequence[TrainedFolder], configurations: Mapping[str, str], wanted: str
) -> TrainedFolder:
    fitting = [f for f in found if wanted in (f.name, configurations[f.name])]
    if len(fitting) > 1:
        raise ModelError(
            f"several trained models are {wanted!r}",
            expected="one of " + ", ".join(folder.name for folder in fitting),
            found=wanted,
            cure=f"give the folder of one of them, or its whole name: -c {fitting[0].name}",
            path=fitting[0].path.parent,
        )
    if not fitting:
        raise _unclear(found, f"one trained model that is {wanted!r}", "none of them")
    return fitting[0]


def _only(
    found: Sequence[TrainedFolder], configurations: Mapping[str, str], reporter: Reporter
) -> TrainedFolder:
    """The only one; where one builds on the others, that one."""
    if len(found) == 1:
        return found[0]
    below = {previous_stage(folder, configurations[folder.name]) for folder in found}
    last = [folder for folder in found if configurations[folder.name] not in below]
    if len(last) != 1:
        raise _unclear(found, "to be told which configuration to import", f"{len(found)} of them")
    reporter(Notice(f"importing {last[0].name} with what it builds on"))
    return last[0]


def _complete(
    folder: TrainedFolder,
    configuration: str,
    around: Sequence[TrainedFolder],
    options: NnunetOptions,
    reporter: Reporter,
    with_folds: tuple[str, ...] = (),
    below: tuple[str, ...] = (),
) -> Chosen:
    """Chooses folds and checkpoints, and the first stage of a cascade with them."""
    kind, checkpoints = _checkpoints(folder, with_folds or options.folds, options, reporter)
    previous = previous_stage(folder, configuration)
    first = None
    if previous is not None:
        if previous in (configuration, *below):
            raise ModelError(
                f"the cascade {configuration} leads back to itself",
                expected="a first stage that builds on nothing",
                found=previous,
                cure="get the model's plans.json again from where it was published",
                path=folder.path / "plans.json",
            )
        first_folder = _first_stage(folder, previous, around, reporter)
        # Fold all of the second stage has learned from fold all of the first.
        of_all = tuple(checkpoints) == (ALL,)
        folds = (ALL,) if of_all else tuple(fold for fold in first_folder.folds if fold != ALL)
        first = _complete(
            first_folder, previous, around, options, reporter, folds or (ALL,),
            (*below, configuration),
        )  # fmt: skip
    return Chosen(folder, configuration, checkpoints, kind, first)


def _first_stage(
    folder: TrainedFolder, previous: str, around: Sequence[TrainedFolder], reporter: Reporter
) -> TrainedFolder:
    names = folder.identifier
    fitting = [
        other
        for other in around
        if other.identifier is not None
        and other.identifier[2] == previous
        and (names is None or other.identifier[1] == names[1])
    ]
    same = [
        f for f in fitting if names is not None and f.identifier and f.identifier[0] == names[0]
    ]
    chosen = same or fitting
    if len(chosen) != 1:
        raise ModelError(
            f"the cascade {folder.name} cannot be imported without its first stage",
            expected=f"one trained {previous} with the same plans beside it",
            found=", ".join(other.name for other in chosen) or "none",
            cure="give the data set's folder, or a zip file, that holds both trained stages",
            path=folder.path,
        )
    if not same:
        reporter(Notice(f"first stage: {chosen[0].name}"))
    return chosen[0]


def _checkpoints(
    folder: TrainedFolder, wanted: Sequence[str], options: NnunetOptions, reporter: Reporter
) -> tuple[str, Mapping[str, Path]]:
    kind: str = options.checkpoint
    trained = sorted(folder.folds, key=lambda fold: (fold == ALL, fold.zfill(9)))
    folds = list(wanted) or [fold for fold in trained if fold != ALL] or trained
    missing = [fold for fold in folds if fold not in folder.folds]
    if missing or len(set(folds)) != len(folds):
        raise ModelError(
            f"{folder.name} does not have these folds",
            expected="some of " + ", ".join(trained),
            found=", ".join(folds),
            cure="choose other folds with -f",
            path=folder.path,
        )
    there = [fold for fold in folds if kind in folder.folds[fold]]
    if not there:
        other = "best" if kind == "final" else "final"
        reporter(
            Notice(
                f"{folder.name}: no fold has a {kind} checkpoint, the {other} one is taken",
                "warning",
            )
        )
        kind, there = other, folds
    left_out = [fold for fold in folds if fold not in there]
    if left_out:
        if wanted:
            raise ModelError(
                f"fold {', '.join(left_out)} of {folder.name} has no {kind} checkpoint",
                expected=f"checkpoint_{kind}.pth",
                found=", ".join(sorted(folder.folds[left_out[0]])),
                cure="choose other folds with -f, or --checkpoint best",
                path=folder.path,
            )
        reporter(
            Notice(
                f"{folder.name}: fold {', '.join(left_out)} has no {kind} checkpoint and is left "
                "out",
                "warning",
            )
        )
    if ALL in trained and ALL not in folds:
        reporter(Notice(f"{folder.name}: fold all is left out, the others vote"))
    return kind, {fold: folder.folds[fold][kind] for fold in there}


def _unclear(found: Sequence[TrainedFolder], expected: str, given: str) -> ModelError:
    names = ", ".join(folder.name for folder in found)
    return ModelError(
        "it is not clear which of the trained models is meant",
        expected=expected,
        found=f"{given}; there are {names}",
        cure="choose with --configuration NAME, or several times for models that vote together"
        + _advice(found[0].path.parent),
        path=found[0].path.parent,
    )


def _advice(dataset: Path) -> str:
    """What nnU-Net itself has found best, where it says so."""
    path = dataset / "inference_information.json"
    if not path.is_file():
        return ""
    content = read_plain_json(path)
    best = content.get("best_model_or_ensemble") if isinstance(content, dict) else None
    selected = best.get("selected_model_or_models") if isinstance(best, dict) else None
    names = [
        "__".join(str(entry.get(key)) for key in ("trainer", "plans_identifier", "configuration"))
        for entry in selected or []
        if isinstance(entry, dict)
    ]
    return f"; nnU-Net found best: {' with '.join(names)[:300]}" if names else ""
