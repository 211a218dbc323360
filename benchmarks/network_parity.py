"""Same weights, same logits: our U-Nets against those of nnunetv2.

Run once in each environment (nnunetv2's first); the folder carries the weights between them:

    python benchmarks/network_parity.py write PLANS_FOLDER FOLDER      # needs nnunetv2
    python benchmarks/network_parity.py compare FOLDER [--golden FILE]  # needs selfseg

PLANS_FOLDER holds the reference plans (files with "dataset", "planner" and "expected"). One
line per network: parameter counts and the largest difference of logits. `--golden` keeps the
tiny networks' logits as a file for Testing/.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# (reference file, configuration): plain and residual, 2D and 3D, isotropic and not.
REFERENCES = (
    ("msd_04_hippocampus_plain", "3d_fullres"),
    ("msd_05_prostate_plain", "3d_fullres"),
    ("msd_02_heart_plain", "2d"),
    ("msd_04_hippocampus_resenc_m", "3d_fullres"),
    ("msd_05_prostate_resenc_m", "3d_fullres"),
    ("msd_01_braintumour_resenc_l", "2d"),
)

# Small enough that their logits are kept in Testing/.
TINY: dict[str, dict[str, Any]] = {
    "tiny_plain_3d": {
        "architecture": "plain",
        "features_per_stage": [3, 5, 7],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "blocks_per_stage": [2, 1, 2],
        "convs_per_decoder_stage": [2, 1],
        "patch": [4, 8, 12],
    },
    "tiny_residual_3d": {
        "architecture": "residual",
        "features_per_stage": [3, 5, 5],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "blocks_per_stage": [1, 2, 2],
        "convs_per_decoder_stage": [1, 1],
        "patch": [4, 8, 12],
    },
    "tiny_plain_2d": {
        "architecture": "plain",
        "features_per_stage": [3, 6, 6],
        "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1], [2, 2], [2, 1]],
        "blocks_per_stage": [2, 2, 2],
        "convs_per_decoder_stage": [2, 2],
        "patch": [16, 8],
    },
    "tiny_residual_2d": {
        "architecture": "residual",
        "features_per_stage": [4, 6, 8],
        "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1], [2, 2], [2, 2]],
        "blocks_per_stage": [1, 3, 2],
        "convs_per_decoder_stage": [1, 1],
        "patch": [16, 8],
    },
}
CHANNELS, HEADS, BATCH = 2, 3, 1


def seeded_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that depend on the name and shape alone, so that no file has to carry them."""
    return {
        name: seeded_array(name, shape) / max(1.0, np.sqrt(np.prod(shape[1:], dtype=float)))
        for name, shape in shapes.items()
    }


def seeded_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return generator.standard_normal(shape).astype(np.float32)


def _network_plan_fields(plan: dict[str, Any]) -> dict[str, Any]:
    """Our field names from the `expected` entry of a reference plan, or from TINY."""
    return {name: value for name, value in plan.items() if name != "patch"}


