"""Only a part of an image is segmented, as it would be within the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model_examples import a_plan
from selfseg.domain.bundle import Member
from selfseg.domain.case import RawCase
from selfseg.domain.errors import UsageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.plan import Plan
from selfseg.infer.backend import Backend
from selfseg.stages.models import LoadedModel
from selfseg.stages.region import box_of_limit, pasted
from selfseg.stages.strategy import PredictOptions, Strategy, segment_with
from synthetic_preprocessing import GOLDEN, made_case

FULL = "3d_fullres"
PLAN = a_plan()
QUICK = PredictOptions(step=1.0, mirror=False, confidence=False)

pytestmark = pytest.mark.usefixtures("one_thread")


class Bright:
    """A network that sees one voxel: structure 1 where it is brighter than the mean."""

    def predict(self, batch: Any, mirror_axes: Any = (), should_stop: Any = None) -> Any:
        heads = PLAN.description.labels.head_count
        logits = np.zeros((len(batch), heads, *batch.shape[2:]), np.float32)
        logits[:, 1] = batch[:, 0]
        logits[:, 2:] = -9
        return logits


class Model:
    """One member, or two that see the same."""

    backend = "torch"
    digest = "0" * 64

    def __init__(self, *configurations: str, plan: Plan = PLAN) -> None:
        from model_examples import a_bundle

        members = tuple(Member("plain", name, ("0",)) for name in configurations)
        self.bundle = a_bundle(members=members, plan=plan)
        backend: Backend = Bright()
        self.voters = tuple(LoadedModel(plan, name, backend) for name in configurations)

    def strategy(self, options: PredictOptions) -> Strategy:
        return Strategy(self.bundle, self.voters, options)


@pytest.fixture(scope="module")
def raw() -> RawCase:
    return replace(made_case(GOLDEN["thick_target"]), labels=None)


@pytest.mark.parametrize("configurations", [(FULL,), (FULL, "3d_lowres")])
@pytest.mark.parametrize(
    "limit", [((8, 14), (9, 15), (4, 20)), ((0, 30), (2, 3), (5, 9)), ((10, 11), (4, 30), (0, 26))]
)
def test_the_part_is_what_it_is_in_the_whole(
    raw: RawCase, configurations: tuple[str, ...], limit: Any
) -> None:
    shape = raw.geometry.shape
    limit = tuple((a, min(b, n)) for (a, b), n in zip(limit, shape, strict=True))
    model = Model(*configurations)
    whole = segment_with(raw, model.strategy(QUICK)).labels
    found = segment_with(raw, model.strategy(replace(QUICK, limit=limit))).labels
    inside = tuple(slice(a, b) for a, b in limit)
    assert found.shape == whole.shape
    assert 0 < whole[inside].mean() < 1
    # The parts of both grids are resampled each from its own first voxel: edges move a little.
    assert (found[inside] == whole[inside]).mean() > 0.9
    found[inside] = 0
    assert not found.any()


def test_a_limit_that_holds_nothing_gives_nothing(raw: RawCase) -> None:
    channels = raw.channels.copy()
    channels[:, :, :, :10] = 0
    empty = replace(raw, channels=channels)
    options = replace(QUICK, limit=((0, 2), (0, 2), (0, 1)))
    strategy = Model(FULL).strategy(options)
    assert not strategy.reads_ahead
    box = box_of_limit(options.limit, raw.geometry, strategy.voters)  # type: ignore[arg-type]
    if channels[(slice(None), *box)].any():
        channels[(slice(None), *box)] = 0
        empty = replace(raw, channels=channels)
    found = segment_with(empty, strategy).labels
    assert found.shape == raw.geometry.shape
    assert not found.any()


def test_there_is_a_margin_and_no_less_than_a_tile() -> None:
    # The patch is 16 voxels of 1.2, 4.0 and 0.9 mm.
    grid = Geometry((100, 100, 100), (1.0, 2.0, 0.5))
    voters = Model(FULL).voters
    sizes = [16 * mm / own for mm, own in zip(_plan_mm(), grid.spacing, strict=True)]
    box = box_of_limit(((50, 51), (40, 90), (0, 100)), grid, voters)
    assert box[0].stop - box[0].start >= sizes[0]
    assert box[0].start <= 50 - (sizes[0] - 1) / 2
    assert box[1] == slice(
        round(40 - np.ceil(sizes[1] / 4)), min(100, round(90 + np.ceil(sizes[1] / 4)))
    )
    assert box[2] == slice(0, 100)
    for wrong in (((0, 101), (0, 1), (0, 1)), ((-1, 1), (0, 1), (0, 1)), ((3, 3), (0, 1), (0, 1))):
        with pytest.raises(UsageError, match="no part of the image"):
            box_of_limit(wrong, grid, voters)


def _plan_mm() -> list[float]:
    """Spacing of the plan along the native axes (Z, Y, X)."""
    chosen = PLAN.configuration(FULL)
    native = [0.0] * 3
    for axis, own in enumerate(PLAN.transpose_forward):
        native[own] = chosen.spacing[axis] * chosen.patch_size[axis] / 16
    return native


def test_pasting() -> None:
    part = np.arange(1, 9).reshape(2, 2, 2)
    place = (slice(1, 3), slice(0, 2), slice(2, 4))
    whole = pasted(part, place, (4, 3, 5), None)
    assert whole.sum() == part.sum()
    np.testing.assert_array_equal(whole[place], part)
    limited = pasted(part, place, (4, 3, 5), ((2, 4), (0, 3), (0, 3)))
    assert limited.sum() == part[1, :, 0].sum()
    np.testing.assert_array_equal(limited[2, 0:2, 2], part[1, :, 0])
