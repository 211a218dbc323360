"""The closed form against the networks themselves."""

from __future__ import annotations

import pytest
import torch

from selfseg.domain.network_shapes import weight_shapes
from selfseg.domain.plan import NetworkPlan
from selfseg.network.unet import build_network

THREE = ((1, 3, 3), (3, 3, 3), (3, 3, 3))
NETWORKS = {
    "plain 3D": NetworkPlan(
        "plain", (4, 8, 8), THREE, ((1, 1, 1), (1, 2, 2), (2, 2, 2)), (2, 2, 3), (2, 1)
    ),
    "residual 3D": NetworkPlan(
        "residual", (4, 8, 8), THREE, ((1, 1, 1), (1, 2, 2), (2, 2, 2)), (1, 3, 2), (1, 1)
    ),
    "plain 2D": NetworkPlan("plain", (4, 6), ((3, 3), (3, 3)), ((1, 1), (2, 1)), (2, 2), (2,)),
    "residual 2D": NetworkPlan(
        "residual", (6, 6), ((3, 3), (5, 3)), ((1, 1), (2, 2)), (2, 1), (1,)
    ),
    "one stage": NetworkPlan("plain", (8,), ((3, 3, 3),), ((1, 1, 1),), (2,), ()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (4, 3)])
def test_names_and_shapes_are_those_of_the_network(name: str, inputs: int, outputs: int) -> None:
    with torch.device("meta"):
        network = build_network(NETWORKS[name], inputs, outputs)
    built = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert weight_shapes(NETWORKS[name], inputs, outputs) == built
