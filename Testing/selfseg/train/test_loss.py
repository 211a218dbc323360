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


# What the loss classes of nnunetv2 2.8.1 (with MemoryEfficientSoftDiceLoss) return for
# `_inputs`. With regions and ignore label its binary cross entropy is a sum over the heads (one
# head's weight would depend on their number), ours a mean: there the value is 2.5504 - 2 * 1.0068.
@pytest.mark.parametrize(
    ("kind", "batch_dice", "golden"),
    [
        ("labels", False, 2.1117117),
        ("labels", True, 2.1115043),
        ("ignore", False, 2.2311497),
        ("ignore", True, 2.2320981),
        ("regions", False, 0.5259634),
        ("regions", True, 0.5259310),
        ("regions and ignore", False, 2.5504413 - 2 * 1.0067819),
        ("regions and ignore", True, 2.5503402 - 2 * 1.0067819),
    ],
)
def test_loss_is_the_peers(kind: str, batch_dice: bool, golden: float) -> None:
    logits, labels, partly = _inputs()
    scheme = SCHEMES[kind]
    target = labels if scheme.ignore is None else partly
    heads = logits[:, : scheme.head_count]
    assert float(segmentation_loss([heads], target, scheme, batch_dice=batch_dice)) == (
        pytest.approx(golden, abs=1e-5)
    )


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


def test_all_ignored_is_finite() -> None:
    scheme = SCHEMES["ignore"]
    logits = torch.zeros(1, 4, 4, 4, requires_grad=True)
    loss = segmentation_loss([logits], torch.full((1, 4, 4), 4), scheme, batch_dice=True)
    loss.backward()
    assert torch.isfinite(loss)


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


def test_undeclared_value_is_refused() -> None:
    with pytest.raises(TrainingError, match="does not declare"):
        head_targets(torch.tensor([[0, 9]]), SCHEMES["labels"])