def write(plans: Path, folder: Path) -> None:
    """In nnunetv2's environment: builds its networks, keeps weights, input and logits."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    folder.mkdir(parents=True, exist_ok=True)
    jobs: dict[str, dict[str, Any]] = {name: dict(plan) for name, plan in TINY.items()}
    for name, configuration in REFERENCES:
        expected = json.loads((plans / f"{name}.json").read_text())["expected"]
        jobs[f"{name}_{configuration}"] = _from_reference(expected, configuration)
    for name, plan in jobs.items():
        dims = len(plan["patch"])
        residual = plan["architecture"] == "residual"
        kwargs = {
            "n_stages": len(plan["features_per_stage"]),
            "features_per_stage": plan["features_per_stage"],
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": plan["kernel_sizes"],
            "strides": plan["strides"],
            "n_blocks_per_stage" if residual else "n_conv_per_stage": plan["blocks_per_stage"],
            "n_conv_per_stage_decoder": plan["convs_per_decoder_stage"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
        kind = "ResidualEncoderUNet" if residual else "PlainConvUNet"
        network = get_network_from_plans(
            f"dynamic_network_architectures.architectures.unet.{kind}",
            kwargs,
            ["conv_op", "norm_op", "dropout_op", "nonlin"],
            CHANNELS,
            HEADS,
            deep_supervision=True,
        )
        state = network.state_dict()
        names = {k: k.replace("decoder.encoder.", "encoder.") for k in state}
        shapes = {names[k]: tuple(v.shape) for k, v in state.items() if "all_modules" not in k}
        values = seeded_weights(shapes)
        for key, tensor in state.items():
            source = (
                names[key].replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
            )
            tensor.copy_(torch.from_numpy(values[source]))
        # The published sizes would take minutes here; the receptive field does not matter.
        patch = plan["patch"] if name in TINY else _smallest_patch(plan)
        batch = BATCH if name in TINY else 1
        x = seeded_array("input", (batch, CHANNELS, *patch))
        with torch.no_grad():
            outputs = network.eval()(torch.from_numpy(x))
        np.savez(
            folder / f"{name}.npz",
            plan=json.dumps(plan),
            parameters=sum(p.numel() for p in network.parameters()),
            names=np.array(sorted(state)),
            patch=np.array(patch),
            **{f"logits_{i}": y.numpy() for i, y in enumerate(outputs)},
        )
        print(f"{name}: written", flush=True)


def _from_reference(expected: dict[str, Any], configuration: str) -> dict[str, Any]:
    plan = expected["configurations"][configuration]
    residual = "n_blocks_per_stage" in plan
    return {
        "architecture": "residual" if residual else "plain",
        "features_per_stage": plan["features_per_stage"],
        "kernel_sizes": plan["kernel_sizes"],
        "strides": plan["strides"],
        "blocks_per_stage": plan["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        "convs_per_decoder_stage": plan["n_conv_per_stage_decoder"],
        "patch": plan["patch_size"],
    }


def _smallest_patch(plan: dict[str, Any]) -> list[int]:
    """Two voxels per axis in the bottleneck (instance norm needs more than one)."""
    return [2 * int(n) for n in np.prod(np.array(plan["strides"]), axis=0)]


def compare(folder: Path, golden: Path | None) -> bool:
    """In selfseg's environment: the same weights in our networks; True where all agree."""
    import torch

    from selfseg.domain.plan import NetworkPlan
    from selfseg.network.peer_names import from_peer_names
    from selfseg.network.unet import build_network

    kept: dict[str, np.ndarray] = {}
    good = True
    print("largest difference of logits; channels-last sums in another order")
    print(
        f"{'network':40s} {'parameters':>12s} {'theirs':>12s} {'difference':>12s} {'ch. last':>9s}"
    )
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            plan = json.loads(str(stored["plan"]))
            theirs = {k: stored[k] for k in stored.files if k.startswith("logits_")}
            names, count = [str(n) for n in stored["names"]], int(stored["parameters"])
            patch = tuple(int(n) for n in stored["patch"])
        fields = {
            k: tuple(tuple(x) if isinstance(x, list) else x for x in v)
            if isinstance(v, list)
            else v
            for k, v in _network_plan_fields(plan).items()
        }
        network = build_network(NetworkPlan(**fields), CHANNELS, HEADS).eval()
        our_names = from_peer_names({name: name for name in names})
        shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
        values = seeded_weights({our_names[k]: shapes[k] for k in shapes})
        network.load_state_dict({k: torch.from_numpy(values[our_names[k]]) for k in shapes})
        batch = next(iter(theirs.values())).shape[0]
        x = torch.from_numpy(seeded_array("input", (batch, CHANNELS, *patch)))
        network.deep_supervision = True
        differences = []
        for form in (
            torch.contiguous_format,
            torch.channels_last_3d if len(patch) == 3 else torch.channels_last,
        ):
            network = network.to(memory_format=form)
            with torch.inference_mode():
                outputs = network(x.contiguous(memory_format=form))
            assert len(outputs) == len(theirs)
            gaps = [np.abs(y.numpy() - theirs[f"logits_{i}"]).max() for i, y in enumerate(outputs)]
            differences.append(float(max(gaps)))
        plain, channels_last = differences
        ours = network.parameter_count
        good &= plain <= 1e-5 and channels_last <= 1e-3 and ours == count
        print(f"{path.stem:40s} {ours:12,d} {count:12,d} {plain:12.1e} {channels_last:9.1e}")
        if path.stem in TINY:
            kept |= {f"{path.stem}/{k}": v for k, v in theirs.items()}
            kept[f"{path.stem}/plan"] = np.array(json.dumps(plan))
            kept[f"{path.stem}/parameters"] = np.array(count)
            kept[f"{path.stem}/names"] = np.array(names)
    if golden is not None:
        np.savez_compressed(golden, **kept)
        print(f"{golden}: {golden.stat().st_size} bytes")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("plans", type=Path)
    writing.add_argument("folder", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("--golden", type=Path)
    options = parser.parse_args()
    if options.command == "write":
        write(options.plans, options.folder)
        return 0
    return 0 if compare(options.folder, options.golden) else 1


if __name__ == "__main__":
    raise SystemExit(main())
