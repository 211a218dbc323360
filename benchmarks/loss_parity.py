"""The loss and twenty training steps beside nnunetv2's.

    python benchmarks/loss_parity.py --peer-python PEER/bin/python [--long] [--golden]

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1. Its trainer builds
its own loss, targets, network, optimiser and learning rates and makes its own steps; inputs
and weights are made from seeds on both sides (Testing/synthetic_training.py). Prints the largest
differences and exits with 1 where a loss differs by more than 1e-5, a gradient by more than
1e-6, or a loss curve by more than 1e-3. `--long` adds the hippocampus's standard network (some
minutes); `--golden` writes the peer's results for Testing/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "Testing"))

from synthetic_training import (  # noqa: E402
    COURSES,
    GOLDEN,
    LONG_COURSES,
    LOSS_CASES,
    SCHEMES,
    Course,
    LossCase,
    gradient_of,
    our_course,
    our_loss,
    seeded_weights,
)

LOSS_TOLERANCE, GRADIENT_TOLERANCE, CURVE_TOLERANCE = 1e-5, 1e-6, 1e-3


# --- in nnunetv2's environment


def peer_trainer(scheme: str, batch_dice: bool, strides: Any) -> Any:
    """What the methods of nnUNetTrainer need of a trainer, without a data set behind it."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    labels, order = SCHEMES[scheme]
    trainer = SimpleNamespace(
        device=torch.device("cpu"),
        is_ddp=False,
        grad_scaler=None,
        enable_deep_supervision=True,
        initial_lr=1e-2,
        weight_decay=3e-5,
        label_manager=LabelManager(labels, order),
        configuration_manager=SimpleNamespace(
            batch_dice=batch_dice, pool_op_kernel_sizes=[list(s) for s in strides]
        ),
    )
    trainer._do_i_compile = lambda: False
    trainer._get_deep_supervision_scales = lambda: nnUNetTrainer._get_deep_supervision_scales(
        trainer
    )
    trainer.loss = nnUNetTrainer._build_loss(trainer)
    manager = trainer.label_manager
    transforms = nnUNetTrainer.get_validation_transforms(
        trainer._get_deep_supervision_scales(),
        foreground_labels=manager.foreground_labels,
        regions=manager.foreground_regions if manager.has_regions else None,
        ignore_label=manager.ignore_label,
    )

    def targets(labels: np.ndarray) -> list[Any]:
        """As its loader makes them: sample by sample, then one tensor per resolution."""
        samples = []
        for one in labels:
            segmentation = torch.from_numpy(one[None])
            image = torch.zeros((1, *one.shape))
            samples.append(transforms(image=image, segmentation=segmentation)["segmentation"])
        return [torch.stack(level) for level in zip(*samples, strict=True)]

    trainer.targets = targets
    return trainer


def peer_loss(case: LossCase) -> tuple[float, list[np.ndarray]]:
    """Loss and gradients. Its scales leave out the bottleneck, which has no output."""
    import torch

    trainer = peer_trainer(case.scheme, case.batch_dice, (*case.strides, case.strides[-1]))
    outputs = [torch.from_numpy(x).requires_grad_() for x in case.logits()]
    loss = trainer.loss(outputs, trainer.targets(case.labels()))
    loss.backward()
    return float(loss.detach()), [gradient_of(x) for x in outputs]


