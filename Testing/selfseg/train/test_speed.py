from __future__ import annotations

import pytest
import torch

from selfseg.domain.errors import UsageError
from selfseg.network.unet import build_network
from selfseg.plan.cost import multiply_adds
from selfseg.train.speed import TIMED_FEATURES, _count_work, _network_plan, measure_speed


@pytest.mark.parametrize("patch", [(8, 12, 8), (16, 24)])
def test_counted_work_is_the_closed_form(patch: tuple[int, ...]) -> None:
    plan = _network_plan(TIMED_FEATURES[0], patch)
    images = torch.zeros((2, 1, *patch))
    network = build_network(plan, 1, 3)
    network.deep_supervision = True
    work = _count_work(network, images)
    assert work.multiply_adds == 2 * multiply_adds(plan, patch, 1, 3)


@pytest.mark.parametrize("patch", [(8, 300, 12), (40, 37)])
def test_profile_tells_what_was_timed(patch: tuple[int, ...]) -> None:
    profile = measure_speed(len(patch), 2, 3, patch, "cpu")
    assert profile.device == "cpu"
    assert profile.threads >= 1
    assert profile.autocast in ("off", "bfloat16")
    sample = profile.samples[0]
    assert sample.features == TIMED_FEATURES[0]
    assert sample.seconds_per_step > 0
    assert sample.multiply_adds > 0
    assert all(n <= limit for n, limit in zip(sample.patch_size, patch, strict=True))


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA: the refusal was NOT checked")
    with pytest.raises(UsageError):
        measure_speed(3, 1, 2, (8, 8, 8), "cuda")


def test_single_heads_can_be_timed() -> None:
    assert measure_speed(2, 1, 1, (16, 16), "cpu").samples
