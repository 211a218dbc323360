"""Small models with made weights, for everything that reads, keeps or runs bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfseg.domain.anatomy import appearances_of
from selfseg.domain.bundle import Member, ModelBundle, ModelCard
from selfseg.domain.fingerprint import Fingerprint
from selfseg.domain.labels import LabelScheme
from selfseg.domain.network_shapes import weight_shapes
from selfseg.domain.plan import NetworkPlan, Plan
from selfseg.domain.quality import (
    HeldOutPrediction,
    QualityModel,
    Regression,
    StructurePredictor,
)
from selfseg.io.bundle_layout import WeightsKey
from synthetic_preprocessing import GOLDEN, INTENSITIES, made_plan

LABELS = LabelScheme.from_mapping({"background": 0, "liver": 1, "kidney_left": 2, "thing": 5})
CASCADE = "3d_cascade_fullres"
NETWORK = NetworkPlan("plain", (4, 6), ((3, 3, 3), (3, 3, 3)), ((1, 1, 1), (2, 2, 2)), (1, 1), (1,))


def a_plan(labels: LabelScheme = LABELS, network: NetworkPlan = NETWORK) -> Plan:
    """3d_fullres, 3d_lowres and the cascade, one channel."""
    plan = made_plan(GOLDEN["thick_target"], labels)
    full = replace(plan.configuration("3d_fullres"), network=network)
    lowres = replace(full, name="3d_lowres", spacing=(2.4, 4.0, 1.8))
    cascade = replace(full, name=CASCADE, previous_stage="3d_lowres")
    return replace(plan, configurations={"3d_lowres": lowres, "3d_fullres": full, CASCADE: cascade})


def a_bundle(
    name: str = "made",
    version: str = "1.0",
    members: Sequence[Member] = (Member("plain", "3d_fullres", ("0", "1")),),
    plan: Plan | None = None,
    **changes: Any,
) -> ModelBundle:
    """A complete description."""
    plan = plan or a_plan()
    means = {"1": {"Dice": 0.9}, "2": {"Dice": 0.8}, "5": {"Dice": None}}
    bundle = ModelBundle(
        card=ModelCard(name, version, licence="CC0-1.0", created="2026-11-21T10:00:00+00:00"),
        description=plan.description,
        plans={plan.name: plan},
        members=tuple(members),
        appearances=appearances_of(plan.description.labels),
        scores={"mean": means, "foreground_mean": {"Dice": 0.85}, "metric_per_case": []},
        fingerprint=Fingerprint(((1.0, 1.0, 1.0),), ((24, 26, 25),), 1.0, (INTENSITIES,)),
    )
    return replace(bundle, **changes)


def a_quality(structure: str) -> QualityModel:
    """A predictor of one structure: the model's own doubt counts."""
    line = Regression(("doubt",), (-2.0,), (0.5,), (-3.0,), (-1.0,), (0.4,), -2.0, 0.1)
    usual = {"expected_dice": (0.8, 0.95), "volume_ml": (1.0, 3.0)}
    predictor = StructurePredictor(20, 20, 20, 0.7, 0.4, usual, line, replace(line, intercept=1.0))
    held_out = HeldOutPrediction("held_out_0001", "0", structure, 0.9, 0.85, 1.5, 2.0)
    return QualityModel({structure: predictor}, (held_out,), "fold")


def made_weights(
    bundle: ModelBundle, first_stage_folds: Sequence[str] = ("0",), seed: int = 0
) -> Iterator[tuple[WeightsKey, Mapping[str, NDArray[Any]]]]:
    """Random weights of every network a bundle needs."""
    generator = np.random.default_rng(seed)
    for (plan_name, configuration), folds in bundle.stages.items():
        plan = bundle.plans[plan_name]
        shapes = weight_shapes(
            plan.configuration(configuration).network,
            plan.input_channels(configuration),
            plan.description.labels.head_count,
        )
        for fold in folds or first_stage_folds:
            yield (
                WeightsKey(plan_name, configuration, fold),
                {
                    key: generator.standard_normal(shape).astype(np.float32)
                    for key, shape in shapes.items()
                },
            )
