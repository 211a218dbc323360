"""The peer's half of the inference benchmarks; runs where nnunetv2 2.8.1 is installed.

    python benchmarks/inference_peer.py MODEL    # weights.npz + plans.json -> a model folder

MODEL holds nnU-Net's dataset.json and plans.json, `weights.npz` under our names and
`settings.json`; a checkpoint as nnUNetTrainer writes it is made of them. Prediction is
nnunetv2's own command (`COMMAND`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COMMAND = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run;"
    "run()"
)


def write_checkpoint(folder: Path) -> None:
    """Builds the peer's network and fills it with our weights, name by name."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Logic"))
    from selfseg.network.peer_names import from_peer_names

    settings = json.loads((folder / "settings.json").read_text())
    plans = PlansManager(json.loads((folder / "plans.json").read_text()))
    dataset = json.loads((folder / "dataset.json").read_text())
    configuration = plans.get_configuration(settings["configuration"])
    network = nnUNetTrainer.build_network_architecture(
        plans,
        configuration,
        settings["input_channels"],
        plans.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=True,
    )
    state = network.state_dict()
    with np.load(folder / "weights.npz") as weights:
        for name, tensor in state.items():
            # The encoder is held twice, and every layer again under `all_modules`.
            plain = name.replace("decoder.encoder.", "encoder.")
            plain = plain.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
            (ours,) = from_peer_names({plain: plain})
            tensor.copy_(torch.from_numpy(weights[ours]))
    fold = folder / "fold_0"
    fold.mkdir(exist_ok=True)
    torch.save(
        {
            "network_weights": state,
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": settings["configuration"]},
            "inference_allowed_mirroring_axes": tuple(range(len(configuration.patch_size))),
        },
        fold / "checkpoint_final.pth",
    )


if __name__ == "__main__":
    write_checkpoint(Path(sys.argv[1]))
