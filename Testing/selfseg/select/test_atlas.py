from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfseg.domain.case import PreprocessRecord
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.infer.ensemble import Vote, decide
from selfseg.select.atlas import Atlas, Registered, fuse, register
from selfseg.stages.atlas_vote import atlas_votes

LABELS = LabelScheme((Label("ball", (1,)), Label("core", (2,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))
SHAPE = (18, 24, 22)
GRID = Geometry(SHAPE, (1.5, 1.0, 1.0), (3.0, -4.0, 5.0))


def ball(centre: tuple[float, float, float], radius: float, seed: int) -> tuple[Any, Any]:
    axes = [(np.arange(n) - c) * mm for n, c, mm in zip(SHAPE, centre, GRID.spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance = np.sqrt(z**2 + y**2 + (1.2 * x) ** 2)
    labels = (distance < radius).astype(np.uint8) + (distance < radius / 2)
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    image = (100 * labels + np.clip(60 - 3 * distance, 0, 60) + 4 * noise).astype(np.float32)
    return image, labels.astype(np.uint8)


def dice(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


TARGET = ball((9.0, 12.0, 11.0), 7.0, 0)
ATLASES = [Atlas(f"a{seed}", *ball((8.0, 10.0 + seed, 12.5), 6.0, seed), GRID) for seed in (1, 2)]


@pytest.fixture(scope="module")
def moved() -> list[Registered]:
    return [register(atlas, TARGET[0], GRID) for atlas in ATLASES]


def test_registration_finds_the_place_and_is_the_same_every_time(moved: list[Registered]) -> None:
    truth = TARGET[1]
    before = max(dice(atlas.labels > 0, truth > 0) for atlas in ATLASES)
    after = min(dice(found.labels > 0, truth > 0) for found in moved)
    assert before < 0.8
    assert after > 0.9
    again = register(ATLASES[0], TARGET[0], GRID)
    assert np.array_equal(again.image, moved[0].image)
    assert np.array_equal(again.labels, moved[0].labels)


@pytest.mark.parametrize("fusion", ["weighted", "staple"])
@pytest.mark.parametrize("scheme", [LABELS, REGIONS], ids=["labels", "regions"])
def test_what_atlases_say(scheme: LabelScheme, fusion: str, moved: list[Registered]) -> None:
    image, truth = TARGET
    said = fuse(moved, image, GRID, scheme, per_image=2, fusion=fusion)
    assert said.shape == (scheme.head_count, *SHAPE)
    assert said.min() > 0
    if scheme.has_regions:
        assert dice(said[0] > 0.5, truth > 0) > 0.9
    else:
        assert np.allclose(said.sum(axis=0), 1, atol=1e-3)
        assert dice(said.argmax(axis=0) > 0, truth > 0) > 0.9


@pytest.mark.parametrize("scheme", [LABELS, REGIONS], ids=["labels", "regions"])
def test_atlases_vote_with_their_share(scheme: LabelScheme) -> None:
    _, truth = TARGET
    turned = np.ascontiguousarray(truth.transpose(2, 0, 1)[:, 2:, 3:20])
    record = PreprocessRecord(
        GRID, (2, 0, 1), (0, 2, 3), (22, 18, 20), turned.shape, (1.0, 1.5, 1.0), turned.shape,
        (1.0, 1.5, 1.0), (22, 18, 24),
    )  # fmt: skip
    unsure = np.zeros((*turned.shape, scheme.head_count), np.float16)
    unsure[..., 0] = 1.0  # a network that says background, or the whole, everywhere
    heads = [truth == 0, truth == 1, truth == 2] if scheme is LABELS else [truth > 0, truth == 2]
    said = np.clip(np.stack(heads).astype(np.float32), 0.001, 0.998)
    network = Vote(unsure, record, None)
    for share, follows in ((0.5, True), (0.25, False)):
        votes = atlas_votes([network], said, share, scheme)
        assert len(votes) == {0.5: 2, 0.25: 4}[share]
        labels = decide(votes, scheme)
        inside = labels[:, 3:20, :][2:]
        expected = truth[2:, 3:20]
        if scheme is LABELS:
            assert (np.array_equal(inside, expected)) == follows
    elsewhere = replace(record, shape_after_resampling=record.shape_before_resampling)
    assert votes[-1].record == replace(elsewhere, spacing_after=record.spacing_before)
