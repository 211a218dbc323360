"""Closed forms against numbers counted on nnU-Net's and our own networks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.plan import NetworkPlan
from selfseg.network.unet import build_network
from selfseg.plan.cost import (
    feature_map_elements,
    layers,
    multiply_adds,
    parameter_count,
    training_memory_bytes,
)

PLAIN_3D = NetworkPlan(
    "plain",
    (32, 64, 128, 256, 320, 320),
    ((3, 3, 3),) * 6,
    ((1, 1, 1), *((2, 2, 2),) * 5),
    (2,) * 6,
    (2,) * 5,
)
RESIDUAL_2D = NetworkPlan(
    "residual",
    (32, 64, 128, 256, 512, 512, 512),
    ((3, 3),) * 7,
    ((1, 1), *((2, 2),) * 6),
    (1, 3, 4, 6, 6, 6, 6),
    (1,) * 6,
)
TINY = {
    "plain": NetworkPlan(
        "plain",
        (3, 5, 7),
        ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        (2, 1, 2),
        (2, 1),
    ),
    "residual": NetworkPlan(
        "residual",
        (3, 5, 5),
        ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        (1, 2, 2),
        (1, 1),
    ),
    "one stage": NetworkPlan("plain", (4,), ((3, 3),), ((1, 1),), (2,), ()),
}


def test_elements_are_those_nnunet_counts() -> None:
    # Counted by the networks that nnunetv2 2.8.1 builds, without deep supervision.
    assert feature_map_elements(PLAIN_3D, (128, 128, 128), 2) == 450_699_264
    assert feature_map_elements(RESIDUAL_2D, (512, 512), 3) == 129_531_904


@pytest.mark.parametrize("name", TINY)
def test_parameters_are_those_of_the_network_built(name: str) -> None:
    network = build_network(TINY[name], 2, 4)
    assert parameter_count(TINY[name], 2, 4) == network.parameter_count


def test_multiply_adds_of_a_network_counted_by_hand() -> None:
    network = NetworkPlan("plain", (2, 3), ((3, 3), (3, 3)), ((1, 1), (2, 2)), (1, 1), (1,))
    encoder = 9 * 1 * 2 * 64 + 9 * 2 * 3 * 16
    decoder = 3 * 2 * 64 + 9 * 4 * 2 * 64 + 1 * 2 * 5 * 64
    assert multiply_adds(network, (8, 8), 1, 5) == encoder + decoder


def layer_elements(network: NetworkPlan, patch: tuple[int, ...], classes: int) -> int:
    listed = list(layers(network, patch, 1, classes))
    heads = [layer for layer in listed if layer.outputs == classes]
    return sum(layer.elements for layer in listed) - sum(layer.elements for layer in heads[:-1])


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_the_estimate_is_the_sum_over_the_layers_with_one_head(
    stages: int, convolutions: int, decoder_convolutions: int
) -> None:
    network = NetworkPlan(
        "plain",
        tuple(16 * 2**stage for stage in range(stages + 1)),
        ((3, 3),) * (stages + 1),
        ((1, 1), *((2, 2),) * stages),
        (convolutions,) * (stages + 1),
        (decoder_convolutions,) * stages,
    )
    patch = (2**stages * 4, 2**stages * 5)
    assert feature_map_elements(network, patch, 7) == layer_elements(network, patch, 7)


def test_residual_estimates_count_a_projection_where_only_the_size_changes() -> None:
    # The network pools there without a convolution; nnU-Net's estimate counts one all the same.
    patch = (512, 512)
    pooled_only = sum(512 * math.prod(patch) // 4**stage for stage in (5, 6))
    counted = layer_elements(RESIDUAL_2D, patch, 7)
    assert feature_map_elements(RESIDUAL_2D, patch, 7) == counted + pooled_only


def test_memory_grows_with_batch_patch_and_precision() -> None:
    def memory(patch: tuple[int, ...], batch: int, **options: Any) -> int:
        return training_memory_bytes(PLAIN_3D, patch, batch, 1, 3, **options)

    small = memory((64, 64, 64), 2)
    assert memory((64, 64, 64), 2, bytes_per_element=2) < small < memory((64, 64, 64), 4)
    assert small < memory((128, 64, 64), 2)
    # The method's reference: this network at this patch and batch fills most of 8 GB in half
    # precision.
    assert 3e9 < memory((128, 128, 128), 2, bytes_per_element=2) < 8e9


@pytest.mark.reference
def test_estimates_of_all_reference_plans_fit_their_memory(shared_folder: Path) -> None:
    for path in sorted((shared_folder / "reference" / "plans_real").glob("*_plain.json")):
        content = json.loads(path.read_text())
        entry = content["expected"]["configurations"]["3d_fullres"]
        network = NetworkPlan(
            "plain",
            tuple(entry["features_per_stage"]),
            tuple(map(tuple, entry["kernel_sizes"])),
            tuple(map(tuple, entry["strides"])),
            tuple(entry["n_conv_per_stage"]),
            tuple(entry["n_conv_per_stage_decoder"]),
        )
        classes = len(content["dataset"]["labels"])
        elements = feature_map_elements(network, entry["patch_size"], classes)
        assert elements <= 560e6 * content["gpu_memory_gb"] / 8
