"""Parameter counts and planner estimates: selfseg's closed forms against nnunetv2's networks.

Run once in each environment (nnunetv2's first):

    python benchmarks/parameter_counts.py write PLANS_FOLDER FILE     # needs nnunetv2
    python benchmarks/parameter_counts.py compare FILE --table FILE.md  # needs selfseg

PLANS_FOLDER holds the reference plans (files with "dataset", "planner" and "expected").
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

# (reference file, configuration): every planner, 2D and 3D, isotropic and not.
REFERENCES = (
    ("msd_04_hippocampus_plain", "2d"),
    ("msd_04_hippocampus_plain", "3d_fullres"),
    ("msd_05_prostate_plain", "3d_fullres"),
    ("msd_03_liver_plain", "3d_lowres"),
    ("msd_02_heart_resenc_m", "2d"),
    ("msd_05_prostate_resenc_m", "3d_fullres"),
    ("msd_01_braintumour_resenc_l", "2d"),
    ("msd_10_colon_resenc_l", "3d_fullres"),
    ("000_ct_abdomen_resenc_xl", "2d"),
    ("000_ct_abdomen_resenc_xl", "3d_fullres"),
)


def write(plans_folder: Path, file: Path) -> None:
    """Builds every network with nnunetv2 and counts."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    rows: list[dict[str, Any]] = []
    for name, configuration in REFERENCES:
        (path,) = plans_folder.rglob(f"{name}.json")
        reference = json.loads(path.read_text())
        entry = reference["expected"]["configurations"][configuration]
        dimensions = len(entry["patch_size"])
        plain = "n_conv_per_stage" in entry
        keys = ("n_stages", "features_per_stage", "kernel_sizes", "strides",
                "n_conv_per_stage" if plain else "n_blocks_per_stage",
                "n_conv_per_stage_decoder")  # fmt: skip
        arguments = {key: entry[key] for key in keys} | {
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
        class_name = "PlainConvUNet" if plain else "ResidualEncoderUNet"
        channels = len(reference["dataset"]["channel_names"])
        heads = len(reference["dataset"]["labels"])
        with torch.device("meta"):
            network = get_network_from_plans(
                f"dynamic_network_architectures.architectures.unet.{class_name}",
                arguments,
                ["conv_op", "norm_op", "dropout_op", "nonlin"],
                channels,
                heads,
                allow_init=False,
                deep_supervision=False,
            )
        rows.append(
            {
                "name": name,
                "configuration": configuration,
                "architecture": "plain" if plain else "residual",
                "entry": entry,
                "channels": channels,
                "heads": heads,
                "parameters": sum(p.numel() for p in network.parameters()),
                "elements": int(network.compute_conv_feature_map_size(entry["patch_size"])),
            }
        )
    file.write_text(json.dumps(rows))


def compare(file: Path, table: Path) -> None:
    """Counts in closed form, and writes the table."""
    from selfseg.domain.plan import NetworkPlan
    from selfseg.plan.cost import feature_map_elements, multiply_adds, parameter_count

    lines = []
    for row in json.loads(file.read_text()):
        entry = row["entry"]
        blocks = "n_conv_per_stage" if row["architecture"] == "plain" else "n_blocks_per_stage"
        network = NetworkPlan(
            architecture=row["architecture"],
            features_per_stage=tuple(entry["features_per_stage"]),
            kernel_sizes=tuple(map(tuple, entry["kernel_sizes"])),
            strides=tuple(map(tuple, entry["strides"])),
            blocks_per_stage=tuple(entry[blocks]),
            convs_per_decoder_stage=tuple(entry["n_conv_per_stage_decoder"]),
        )
        patch = tuple(entry["patch_size"])
        parameters = parameter_count(network, row["channels"], row["heads"])
        elements = feature_map_elements(network, patch, row["heads"])
        work = multiply_adds(network, patch, row["channels"], row["heads"])
        assert parameters == row["parameters"], row["name"]
        assert elements == row["elements"], row["name"]
        lines.append(
            f"| {row['name']} | {row['configuration']} | {' x '.join(map(str, patch))} "
            f"| {row['parameters']:,} | {parameters:,} | {row['elements']:,} | {elements:,} "
            f"| {work / 1e9:,.1f} |"
        )
    text = f"""# Parameter counts

Learnt numbers of the networks that the plans describe, and the planner's estimate (feature-map
elements that the convolutions write for one patch): counted by nnunetv2 2.8.1 on the network it
builds, and by `selfseg.plan.cost` in closed form, without a network. They are equal. The last
column is the arithmetic of one forward pass of one patch (10^9 multiply-adds), all heads included.

| plan | configuration | patch | parameters, nnunetv2 | parameters, selfseg | elements, nnunetv2 \
| elements, selfseg | 10^9 multiply-adds |
|---|---|---|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

Made by `benchmarks/parameter_counts.py`.
"""
    table.write_text(text, encoding="utf-8")
    print(f"{len(lines)} networks: all counts are equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writer = commands.add_parser("write")
    writer.add_argument("plans_folder", type=Path)
    writer.add_argument("file", type=Path)
    comparer = commands.add_parser("compare")
    comparer.add_argument("file", type=Path)
    comparer.add_argument("--table", type=Path, default=Path("docs/reference/parameter-counts.md"))
    options = parser.parse_args()
    if options.command == "write":
        write(options.plans_folder, options.file)
    else:
        compare(options.file, options.table)


if __name__ == "__main__":
    main()
