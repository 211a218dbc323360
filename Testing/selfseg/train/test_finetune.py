from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import ModelError, TrainingError
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import NetworkPlan, Plan
from selfseg.domain.starting_point import StartingPoint, input_names, known_inputs
from selfseg.network.unet import UNet, build_network
from selfseg.train.checkpoint import write_network
from selfseg.train.finetune import digest, parameter_groups, start_from
from selfseg.train.schedule import set_learning_rate

NAME = "3d"


@pytest.fixture
def make_plan(make_training_plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Makes plans of the same network for other channels and structures."""

    def make(
        channels: tuple[str, ...] = ("T1",),
        labels: dict[str, int | list[int]] | None = None,
        order: tuple[int, ...] | None = None,
        **network: object,
    ) -> Plan:
        plan = make_training_plan(channels=len(channels))
        scheme = LabelScheme.from_mapping(labels or {"background": 0, "a": 1, "b": 2}, order)
        configuration = plan.configuration(NAME)
        changed = replace(configuration, network=replace(configuration.network, **network))
        return replace(
            plan,
            description=DatasetDescription("Balls", channels, scheme),
            configurations={NAME: changed},
        )

    return make


def _network(plan: Plan, seed: int) -> UNet:
    torch.manual_seed(seed)
    return build_network(
        plan.configuration(NAME).network,
        plan.input_channels(NAME),
        plan.description.labels.head_count,
    )


@pytest.fixture
def trained(make_plan: Callable[..., Plan], tmp_path: Path) -> tuple[StartingPoint, UNet]:
    plan = make_plan(channels=("T1", "FLAIR"))
    network = _network(plan, 0)
    path = tmp_path / "weights.safetensors"
    write_network(path, network, {})
    return StartingPoint(path, plan, NAME, "Source, 3d fold 0"), network


def _equal(a: UNet, b: UNet, leave_out: str = "?") -> bool:
    other = b.state_dict()
    return all(
        torch.equal(tensor, other[name])
        for name, tensor in a.state_dict().items()
        if not name.startswith(leave_out)
    )


def test_same_task_takes_everything_over(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan]
) -> None:
    start, source = trained
    plan = make_plan(channels=("T1", "FLAIR"))
    network = _network(plan, 1)
    notice = start_from(network, plan, NAME, start)
    assert _equal(network, source)
    assert "heads taken over: background, a, b" in notice.text
    assert "new" not in notice.text


def test_heads_follow_the_names_of_structures(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan]
) -> None:
    start, source = trained
    plan = make_plan(("T1", "FLAIR"), {"background": 0, "c": 1, "b": 2, "a": 4})
    network, fresh = _network(plan, 1), _network(plan, 1)
    notice = start_from(network, plan, NAME, start)
    assert _equal(network, source, leave_out="heads.")
    for ours, theirs, untouched in zip(network.heads, source.heads, fresh.heads, strict=True):
        for name, tensor in ours.state_dict().items():
            known = theirs.state_dict()[name]
            assert torch.equal(tensor[[0, 2, 3]], known[[0, 2, 1]])
            assert torch.equal(tensor[1], untouched.state_dict()[name][1])
    assert "heads taken over: background, b, a; new heads: c" in notice.text


def test_heads_of_labels_are_none_for_regions(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan]
) -> None:
    start, source = trained
    plan = make_plan(("T1", "FLAIR"), {"background": 0, "a": [1, 2], "b": 2}, (1, 2))
    network, fresh = _network(plan, 1), _network(plan, 1)
    notice = start_from(network, plan, NAME, start)
    assert _equal(network, source, leave_out="heads.")
    assert torch.equal(network.heads[-1].weight, fresh.heads[-1].weight)
    assert "new heads: a, b" in notice.text


def test_channels_follow_their_names_and_new_ones_begin_as_the_mean(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan]
) -> None:
    start, source = trained
    plan = make_plan(("flair", "T2", "T1"))
    network = _network(plan, 1)
    notice = start_from(network, plan, NAME, start)
    first, known = network.encoder[0][0].conv.weight, source.encoder[0][0].conv.weight
    assert torch.equal(first[:, 0], known[:, 1])
    assert torch.allclose(first[:, 1], known.mean(dim=1))
    assert torch.equal(first[:, 2], known[:, 0])
    assert _equal(network, source, leave_out="encoder.0.0.conv.weight")
    assert "begun as the mean of the known: t2" in notice.text


def test_a_channel_may_be_missing(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan]
) -> None:
    start, source = trained
    plan = make_plan(("FLAIR",))
    network = _network(plan, 1)
    notice = start_from(network, plan, NAME, start)
    known = source.encoder[0][0].conv.weight
    assert torch.equal(network.encoder[0][0].conv.weight, known[:, 1:])
    assert "channels no longer used: t1" in notice.text


@pytest.mark.parametrize(
    ("channels", "known", "wanted"),
    [
        (("t1",), ("mri",), (0,)),
        (("t1", "t1"), ("t1", "t1"), (0, 1)),
        (("b", "a"), ("a", "b"), (1, 0)),
        (("b", "x"), ("a", "b"), (1, None)),
        (("x", "y"), ("a",), (None, None)),
    ],
)
def test_which_channel_is_which(
    channels: tuple[str, ...], known: tuple[str, ...], wanted: tuple[int | None, ...]
) -> None:
    assert known_inputs(channels, known) == wanted


def test_a_cascade_sees_structures_after_channels(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    second = replace(plan.configuration(NAME), previous_stage="3d_lowres")
    plan = replace(plan, configurations={NAME: second})
    assert input_names(plan, NAME) == ("t1", "previous a", "previous b")
    assert len(input_names(plan, NAME)) == plan.input_channels(NAME)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"features_per_stage": (8, 8)}, r"features_per_stage \(8, 8\)"),
        ({"kernel_sizes": ((1, 3, 3), (3, 3, 3))}, "kernel_sizes"),
        ({"architecture": "residual"}, "architecture residual"),
    ],
)
def test_another_network_is_refused(
    network: dict[str, object],
    said: str,
    trained: tuple[StartingPoint, UNet],
    make_plan: Callable[..., Plan],
) -> None:
    plan = make_plan(("T1", "FLAIR"), **network)
    with pytest.raises(TrainingError, match=said) as caught:
        start_from(_network(plan, 1), plan, NAME, trained[0])
    assert "leave --plan out" in caught.value.cure


def test_weights_of_another_file_are_refused(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(("T1", "FLAIR"))
    network = _network(plan, 1)
    path = tmp_path / "other.safetensors"
    write_network(path, network.encoder, {})
    with pytest.raises(TrainingError, match=r"encoder.0.0.conv.weight: no such weights"):
        start_from(network, plan, NAME, replace(trained[0], weights=path))


def test_weights_that_diverged_are_refused(
    trained: tuple[StartingPoint, UNet], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_plan(("T1", "FLAIR"))
    network = _network(plan, 1)
    with torch.no_grad():
        network.heads[0].bias.fill_(float("nan"))
    path = tmp_path / "diverged.safetensors"
    write_network(path, network, {})
    with pytest.raises(ModelError, match="not numbers"):
        start_from(network, plan, NAME, replace(trained[0], weights=path))


@pytest.mark.parametrize("architecture", ["plain", "residual"])
def test_rates_of_encoder_and_decoder(architecture: str, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan(architecture=architecture)
    network = _network(plan, 0)
    groups = parameter_groups(network, 0.25)
    assert [group["scale"] for group in groups] == [0.25, 1.0]
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in network.parameters())
    names = {id(p): name for name, p in network.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in groups[0]["params"]} <= {"stem", "encoder"}
    assert {names[id(p)].split(".")[0] for p in groups[1]["params"]} == {
        "upsamplings",
        "decoder",
        "heads",
    }
    optimiser = torch.optim.SGD(groups, lr=1.0)
    set_learning_rate(optimiser, 0.1)
    rates = [group["lr"] for group in optimiser.param_groups]
    assert rates == pytest.approx([0.025, 0.1])
    kept = optimiser.state_dict()["param_groups"]  # what a checkpoint holds
    assert [group["scale"] for group in kept] == [0.25, 1.0]


def test_a_single_resolution_has_an_encoder_and_a_head() -> None:
    network = UNet(NetworkPlan("plain", (4,), ((3,) * 3,), ((1,) * 3,), (1,), ()), 1, 2)
    assert len(parameter_groups(network)) == 2


def test_digest(trained: tuple[StartingPoint, UNet], tmp_path: Path) -> None:
    start, _ = trained
    assert digest(None) is None
    before = digest(start)
    assert before is not None
    assert len(before) == 64
    start.weights.write_bytes(b"other")
    assert digest(start) != before
    with pytest.raises(ModelError, match="cannot be read"):
        digest(replace(start, weights=tmp_path / "none"))
