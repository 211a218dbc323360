"""A trained nnU-Net v2 model becomes a bundle.

    plans.json, dataset.json -> Plan, LabelScheme        (`io.nnunet_json`)
    checkpoint_final.pth     -> facts, safetensors       (`nnunet_checkpoint`, a child process)
    postprocessing, scores   -> data                     (`nnunet_postprocessing`)

Every class that the files name is compared with a list; none is imported.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..domain.anatomy import appearances_of
from ..domain.bundle import Member, ModelBundle, ModelCard
from ..domain.errors import ModelError, ProjectError, SelfsegError
from ..domain.events import Notice, Progress, Reporter, StageFinished, StageStarted, silent
from ..domain.network_shapes import weight_shapes
from ..domain.plan import Plan
from ..io.atomic_files import TEMPORARY_PREFIX
from ..io.bundle_files import Weights, WeightsKey, write_bundle
from ..io.checked_weights import check_weights, read_checked_weights
from ..io.digests import digest_of
from ..network.peer_names import from_peer_names
from .nnunet_checkpoint import (
    CheckpointFacts,
    Conversion,
    convert_checkpoints,
    describe_checkpoints,
)
from .nnunet_choice import Chosen, NnunetOptions, choose
from .nnunet_layout import find_trained, neighbours, opened_source
from .nnunet_plan import read_plans
from .nnunet_results import fingerprint_of, postprocessing_of, scores_of
from .nnunet_trainers import check_trainer

_STAGE = "import"


@dataclass(frozen=True)
class _Network:
    """One checkpoint on its way into the bundle."""

    key: WeightsKey
    checkpoint: Path
    names: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


def import_nnunet(
    source: Path,
    target: Path,
    *,
    options: NnunetOptions | None = None,
    reporter: Reporter = silent,
) -> Path:
    """Imports a trained nnU-Net v2 model.

    Args:
        source: the data set's or trainer's folder in nnUNet_results, one fold, or a zip file:
            of `nnUNetv2_export_model_to_zip` or as models are published.
        target: the bundle: a new folder, or one file where the name ends in `.selfseg`.
        options: see `NnunetOptions`.
        reporter: takes notices and progress.

    Returns:
        the target.

    Raises:
        ModelError: the model is refused, and why; nothing is left.
        PlanError, DatasetError, FileFormatError: plans.json or dataset.json cannot be read, or
            ask for something that cannot be repeated here.
        ProjectError: the bundle cannot be written.
    """
    target = Path(target)
    with nnunet_model(source, options=options, reporter=reporter, scratch=target.parent) as (
        bundle,
        weights,
    ):
        return write_bundle(target, bundle, weights)


@contextmanager
def nnunet_model(
    source: Path,
    *,
    options: NnunetOptions | None = None,
    reporter: Reporter = silent,
    scratch: Path | None = None,
    created: datetime | None = None,
) -> Iterator[tuple[ModelBundle, Iterator[tuple[WeightsKey, Weights]]]]:
    """Description and weights of a trained nnU-Net v2 model, as `write_bundle` takes them.

    Args:
        source: see `import_nnunet`.
        options: see `NnunetOptions`.
        reporter: takes notices and progress.
        scratch: folder for temporary files, about as large as the model; it is made where it is
            missing. The system's otherwise.
        created: the present time otherwise.

    Raises:
        SelfsegError: see `import_nnunet`. Some of it only while the weights are taken.
    """
    options = options or NnunetOptions()
    with _temporary_folder(scratch) as place:
        try:
            with opened_source(Path(source), place) as folder:
                found = find_trained(folder)
                chosen = choose(found, neighbours(folder), options, reporter)
                plans, keys = read_plans(chosen)
                networks, facts = _networks(chosen, plans, keys, options)
                bundle = _bundle(chosen, plans, keys, facts, options, reporter, created)
                yield bundle, _weights(networks, place, reporter)
        except SelfsegError as error:
            if error.path is None or not error.path.is_relative_to(place):
                raise
            # What was unpacked is gone when the user reads this.
            inside = error.path.relative_to(place).parts[1:]
            raise error.retold(path=Path(source).joinpath(*inside)) from error


@contextmanager
def _temporary_folder(scratch: Path | None) -> Iterator[Path]:
    try:
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=scratch)
    except OSError as error:
        raise ProjectError(
            "there is no place for temporary files",
            expected="a folder with the right to write",
            found=error.strerror or str(error),
            cure="choose another folder for the model",
            path=scratch,
        ) from error
    with folder as place:
        yield Path(place)


def _networks(
    chosen: Sequence[Chosen],
    plans: Mapping[str, Plan],
    keys: Mapping[int, str],
    options: NnunetOptions,
) -> tuple[tuple[_Network, ...], dict[Path, CheckpointFacts]]:
    """Opens every checkpoint and compares it with what the plan says."""
    jobs = [
        (plans[keys[index]], stage, fold, checkpoint)
        for index, entry in enumerate(chosen)
        for stage in entry.stages
        for fold, checkpoint in stage.checkpoints.items()
    ]
    paths = [checkpoint for *_, checkpoint in jobs]
    facts = dict(zip(paths, describe_checkpoints(paths), strict=True))
    networks: dict[WeightsKey, _Network] = {}
    for plan, stage, fold, checkpoint in jobs:
        told = facts[checkpoint]
        check_trainer(told.trainer, checkpoint, assume_standard=options.standard_network)
        if told.configuration != stage.configuration:
            raise ModelError(
                "the checkpoint belongs to another configuration than its folder",
                expected=stage.configuration,
                found=told.configuration,
                cure="give the folder the name that nnU-Net gave it",
                path=checkpoint,
            )
        theirs = from_peer_names({name: name for name in told.shapes})
        shapes = weight_shapes(
            plan.configuration(stage.configuration).network,
            plan.input_channels(stage.configuration),
            plan.description.labels.head_count,
        )
        _compare(checkpoint, {ours: told.shapes[name] for ours, name in theirs.items()}, shapes)
        key = WeightsKey(plan.name, stage.configuration, fold)
        names = {name: ours for ours, name in theirs.items()}
        networks[key] = _Network(key, checkpoint, names, shapes)
    return tuple(networks.values()), facts


def _compare(
    path: Path,
    given: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
) -> None:
    wrong = sorted(n for n in given.keys() | wanted.keys() if given.get(n) != wanted.get(n))
    if not wrong:
        return
    first = wrong[0]
    batch_norm = any("running_" in name for name in wrong)
    raise ModelError(
        "the checkpoint's network is not the one its plans describe",
        expected=f"{first[:100]} of shape {wanted.get(first, 'none: no such layer')}",
        found=f"{given.get(first, 'no such layer')}, and {len(wrong) - 1} more differences"
        + ("; it normalises over the batch" if batch_norm else ""),
        cure="give the plans.json and dataset.json it was trained with; networks of custom "
        "trainers cannot be imported",
        path=path,
    )


def _bundle(
    chosen: Sequence[Chosen],
    plans: Mapping[str, Plan],
    keys: Mapping[int, str],
    facts: Mapping[Path, CheckpointFacts],
    options: NnunetOptions,
    reporter: Reporter,
    created: datetime | None,
) -> ModelBundle:
    members = tuple(_member(entry, plans[keys[index]], facts) for index, entry in enumerate(chosen))
    description = plans[keys[0]].description
    if any(plan.orientation == "ras" for plan in plans.values()):
        reporter(Notice("images are turned to RAS before they are segmented, as in training"))
    provenance = {
        "data set": description.name,
        "program": "nnU-Net v2",
        "trained as": "; ".join(entry.folder.name for entry in chosen)
        if all(entry.folder.identifier for entry in chosen)
        else "; ".join(entry.configuration for entry in chosen),
        "trainer": "; ".join(dict.fromkeys(told.trainer for told in facts.values())),
        "epochs": "; ".join(dict.fromkeys(str(told.epochs or "?") for told in facts.values())),
        "checkpoint": "; ".join(dict.fromkeys(entry.kind for entry in chosen)),
    }
    for path in facts:
        where = "/".join(path.parts[-3:]) if len(chosen) > 1 else "/".join(path.parts[-2:])
        provenance[f"SHA-256 of {where}"] = digest_of(path)
    moment = created or datetime.now(UTC)
    return ModelBundle(
        card=ModelCard(
            name=options.name or _name_from(description.name),
            version=options.version,
            summary=options.summary,
            licence=options.licence or description.licence,
            citation=options.citation or description.reference,
            authors=options.authors,
            created=moment.isoformat(timespec="seconds"),
            provenance=provenance,
        ),
        description=description,
        plans=plans,
        members=members,
        appearances=appearances_of(description.labels),
        postprocessing=postprocessing_of(chosen, description.labels, reporter),
        scores=scores_of(chosen, description.labels, reporter),
        fingerprint=fingerprint_of(chosen[0].folder.path, reporter),
    )


def _member(entry: Chosen, plan: Plan, facts: Mapping[Path, CheckpointFacts]) -> Member:
    axes = {
        tuple(sorted(facts[path].mirror_axes))
        for stage in entry.stages
        for path in stage.checkpoints.values()
    }
    if len(axes) != 1:
        raise ModelError(
            f"the trainings of {entry.folder.name} were mirrored in different ways",
            expected="the same axes in all folds and stages",
            found="; ".join(str(one) for one in sorted(axes)),
            cure="choose folds that were trained in the same way with -f",
            path=entry.folder.path,
        )
    (mirrored,) = axes
    dimensions = len(plan.configuration(entry.configuration).patch_size)
    return Member(
        plan.name,
        entry.configuration,
        tuple(entry.checkpoints),
        None if mirrored == tuple(range(dimensions)) else mirrored,
    )


def _weights(
    networks: Sequence[_Network], place: Path, reporter: Reporter
) -> Iterator[tuple[WeightsKey, Weights]]:
    began = time.monotonic()
    reporter(StageStarted(_STAGE, total=len(networks), unit="network"))
    conversions = [
        Conversion(network.checkpoint, network.names, place / f"{index}.safetensors")
        for index, network in enumerate(networks)
    ]
    answers = convert_checkpoints(conversions)
    for done, (network, _) in enumerate(zip(networks, answers, strict=True)):
        path = conversions[done].target
        try:
            weights = read_checked_weights(path, network.shapes)
            check_weights(weights, network.shapes, network.checkpoint)
        except ModelError as error:
            raise error.retold(path=network.checkpoint) from error
        path.unlink()
        yield network.key, weights
        seconds = (time.monotonic() - began) / (done + 1)
        left = seconds * (len(networks) - done - 1)
        reporter(Progress(_STAGE, done + 1, len(networks), left, network.key.file_name))
    reporter(StageFinished(_STAGE, seconds=time.monotonic() - began))


def _name_from(text: str) -> str:
    """A model's name from a data set's."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80].rstrip("-._")
    return kept or "model"
