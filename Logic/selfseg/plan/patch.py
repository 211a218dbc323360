"""The largest patch that fits the memory, its network and its batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.errors import PlanError
from ..domain.plan import NetworkPlan
from .constants import (
    FIRST_FEATURES,
    MAXIMUM_FEATURES,
    MINIMUM_BATCH,
    REFERENCE_BATCH,
    START_VOLUME,
    PlannerRules,
)
from .cost import feature_map_elements
from .topology import Topology, find_topology


@dataclass(frozen=True)
class Demands:
    """What every configuration of one plan has in common.

    `class_count` are the channels of the head that the estimate counts: background, every
    structure and the ignore label. `memory_gb` is the target to fill.
    """

    rules: PlannerRules
    memory_gb: float
    class_count: int
    case_count: int

    def allowed_elements(self, dimensions: int) -> float:
        """Feature-map elements that the memory target holds at the reference batch size."""
        share = self.memory_gb / self.rules.reference_memory_gb
        return self.rules.reference_elements[dimensions] * share


@dataclass(frozen=True)
class FittedNetwork:
    """A network with the patch (voxels) and batch size it is trained on."""

    network: NetworkPlan
    patch_size: tuple[int, ...]
    batch_size: int


def fit_network(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    dataset_voxels: float,
    demands: Demands,
) -> FittedNetwork:
    """Finds patch, topology and batch size for images of that spacing and size.

    Args:
        spacing: mm per axis, two or three axes.
        median_shape: voxels per axis of the median image at that spacing.
        dataset_voxels: voxels of all training images together at the target spacing.
        demands: planner, memory and data set.

    Raises:
        PlanError: no patch is small enough for the memory, or the images are of one voxel.
    """
    dimensions = len(spacing)
    rules = demands.rules
    reference_batch = REFERENCE_BATCH[dimensions]
    allowed = demands.allowed_elements(dimensions)

    topology = find_topology(spacing, start_patch(spacing, median_shape))
    tried: set[tuple[int, ...]] = set()
    while True:
        network = network_for(topology, rules)
        estimate = feature_map_elements(network, topology.patch_size, demands.class_count)
        if rules.patch_for_minimum_batch:
            too_large = estimate / reference_batch * MINIMUM_BATCH > allowed
        else:
            too_large = estimate > allowed
        if not too_large:
            break
        tried.add(topology.patch_size)
        topology = _one_step_smaller(topology, spacing, median_shape)
        if min(topology.patch_size) < 1 or topology.patch_size in tried:
            raise PlanError(
                "the memory target is too small for any patch",
                expected="room for a network on a patch of a few voxels",
                found=f"{demands.memory_gb:g} GB",
                cure="give more memory with --memory, for example --memory "
                f"{rules.reference_memory_gb:g}",
            )

    if math.prod(topology.patch_size) < 2:
        raise PlanError(
            "the images are too small for any network",
            expected="at least two voxels, to normalise one by the others",
            found="a median image of one voxel",
            cure="check that the images were exported whole",
        )
    by_memory = round(allowed / estimate * reference_batch)
    by_data = round(dataset_voxels * rules.dataset_share_per_batch / math.prod(topology.patch_size))
    batch_size = max(min(by_memory, by_data), MINIMUM_BATCH)
    return FittedNetwork(network, topology.patch_size, batch_size)


def start_patch(spacing: Sequence[float], median_shape: Sequence[float]) -> tuple[float, ...]:
    """A large patch of equal edges in mm, clipped to the median image."""
    dimensions = len(spacing)
    edges = [1 / s for s in spacing]
    scale = (START_VOLUME[dimensions] / math.prod(edges)) ** (1 / dimensions)
    return tuple(min(round(e * scale), n) for e, n in zip(edges, median_shape, strict=True))


def network_for(topology: Topology, rules: PlannerRules) -> NetworkPlan:
    """The planner's network on a topology: features double up to the maximum."""
    count = topology.stage_count
    most = MAXIMUM_FEATURES[len(topology.patch_size)]
    return NetworkPlan(
        architecture=rules.architecture,
        features_per_stage=tuple(min(most, FIRST_FEATURES * 2**stage) for stage in range(count)),
        kernel_sizes=topology.kernel_sizes,
        strides=topology.strides,
        blocks_per_stage=rules.blocks(count),
        convs_per_decoder_stage=(rules.decoder_convs,) * (count - 1),
    )


def _one_step_smaller(
    topology: Topology, spacing: Sequence[float], median_shape: Sequence[float]
) -> Topology:
    """Takes one step off the axis on which the patch covers most of the median image."""
    patch = topology.patch_size
    axis = max(range(len(patch)), key=lambda i: (patch[i] / median_shape[i], i))

    def less(step: int) -> tuple[int, ...]:
        return tuple(n - step if i == axis else n for i, n in enumerate(patch))

    # A smaller patch may pool less often and so allow a finer step: from 256 (step 64) to 224
    # (step 32), which the first step alone would jump over.
    step = find_topology(spacing, less(topology.divisor[axis])).divisor[axis]
    return find_topology(spacing, less(step))
