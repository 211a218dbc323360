"""The peer's half of `model_import.py`; runs where nnunetv2 2.8.1 is installed.

    python benchmarks/model_import_peer.py MODEL FOLDS ZIP

MODEL is what `inference_peer.py` makes. FOLDS checkpoints with its weights are written as
nnUNetTrainer saves them after a training (weights, the optimiser's momentum, curves); then they
are packed as `nnUNetv2_export_model_to_zip` packs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any


def save_checkpoint(
    plans: dict[str, Any], dataset: dict[str, Any], name: str, fold: int, weights: Path
) -> None:
    """One fold's checkpoint_final.pth, in the trainer's own folder."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans = {**plans, "continue_training": False}
    trainer = nnUNetTrainer(plans, name, fold, dataset, device=torch.device("cpu"))
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager,
        trainer.configuration_manager,
        len(dataset["channel_names"]),
        trainer.label_manager.num_segmentation_heads,
        trainer.enable_deep_supervision,
    )
    content = torch.load(weights, weights_only=True)
    trainer.network.load_state_dict(content["network_weights"])
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in trainer.network.parameters():
        parameter.grad = torch.rand_like(parameter)
    trainer.optimizer.step()  # leaves momentum behind, as every training does, and no other weights
    trainer.save_checkpoint(os.path.join(trainer.output_folder, "checkpoint_final.pth"))


def main() -> None:
    model, folds, target = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    plans = json.loads((model / "plans.json").read_text())
    dataset = json.loads((model / "dataset.json").read_text())
    name = json.loads((model / "settings.json").read_text())["configuration"]
    with tempfile.TemporaryDirectory() as place:
        for kind in ("raw", "preprocessed", "results"):  # before nnunetv2 is imported
            os.environ[f"nnUNet_{kind}"] = place
        for fold in range(folds):
            save_checkpoint(plans, dataset, name, fold, model / "fold_0" / "checkpoint_final.pth")
        home = Path(place) / plans["dataset_name"] / f"nnUNetTrainer__{plans['plans_name']}__{name}"
        for file in ("plans.json", "dataset.json"):
            shutil.copy(model / file, home / file)
        part = target.with_suffix(".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as packed:
            files = [*home.glob("*.json"), *home.glob("fold_*/checkpoint_final.pth")]
            for path in sorted(files):
                packed.write(path, path.relative_to(place))
        part.replace(target)


if __name__ == "__main__":
    main()