def peer_course(course: Course) -> list[float]:
    """The loss before each step of its own train_step."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plan = course.network
    trainer = peer_trainer(course.scheme, course.batch_dice, plan["strides"])
    trainer.network = get_network_from_plans(
        "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        {
            "n_stages": len(plan["features_per_stage"]),
            "features_per_stage": plan["features_per_stage"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": plan["kernel_sizes"],
            "strides": plan["strides"],
            "n_conv_per_stage": plan["blocks_per_stage"],
            "n_conv_per_stage_decoder": plan["convs_per_decoder_stage"],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        ["conv_op", "norm_op", "dropout_op", "nonlin"],
        course.channels,
        course.head_count,
        deep_supervision=True,
    )
    state = trainer.network.state_dict()
    ours = peer_names(tuple(state))
    values = seeded_weights({ours[k]: state[k].shape for k in ours})
    for key, tensor in state.items():  # every entry of a weight that it holds several times
        once = key.replace("decoder.encoder.", "encoder.")
        once = once.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
        tensor.copy_(torch.from_numpy(values[ours[once]]))
    trainer.num_epochs = course.epochs
    optimiser, rates = nnUNetTrainer.configure_optimizers(trainer)
    trainer.optimizer = optimiser
    losses = []
    for epoch in range(course.epochs):
        rates.step(epoch)
        for iteration in range(course.iterations):
            images, labels = course.images_and_labels(epoch * course.iterations + iteration)
            batch = {"data": torch.from_numpy(images), "target": trainer.targets(labels)}
            losses.append(float(nnUNetTrainer.train_step(trainer, batch)["loss"]))
    return losses


def peer_names(names: tuple[str, ...]) -> dict[str, str]:
    """Their names to ours. Loaded by its file: selfseg is not installed beside nnunetv2."""
    sys.path.insert(0, str(PROJECT / "Logic"))
    from selfseg.network.peer_names import from_peer_names

    return {theirs: ours for ours, theirs in from_peer_names({n: n for n in names}).items()}


def write(folder: Path, long: bool) -> None:
    results: dict[str, Any] = {"losses": {}, "curves": {}}
    gradients: dict[str, np.ndarray] = {}
    for case in LOSS_CASES:
        loss, parts = peer_loss(case)
        results["losses"][case.name] = loss
        gradients |= {f"{case.name}/{i}": part for i, part in enumerate(parts)}
    for course in COURSES + (LONG_COURSES if long else ()):
        results["curves"][course.name] = peer_course(course)
    np.savez(folder / "gradients.npz", **gradients)
    (folder / "results.json").write_text(json.dumps(results))


# --- in ours


def compare(folder: Path, long: bool) -> bool:
    """Prints the differences; True where all are small enough."""
    results = json.loads((folder / "results.json").read_text())
    good = True
    print("| case | nnunetv2 | ours | difference | of gradients |\n|---|---|---|---|---|")
    with np.load(folder / "gradients.npz") as gradients:
        for case in LOSS_CASES:
            theirs = results["losses"][case.name]
            loss, parts = our_loss(case)
            gap = max(
                float(np.abs(part - gradients[f"{case.name}/{i}"]).max())
                for i, part in enumerate(parts)
            )
            good &= abs(loss - theirs) <= LOSS_TOLERANCE and gap <= GRADIENT_TOLERANCE
            values = f"{theirs:.6f} | {loss:.6f} | {abs(loss - theirs):.1e} | {gap:.1e}"
            print(f"| {case.name} | {values} |")
    print("\n| 20 steps | nnunetv2 first, last | ours | largest difference |\n|---|---|---|---|")
    for course in COURSES + (LONG_COURSES if long else ()):
        curve, losses = results["curves"][course.name], our_course(course)
        gap = float(np.abs(np.array(curve) - np.array(losses)).max())
        good &= gap <= CURVE_TOLERANCE
        print(
            f"| {course.name} | {curve[0]:.5f}, {curve[-1]:.5f} "
            f"| {losses[0]:.5f}, {losses[-1]:.5f} | {gap:.1e} |"
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write is not None:
        write(options.write, options.long)
        return 0
    if options.peer_python is None:
        parser.error("--peer-python is needed")
    with tempfile.TemporaryDirectory() as name:
        command = [options.peer_python, __file__, "--write", name]
        subprocess.run([*command, *(["--long"] if options.long else [])], check=True)
        if options.golden:
            content = json.loads((Path(name) / "results.json").read_text())
            content["curves"] = {course.name: content["curves"][course.name] for course in COURSES}
            GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
            print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")
        return 0 if compare(Path(name), options.long) else 1


if __name__ == "__main__":
    raise SystemExit(main())
