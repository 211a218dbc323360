"""How long the parts of a cross-validation take: what was measured, and what is assumed.

No graphics card was at hand, so every duration on one is assumed, from a published number and
stated factors. Give your own with `--seconds-per-epoch` and `--predict-seconds`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selfseg.arrays.tile import axis_tiles
from selfseg.domain.plan import Plan

PUBLISHED_EPOCH = 9 * 3600 / 1000
"""Seconds: nnU-Net's standard 3D network, 1000 epochs in 9 h on one A100 PCIe 40 GB
(MIC-DKFZ/nnUNet, documentation/resenc_presets.md, column RT)."""

STEPS = 250 + 50 / 3
"""Of an epoch, as training steps: 250 and 50 for validation, which only go forward."""

FORWARD_SHARE = 1 / 3
"""Of a training step: the way forward; the way back costs twice as much."""

SOURCES: Mapping[str, str] = {
    "epoch_seconds": "assumed: 9 h for 1000 epochs of nnU-Net's standard 3D network on an A100 "
    "(MIC-DKFZ/nnUNet, documentation/resenc_presets.md), for every configuration",
    "predict_seconds": "assumed: tiles of the median case with mirroring, each a third of a "
    "training step on one patch; saving and scoring left out",
    "preprocess_seconds": "measured here on one core with `selfseg preprocess`, per case of "
    "300 x 512 x 512 voxels (benchmarks/scaling.json, part large_cases)",
    "fingerprint_seconds": "measured here with `selfseg plan`, per case of that size",
    "score_seconds": "assumed: of one held-out case of one configuration in the selection",
}


@dataclass(frozen=True)
class Durations:
    """Seconds.

    Args:
        epochs: of a training.
        epoch_seconds: on one GPU, by configuration.
        predict_seconds: of a held-out case on one GPU, by configuration.
        preprocess_seconds: of a case on `workers` cores, by configuration.
        fingerprint_seconds: of a case on one core.
        score_seconds: of a held-out case in the selection.
        workers: cores of the node that preprocesses and plans; they share the cases evenly.
    """

    epochs: int = 1000
    epoch_seconds: Mapping[str, float] = field(default_factory=dict)
    predict_seconds: Mapping[str, float] = field(default_factory=dict)
    preprocess_seconds: Mapping[str, float] = field(default_factory=dict)
    fingerprint_seconds: float = 5.0
    score_seconds: float = 5.0
    workers: int = 16

    def training_seconds(self, configuration: str) -> float:
        """Of one fold."""
        return self.epochs * self.epoch_seconds[configuration]

    def plan_seconds(self, cases: int) -> float:
        """Of the fingerprint and the plan."""
        return cases * self.fingerprint_seconds / self.workers

    def preparing_seconds(self, configuration: str, cases: int) -> float:
        """Of preprocessing all cases."""
        return cases * self.preprocess_seconds[configuration] / self.workers


def seconds_per_large_case(path: Path) -> tuple[float, dict[str, float]]:
    """Of the fingerprint, and of preprocessing by configuration, on one core.

    Raises:
        SystemExit: nobody has measured them.
    """
    known = json.loads(path.read_text()) if path.is_file() else {}
    if "large_cases" not in known:
        raise SystemExit("measure first: python benchmarks/scaling.py FOLDER --only large_cases")
    each = {p["step"]: p["seconds"] / p["cases"] for p in known["large_cases"]["points"]}
    return each.pop("plan"), each


def forward_passes(plan: Plan, configuration: str) -> int:
    """Through the network for one case of the median size, mirrored along all axes."""
    chosen = plan.configuration(configuration)
    shape = [math.ceil(size) for size in chosen.median_shape]
    tiles = 1
    for size, width in zip(shape, chosen.patch_size, strict=True):
        tiles *= len(axis_tiles(max(size, width), width, 0.5).starts)
    if chosen.is_2d:
        tiles *= plan.original_median_shape[0]
    return tiles * 2 ** len(chosen.patch_size)


def predict_seconds(plan: Plan, configuration: str, epoch_seconds: float) -> float:
    """Of one case of the median size, from what a training step takes."""
    batch = plan.configuration(configuration).batch_size
    forward = epoch_seconds / STEPS * FORWARD_SHARE / batch
    return forward_passes(plan, configuration) * forward
