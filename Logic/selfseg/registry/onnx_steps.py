"""What a program must do before and after a graph, said in data for those that read no plan.

selfseg itself reads the plans that lie beside these steps in `onnx.json`; the numbers are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..arrays.resample import ANISOTROPY_THRESHOLD
from ..arrays.tile import SIGMA_SHARE
from ..domain.bundle import Member, ModelBundle
from ..domain.plan import Plan
from ..io.onnx_graphs import INPUT, OUTPUT
from ..preprocess.normalise import SMALLEST_DIVISOR

Step = Mapping[str, Any]

DEFAULT_TILE_STEP = 0.5
"""Distance of neighbouring tiles as a share of the patch (RECIPE)."""

_COARSE_AXIS = (
    f"where the spacing's max / min before, else after, is above {ANISOTROPY_THRESHOLD:g}, the "
    "one coarsest axis takes its nearest slice and only the others are interpolated"
)


def steps_of(bundle: ModelBundle) -> tuple[Step, ...]:
    """One entry per network stage, first stages of cascades included.

    Array axes are (Z, Y, X), spacings mm, intensities those of the image file.
    """
    members = {(member.plan, member.configuration): member for member in bundle.members}
    return tuple(
        {
            "plan": plan,
            "configuration": configuration,
            "before": _before(bundle.plans[plan], configuration),
            "graph": {INPUT: "(N, channels, *patch) float32", OUTPUT: "(N, heads, *patch) float32"},
            "after": _after(
                bundle, bundle.plans[plan], configuration, members.get((plan, configuration))
            ),
        }
        for plan, configuration in bundle.stages
    )


def _before(plan: Plan, name: str) -> list[Step]:
    configuration = plan.configuration(name)
    steps: list[Step] = [
        {
            "step": "orient",
            "to": plan.orientation,
            "meaning": "as_stored: nothing is done; ras: array axes run upwards, forwards and "
            "to the right, as nearly as they can",
        },
        {"step": "transpose", "axes": plan.transpose_forward},
        {"step": "crop", "to": "the smallest box around all voxels that are not 0 in a channel"},
        {"step": "normalise", "channels": _normalisation(plan, name)},
        {
            "step": "resample",
            "spacing": configuration.spacing,
            "axes": "Y and X only" if configuration.is_2d else "Z, Y and X",
            "interpolation": "cubic spline, clipped to the range of the channel (of the slice "
            "where an axis is kept apart)",
            "voxels": "round(size * spacing before / spacing after), half to even, at least 1",
            "coarse_axis": _COARSE_AXIS,
        },
    ]
    if configuration.previous_stage is not None:
        steps.append(
            {
                "step": "append_first_stage",
                "configuration": configuration.previous_stage,
                "label_values": plan.previous_values(name),
                "meaning": "the first stage's label map on the native grid, resampled as labels "
                "are (of each voxel the label with the largest interpolated share); one channel "
                "of 0 and 1 per value, after the image's channels",
            }
        )
    steps.append({"step": "pad", "to": "the patch, evenly on both sides", "value": 0})
    steps.append(
        {
            "step": "tile",
            "patch": configuration.patch_size,
            "distance": DEFAULT_TILE_STEP,
            "meaning": "tiles spread evenly between the image's edges, neighbours at most "
            "distance * patch apart" + ("; every slice by itself" if configuration.is_2d else ""),
        }
    )
    return steps


def _normalisation(plan: Plan, name: str) -> list[Step]:
    configuration = plan.configuration(name)
    channels: list[Step] = []
    for index, (scheme, masked) in enumerate(
        zip(configuration.normalisation, configuration.normalise_in_mask, strict=True)
    ):
        entry: dict[str, Any] = {
            "name": plan.description.channel_names[index],
            "scheme": scheme,
            "smallest_divisor": SMALLEST_DIVISOR,
        }
        if scheme == "ct":
            known = plan.foreground_intensities[index]
            entry["clip"] = (known.percentile_00_5, known.percentile_99_5)
            entry["subtract"], entry["divide_by"] = known.mean, known.std
        elif scheme == "zscore":
            entry["only_nonzero_voxels"] = masked
            entry["subtract"], entry["divide_by"] = "the mean", "the standard deviation"
        channels.append(entry)
    return channels


def _after(bundle: ModelBundle, plan: Plan, name: str, member: Member | None) -> list[Step]:
    configuration, labels = plan.configuration(name), plan.description.labels
    axes = None if member is None else member.mirror_axes
    regions = labels.has_regions
    steps: list[Step] = [
        {
            "step": "mirror",
            "axes": tuple(range(len(configuration.patch_size))) if axes is None else axes,
            "meaning": "the mean of the logits of the tile mirrored along every subset of the "
            "patch's axes, mirrored back; may be left out",
        },
        {"step": "average_folds", "of": "logits"},
        {
            "step": "join_tiles",
            "weights": "a Gaussian around the tile's middle with maximum 1, weighted mean",
            "sigma": [SIGMA_SHARE * size for size in configuration.patch_size],
        },
        {
            "step": "resample",
            "to": "the cropped image's grid",
            "interpolation": "linear",
            "coarse_axis": _COARSE_AXIS,
        },
    ]
    if member is not None:
        steps += _probabilities(bundle)
    decide: dict[str, Any] = {"step": "decide"}
    if regions:
        decide["rule"] = "a region is where its probability is above 0.5; later ones over earlier"
        decide["heads"] = [
            {"name": label.name, "values": label.values, "writes": value}
            for label, value in zip(
                labels.foreground, labels.regions_class_order or (), strict=True
            )
        ]
    else:
        decide["rule"] = (
            "the head with the largest logit (or mean probability), the first of equals"
        )
        decide["heads"] = [
            {"name": "background", "writes": 0},
            *({"name": label.name, "writes": label.values[0]} for label in labels.foreground),
        ]
    steps.append(decide)
    steps.append({"step": "undo", "in_order": ["crop", "transpose", "orient"]})
    if member is not None:
        steps += [{"step": "postprocess", **_as_mapping(entry)} for entry in bundle.postprocessing]
    return steps


def _probabilities(bundle: ModelBundle) -> list[Step]:
    """Of a whole model, after the logits have been resampled."""
    alone = len(bundle.members) == 1
    activation = "sigmoid" if bundle.description.labels.has_regions else "softmax"
    steps: list[Step] = [
        {
            "step": "probabilities",
            "activation": activation,
            # The temperature was fitted to one member; their mean is left as it is.
            "temperature": bundle.calibration.temperature if alone else 1.0,
            "meaning": "activation(logits / temperature); the labels need none of it"
            if alone
            else "activation(logits / temperature)",
        }
    ]
    if not alone:
        voters = [{"plan": m.plan, "configuration": m.configuration} for m in bundle.members]
        steps.append({"step": "average_members", "of": "probabilities", "members": voters})
    return steps


def _as_mapping(entry: Any) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "structures": entry.structures,
        "count": entry.count,
        "min_voxels": entry.min_voxels,
    }
