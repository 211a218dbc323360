from __future__ import annotations

import numpy as np
import pytest
import torch

from selfseg.domain.errors import TrainingError
from selfseg.domain.labels import LabelScheme
from selfseg.train.loss import deep_supervision_weights, head_targets, segmentation_loss

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "top": 3}
SCHEMES = {
    "labels": LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "c": 3}),
    "ignore": LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}),
    "regions": LabelScheme.from_mapping(REGIONS, (1, 2, 3)),
    "regions and ignore": LabelScheme.from_mapping({**REGIONS, "ignore": 4}, (1, 2, 3)),
}


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (2, 4, 6, 7, 5), labels, and labels of which 30% are to be ignored (4)."""
    rng = np.random.default_rng(42)
    logits = torch.from_numpy(rng.normal(0, 2, (2, 4, 6, 7, 5)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 4, (2, 6, 7, 5)))
    partly = labels.clone()
    partly[torch.from_numpy(rng.random((2, 6, 7, 5)) < 0.3)] = 4
    return logits, labels, partly


@pytest.mark.parametrize("kind", ["ignore", "regions and ignore"])
def test_ignored_voxels_have_no_gradient_and_change_nothing(kind: str) -> None:
    logits, _, labels = _inputs()
    scheme = SCHEMES[kind]
    logits = logits[:, : scheme.head_count].clone().requires_grad_()
    loss = segmentation_loss([logits], labels, scheme, batch_dice=False)
    loss.backward()
    assert logits.grad is not None
    ignored = (labels == 4)[:, None].expand_as(logits)
    assert float(logits.grad[ignored].abs().max()) == 0
    assert float(logits.grad[~ignored].abs().max()) > 0
    disturbed = torch.where(ignored, logits.detach() + 3, logits.detach())
    again = segmentation_loss([disturbed], labels, scheme, batch_dice=False)
    assert float(again) == pytest.approx(float(loss.detach()), abs=1e-6)


def test_perfect_prediction_reaches_minus_one() -> None:
    _, labels, _ = _inputs()
    heads, _ = head_targets(labels, SCHEMES["labels"])
    logits = torch.nn.functional.one_hot(heads, 4).movedim(-1, 1) * 50.0
    loss = segmentation_loss([logits], labels, SCHEMES["labels"], batch_dice=False)
    assert float(loss) == pytest.approx(-1, abs=1e-4)


def test_deep_supervision_weights() -> None:
    assert deep_supervision_weights(1) == (1.0,)
    assert deep_supervision_weights(4) == pytest.approx((4 / 7, 2 / 7, 1 / 7, 0))


def test_deep_supervision_shrinks_labels_by_nearest_neighbour() -> None:
    scheme = SCHEMES["labels"]
    labels = torch.zeros(1, 4, 4, dtype=torch.int16)
    labels[:, 2:, :] = 2
    full = torch.zeros(1, 4, 4, 4)
    half = torch.zeros(1, 4, 2, 2)
    half[:, 2, 1, :], half[:, 0, 0, :] = 50, 50
    lowest = torch.zeros(1, 4, 1, 1)
    single = float(segmentation_loss([full], labels, scheme, batch_dice=True))
    three = float(segmentation_loss([full, half, lowest], labels, scheme, batch_dice=True))
    # Classes 1 and 3 are in neither the half-size labels nor its prediction: Dice 1 by smoothing.
    assert three == pytest.approx(2 / 3 * single - 1 / 3, abs=1e-3)


def test_label_values_may_have_gaps() -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "a": 7, "b": 3})
    heads, ignored = head_targets(torch.tensor([[0, 7, 3]]), scheme)
    assert heads.tolist() == [[0, 1, 2]]
    assert ignored is None


@pytest.mark.parametrize("value", [9, 2, -1])
def test_undeclared_value_is_refused(value: int) -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 3})
    logits = torch.zeros(1, 3, 1, 2)
    with pytest.raises(TrainingError, match="does not declare") as caught:
        segmentation_loss([logits], torch.tensor([[[0, value]]]), scheme, batch_dice=True)
    assert caught.value.found == str(value)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("kind", SCHEMES)
@pytest.mark.parametrize("first", [1, 2])
def test_ranks_have_the_loss_and_gradients_of_one_process(
    kind: str, batch_dice: bool, first: int
) -> None:
    """Parts of 1 and 2 samples (one more ignored than the other); three resolutions."""
    scheme = SCHEMES[kind]
    rng = np.random.default_rng(7)
    labels = torch.from_numpy(rng.integers(0, 4, (3, 4, 8, 4)))
    if scheme.ignore is not None:
        labels[torch.from_numpy(rng.random(labels.shape) < 0.2)] = 4
        labels[0, :3] = 4
    logits = [
        torch.from_numpy(rng.normal(0, 2, (3, scheme.head_count, 4 // n, 8 // n, 4 // n)))
        for n in (1, 2, 4)
    ]

    def leaves(part: slice) -> list[torch.Tensor]:
        return [x[part].float().requires_grad_() for x in logits]

    whole = leaves(slice(None))
    loss = segmentation_loss(whole, labels, scheme, batch_dice=batch_dice)
    torch.autograd.backward(loss)

    parts = (slice(0, first), slice(first, 3))
    sent: list[torch.Tensor] = []  # what each rank gives, in order

    def send(sums: torch.Tensor) -> torch.Tensor:
        sent.append(sums.detach())
        return sums

    for part in parts:
        segmentation_loss(leaves(part), labels[part], scheme, batch_dice=batch_dice, gather=send)
    assert len(sent) == 2  # one exchange per step, whatever the number of resolutions
    for part, others in zip(parts, reversed(sent), strict=True):
        mine = leaves(part)
        theirs = others
        of_rank = segmentation_loss(
            mine, labels[part], scheme, batch_dice=batch_dice, gather=lambda s, o=theirs: s + o
        )
        torch.autograd.backward(of_rank)
        torch.testing.assert_close(of_rank, loss, atol=1e-6, rtol=0)
        for one, all_of_them in zip(mine, whole, strict=True):
            if all_of_them.grad is None:  # the lowest resolution
                assert one.grad is None
                continue
            assert one.grad is not None
            torch.testing.assert_close(one.grad, all_of_them.grad[part], atol=1e-8, rtol=1e-4)


def test_ranks_that_do_not_gather_have_another_loss() -> None:
    logits, labels, _ = _inputs()
    whole = segmentation_loss([logits], labels, SCHEMES["labels"], batch_dice=True)
    parts = [
        segmentation_loss(
            [logits[i : i + 1]], labels[i : i + 1], SCHEMES["labels"], batch_dice=True
        )
        for i in range(2)
    ]
    assert float(sum(parts) / 2) != pytest.approx(float(whole), abs=1e-6)


@pytest.mark.parametrize("kind", SCHEMES)
def test_half_precision_logits_are_summed_in_single(kind: str) -> None:
    logits, labels, partly = _inputs()
    scheme = SCHEMES[kind]
    heads = logits[:, : scheme.head_count].to(torch.bfloat16)
    target = labels if scheme.ignore is None else partly
    half = segmentation_loss([heads], target, scheme, batch_dice=False)
    single = segmentation_loss([heads.float()], target, scheme, batch_dice=False)
    assert half.dtype is torch.float32
    assert float(half) == float(single)
