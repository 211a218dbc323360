"""The peer's half of the inference benchmarks; runs where nnunetv2 2.8.1 is installed.

    python benchmarks/inference_peer.py model MODEL    # weights.npz + plans.json -> a model folder
    python benchmarks/inference_peer.py properties MODEL IMAGE    # what its preprocessing notes
    python benchmarks/inference_peer.py export MODEL LOGITS OUTPUT

MODEL holds nnU-Net's dataset.json and plans.json, and `settings.json`. A checkpoint as
nnUNetTrainer writes it is made of `weights.npz` under our names; prediction is nnunetv2's own
command (`COMMAND`). Export goes by the `properties.json` of the image.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

COMMAND = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run;"
    "run()"
)


def write_checkpoint(folder: Path) -> None:
    """Builds the peer's network and fills it with our weights, name by name."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Logic"))
    from selfseg.network.peer_names import from_peer_names

    settings = json.loads((folder / "settings.json").read_text())
    plans, dataset, configuration = _plans(folder)
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


def write_properties(folder: Path, image: Path) -> None:
    """What nnunetv2's reader and cropping note of an image, for its export."""
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    plans, _, _ = _plans(folder)
    data, properties = plans.image_reader_writer_class().read_images([str(image)])
    forward = plans.transpose_forward
    data = data.transpose([0, *(axis + 1 for axis in forward)])
    before = data.shape[1:]
    data, _, box = crop_to_nonzero(data)
    properties |= {
        "shape_before_cropping": list(before),
        "bbox_used_for_cropping": [[int(a), int(b)] for a, b in box],
        "shape_after_cropping_and_before_resampling": list(data.shape[1:]),
    }
    properties["spacing"] = [float(value) for value in properties["spacing"]]
    (folder / "properties.json").write_text(json.dumps(properties))


def export(folder: Path, logits_file: Path, output: Path) -> None:
    """Logits (K, Z, Y, X), as its prediction leaves them, to a label map; prints the seconds."""
    began = time.perf_counter()
    import numpy as np
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as convert,
    )

    plans, dataset, configuration = _plans(folder)
    properties = json.loads((folder / "properties.json").read_text())
    labels = plans.get_label_manager(dataset)
    writer = plans.image_reader_writer_class()
    loading = time.perf_counter()
    logits = np.load(logits_file)
    loaded = time.perf_counter()
    result = convert(logits, plans, configuration, labels, properties)
    del logits
    restored = time.perf_counter()
    writer.write_seg(result, str(output), properties)
    written = time.perf_counter()
    stages = {
        "import": loading - began,
        "load": loaded - loading,
        "restore": restored - loaded,
        "write": written - restored,
    }
    print(json.dumps({"stages": stages}))


def _plans(folder: Path) -> tuple[Any, dict[str, Any], Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    settings = json.loads((folder / "settings.json").read_text())
    plans = PlansManager(json.loads((folder / "plans.json").read_text()))
    dataset = json.loads((folder / "dataset.json").read_text())
    return plans, dataset, plans.get_configuration(settings["configuration"])


VERBS = {"model": write_checkpoint, "properties": write_properties, "export": export}


if __name__ == "__main__":
    VERBS[sys.argv[1]](*map(Path, sys.argv[2:]))
