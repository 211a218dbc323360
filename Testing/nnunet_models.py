"""Trained nnU-Net v2 models as it writes them, with weights that nobody has trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.fingerprint import IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.network_shapes import weight_shapes
from selfseg.domain.plan import Architecture, ComputeTarget, ConfigurationPlan, NetworkPlan, Plan
from selfseg.io.nnunet_json import description_to_nnunet, plan_to_nnunet

LABELS = LabelScheme.from_mapping({"background": 0, "liver": 1, "lesion": 2})
REGIONS = LabelScheme.from_mapping(
    {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, [1, 2]
)
CT = IntensityProperties(50.5, 48.0, 21.25, -1000.0, 1500.0, -70.5, 240.125)
DATASET = "Dataset042_Made"


def tiny_plan(labels: LabelScheme = LABELS, architecture: Architecture = "plain") -> Plan:
    """2d, 3d_fullres and the two stages of a cascade, of a few features each."""
    configurations = {}
    for name, dimensions, spacing in (
        ("2d", 2, 1.0),
        ("3d_fullres", 3, 1.0),
        ("3d_lowres", 3, 2.0),
        ("3d_cascade_fullres", 3, 1.0),
    ):
        network = NetworkPlan(
            architecture,
            (2, 4, 4),
            ((3,) * dimensions,) * 3,
            ((1,) * dimensions, (2,) * dimensions, (2,) * dimensions),
            (2, 2, 2) if architecture == "plain" else (1, 2, 1),
            (2, 2) if architecture == "plain" else (1, 1),
        )
        configurations[name] = ConfigurationPlan(
            name=name,
            spacing=(spacing,) * dimensions,
            patch_size=(8,) * dimensions,
            median_shape=(12.5,) * dimensions,
            batch_size=2,
            normalisation=("ct",),
            normalise_in_mask=(False,),
            batch_dice=False,
            network=network,
            previous_stage="3d_lowres" if name == "3d_cascade_fullres" else None,
        )
    return Plan(
        "plain" if architecture == "plain" else "resenc_m",
        "plain" if architecture == "plain" else "resenc_m",
        DatasetDescription("Made", ("CT",), labels, case_count=3, licence="CC0-1.0"),
        (1.0, 1.0, 1.0),
        (12, 12, 12),
        (0, 1, 2),
        (0, 1, 2),
        configurations,
        (CT,),
        ComputeTarget(8.0),
    )


def weights_of(plan: Plan, configuration: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under our names."""
    rng = np.random.default_rng(seed)
    shapes = weight_shapes(
        plan.configuration(configuration).network,
        plan.input_channels(configuration),
        plan.description.labels.head_count,
    )
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def their_state(weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The state dict of nnU-Net's network: the same numbers under several names."""
    state: dict[str, torch.Tensor] = {}
    for name, array in weights.items():
        tensor = torch.tensor(array)
        theirs = _their_name(name, weights)
        names = [theirs]
        for ours, index in ((".conv.", 0), (".norm.", 1)):
            if ours in theirs:
                names.append(theirs.replace(ours, f".all_modules.{index}."))
        for each in names:
            state[each] = tensor
            if each.startswith("encoder."):
                state[f"decoder.{each}"] = tensor
    return dict(sorted(state.items()))


def _their_name(name: str, weights: Mapping[str, object]) -> str:
    room, *rest = name.split(".")
    if room == "stem":
        return ".".join(("encoder.stem.convs.0", *rest))
    if room == "encoder":
        residual = "stem.conv.weight" in weights
        stage, block, *inner = rest
        if not residual:
            return ".".join((f"encoder.stages.{stage}.0.convs.{block}", *inner))
        if inner[0] == "projection":
            inner[0] = "skip.1" if block == "0" and stage != "0" else "skip.0"
        return ".".join((f"encoder.stages.{stage}.blocks.{block}", *inner))
    if room == "upsamplings":
        return ".".join(("decoder.transpconvs", *rest))
    if room == "heads":
        return ".".join(("decoder.seg_layers", *rest))
    return ".".join((f"decoder.stages.{rest[0]}.convs.{rest[1]}", *rest[2:]))


def checkpoint_of(
    plan: Plan,
    configuration: str,
    weights: Mapping[str, np.ndarray],
    *,
    fold: int | str = 0,
    trainer: str = "nnUNetTrainer",
    mirror_axes: Sequence[int] | None = (0, 1, 2),
) -> dict[str, Any]:
    """All that nnU-Net v2 2.8.1 saves, NumPy's numbers of the log among it."""
    state = their_state(weights)
    momentum = {i: {"momentum_buffer": torch.zeros_like(t)} for i, t in enumerate(state.values())}
    return {
        "network_weights": state,
        "optimizer_state": {"state": momentum, "param_groups": [{"lr": 0.01, "nesterov": True}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float32(0.6)],
            "ema_fg_dice": [np.float64(0.5)],
            "dice_per_class_or_region": [[np.float64(0.5), np.float64(0.25)]],
            "train_losses": [np.float64(-0.1)],
            "epoch_start_timestamps": [1.5],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {
            "plans": plan_to_nnunet(plan),
            "configuration": configuration,
            "fold": fold,
            "dataset_json": description_to_nnunet(plan.description),
            "device": torch.device("cuda"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": None if mirror_axes is None else tuple(mirror_axes),
    }


def write_model(
    results: Path,
    plan: Plan,
    configuration: str = "3d_fullres",
    folds: Sequence[int | str] = (0,),
    *,
    trainer: str = "nnUNetTrainer",
    kind: str = "final",
    mirror_axes: Sequence[int] | None = (0, 1, 2),
    **changes: Any,
) -> Path:
    """One trainer's folder in nnUNet_results; fold k has the weights of seed k (all: 99).

    `changes` replace entries of the checkpoints; ... takes an entry out.
    """
    plans = plan_to_nnunet(plan)
    folder = results / DATASET / f"{trainer}__{plans['plans_name']}__{configuration}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(description_to_nnunet(plan.description)))
    axes = mirror_axes
    if axes is not None and plan.configuration(configuration).is_2d:
        axes = [axis for axis in axes if axis < 2]
    for fold in folds:
        weights = weights_of(plan, configuration, 99 if fold == "all" else int(fold))
        content = checkpoint_of(
            plan, configuration, weights, fold=fold, trainer=trainer, mirror_axes=axes
        )
        content = {k: v for k, v in (content | changes).items() if v is not ...}
        path = folder / f"fold_{fold}" / f"checkpoint_{kind}.pth"
        path.parent.mkdir(exist_ok=True)
        torch.save(content, path)
    return folder


def with_orientation(plan: Plan) -> Plan:
    """A plan whose images are read by nnU-Net's reader that turns them."""
    description = replace(plan.description, reader="NibabelIOWithReorient")
    return replace(plan, description=description, orientation="ras")
