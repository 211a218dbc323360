"""Whole strategies of models with made weights, against their parts put together by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_examples import CASCADE, LABELS, a_bundle, a_plan
from selfseg.domain.bundle import Calibration, Member, ModelBundle, PostprocessingStep
from selfseg.domain.case import RawCase
from selfseg.domain.events import Event, Notice, Progress
from selfseg.domain.geometry import Geometry
from selfseg.domain.network_shapes import weight_shapes
from selfseg.infer.engine import head_of, predict_logits
from selfseg.infer.ensemble import Vote, decide
from selfseg.io.probability_files import ENDING
from selfseg.preprocess.case import preprocess_case
from selfseg.stages.models import LoadedModel, torch_backend
from selfseg.stages.region import finder_of, region_around
from selfseg.stages.segment import segment_image
from selfseg.stages.strategy import PredictOptions, Strategy, load_strategy, segment_with
from synthetic_preprocessing import GOLDEN, made_case
from synthetic_training import seeded_weights

FULL, LOWRES = "3d_fullres", "3d_lowres"
PLAN = a_plan()
QUICK = PredictOptions(step=1.0, mirror=False)

pytestmark = pytest.mark.usefixtures("one_thread")


class MadeModel:
    """A model whose weights follow from the names of fold and configuration."""

    backend = "torch"
    digest = "0" * 64
    atlases = None

    def __init__(self, *members: Member, **changes: Any) -> None:
        self.bundle: ModelBundle = a_bundle(members=members, plan=PLAN, **changes)

    def load(self, member: Member, device: str, *, reporter: Any = None) -> LoadedModel:
        first, previous = None, PLAN.configuration(member.configuration).previous_stage
        if previous is not None:
            first = self.load(Member("plain", previous, ("0",)), device)
        weights = [made_weights(member.configuration, fold) for fold in member.folds]
        backend = torch_backend(PLAN, member.configuration, weights, "cpu")
        return LoadedModel(
            PLAN, member.configuration, backend, first, member.mirror_axes, member.folds
        )


def made_weights(configuration: str, fold: str) -> dict[str, Any]:
    shapes = weight_shapes(
        PLAN.configuration(configuration).network,
        PLAN.input_channels(configuration),
        LABELS.head_count,
    )
    named = {f"{configuration} {fold} {name}": shape for name, shape in shapes.items()}
    made = seeded_weights(named)
    return {name.split(" ")[-1]: value for name, value in made.items()}


@pytest.fixture(scope="module")
def raw() -> RawCase:
    return replace(made_case(GOLDEN["thick_target"]), labels=None)


def strategy_of(*members: Member, options: PredictOptions = QUICK, **changes: Any) -> Strategy:
    return load_strategy(MadeModel(*members, **changes), options, device="cpu")  # type: ignore[arg-type]


def test_one_member_is_what_segment_image_gives(raw: RawCase) -> None:
    strategy = strategy_of(Member("plain", FULL, ("0", "1"), (2,)))
    assert strategy.reads_ahead
    wanted = segment_image(raw, strategy.voters[0], mirror=False, step=1.0)
    assert len(np.unique(wanted)) > 1
    for image in (raw, preprocess_case(raw, PLAN, FULL)):
        outcome = segment_with(image, strategy)
        np.testing.assert_array_equal(outcome.labels, wanted)
        found = outcome.confidence
        assert found is not None
        assert found.fold_dice is not None
        assert 0 < (found.entropy or 0) < 1
        assert set(found.structures) == {"liver", "kidney_left", "thing"}
    silent = strategy_of(Member("plain", FULL, ("0",)), options=replace(QUICK, confidence=False))
    assert segment_with(raw, silent).confidence is None


def test_small_images_are_predicted_fold_by_fold_and_large_ones_looked_at_again(
    raw: RawCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either way the labels are the same, and the folds agree to about the same degree."""
    from selfseg.infer import agreement

    strategy = strategy_of(Member("plain", FULL, ("0", "1")))
    small = segment_with(raw, strategy)
    monkeypatch.setattr(agreement, "SHARE", 1.0)
    monkeypatch.setattr(agreement, "MOST_TILES", 1000)
    large = segment_with(raw, strategy)
    assert (small.labels == large.labels).mean() > 0.999
    for outcome in (small, large):
        assert outcome.confidence is not None
        assert 0.05 < (outcome.confidence.fold_dice or 0) < 0.95
    alone = strategy_of(Member("plain", FULL, ("0",)))
    found = segment_with(raw, alone).confidence
    assert found is not None
    assert found.fold_dice is None


def test_only_the_axes_that_training_has_mirrored_are_mirrored(raw: RawCase) -> None:
    mirrored = replace(QUICK, mirror=True, confidence=False)
    labels = [
        segment_with(raw, strategy_of(Member("plain", FULL, ("0",), axes), options=mirrored)).labels
        for axes in (None, (1,), ())
    ]
    assert (labels[0] != labels[1]).any()
    plain = segment_with(raw, strategy_of(Member("plain", FULL, ("0",)))).labels
    np.testing.assert_array_equal(labels[2], plain)


def test_two_members_and_a_cascade_vote_with_probabilities(raw: RawCase) -> None:
    members = (Member("plain", FULL, ("0", "1")), Member("plain", CASCADE, ("0",)))
    strategy = strategy_of(*members)
    assert not strategy.reads_ahead
    told: list[Event] = []
    outcome = segment_with(raw, strategy, reporter=told.append)
    wanted = decide(by_hand(raw, strategy), LABELS)
    assert (outcome.labels == wanted).mean() > 0.999
    alone = [segment_with(raw, strategy_of(m)).labels for m in members]
    assert all((outcome.labels != labels).any() for labels in alone)
    assert outcome.confidence is not None
    assert outcome.confidence.fold_dice is not None  # of the member with two folds
    shares = [event.done / event.total for event in told if isinstance(event, Progress)]
    assert shares == sorted(shares)
    assert (shares[0] < 0.34, shares[-1]) == (True, pytest.approx(1))


def by_hand(raw: RawCase, strategy: Strategy) -> list[Vote]:
    from selfseg.infer.cascade import previous_on_grid

    votes = []
    for voter in strategy.voters:
        case = preprocess_case(raw, PLAN, voter.configuration)
        if voter.first is not None:
            previous = segment_image(raw, voter.first, mirror=False, step=1.0)
            case = replace(case, previous=previous_on_grid(previous, case.record))
        logits = predict_logits(
            case, voter.backend, PLAN.configuration(voter.configuration),
            head_count=LABELS.head_count, previous_values=PLAN.previous_values(voter.configuration),
            options=replace(_tiles(), mirror=False, step=1.0),
        )  # fmt: skip
        votes.append(Vote(np.moveaxis(logits, 0, -1), case.record, None))
    return votes


def _tiles() -> Any:
    from selfseg.infer.engine import TileOptions

    return TileOptions()


def test_postprocessing_comes_before_the_subset(raw: RawCase) -> None:
    step = PostprocessingStep("largest_component")
    member = Member("plain", FULL, ("0",))
    plain = segment_with(raw, strategy_of(member)).labels
    kept = segment_with(raw, strategy_of(member, postprocessing=(step,))).labels
    assert 0 < (kept != 0).sum() < (plain != 0).sum()
    options = replace(QUICK, structures=("thing",))
    some = segment_with(raw, strategy_of(member, options=options, postprocessing=(step,))).labels
    np.testing.assert_array_equal(some, np.where(kept == 5, 5, 0))


@pytest.mark.parametrize("members", [1, 2])
def test_probabilities_go_with_the_labels(raw: RawCase, members: int, tmp_path: Path) -> None:
    chosen = (Member("plain", FULL, ("0",)), Member("plain", LOWRES, ("0",)))[:members]
    path = tmp_path / f"case{ENDING}"
    strategy = strategy_of(*chosen, calibration=Calibration(2.0, "made"))
    segment_with(raw, strategy, probabilities=path)
    with np.load(path) as stored:
        found, names = stored["probabilities"], stored["names"].tolist()
        assert stored["temperature"] == 2.0
    assert names == ["background", "liver", "kidney_left", "thing"]
    shape = preprocess_case(raw, PLAN, FULL).record.shape_after_resampling
    assert found.shape == (*shape, 4)
    assert (np.abs(found.sum(axis=-1, dtype=int) - 255) <= 2).all()


def test_a_region_is_pasted_where_it_was(raw: RawCase) -> None:
    """With a region that holds everything a tile sees, nothing changes inside of it."""
    member = Member("plain", FULL, ("0", "1"))
    whole = segment_with(raw, strategy_of(member)).labels
    options = replace(QUICK, region=True)
    told: list[Event] = []
    found = segment_with(raw, strategy_of(member, options=options), reporter=told.append).labels
    # Random networks find something everywhere: the whole is predicted, and said so.
    np.testing.assert_array_equal(found, whole)
    assert "all of it is predicted" in str(told)


@pytest.mark.parametrize("configuration", [FULL, CASCADE])
def test_only_the_region_is_predicted(
    raw: RawCase, configuration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfseg.stages import region as room

    monkeypatch.setattr(room, "MARGIN_MM", 2.0)
    monkeypatch.setattr(room, "MARGIN_PATCHES", 0.0)
    looked = np.zeros(raw.geometry.shape, np.uint8)
    looked[8:14, 9:15, 4:20] = 1
    monkeypatch.setattr(room, "segment_image", lambda *a, **k: looked)
    monkeypatch.setattr("selfseg.stages.strategy.segment_image", lambda *a, **k: looked)
    told: list[Event] = []
    strategy = strategy_of(
        Member("plain", configuration, ("0", "1")), options=replace(QUICK, region=True)
    )
    found = segment_with(raw, strategy, reporter=told.append).labels
    assert found.shape == raw.geometry.shape
    inside = np.zeros(found.shape, bool)
    inside[6:16, 7:17, 2:22] = True
    assert found[inside].any()
    assert not found[~inside].any()
    notices = [event.text for event in told if isinstance(event, Notice)]
    assert any("% of the image is predicted in full" in text for text in notices)


def test_the_region_that_is_looked_for() -> None:
    grid = Geometry((100, 100, 100), (1.0, 1.0, 2.0))
    told: list[Event] = []
    looked = np.zeros(grid.shape, np.uint8)
    voters = strategy_of(Member("plain", FULL, ("0",))).voters
    assert region_around(looked, grid, voters, reporter=told.append) is None
    looked[50:55, 40:50, 30] = 2
    # The patch is 16 voxels of 1.2, 4.0 and 0.9 mm: a quarter of it is less than 20 mm.
    wanted = (slice(30, 75), slice(20, 70), slice(20, 41))
    assert region_around(looked, grid, voters, reporter=told.append) == wanted
    looked[2, 2, 2] = looked[-1, -1, -1] = 1
    assert region_around(looked, grid, voters, reporter=told.append) is None
    texts = [event.text for event in told if isinstance(event, Notice)]
    assert len(texts) == 3
    assert "found nothing" in texts[0]
    assert "100% of the image" in texts[2]


@pytest.mark.parametrize(
    ("members", "mirror", "finder"),
    [
        ([Member("plain", FULL, ("0",))], False, None),
        ([Member("plain", FULL, ("0",))], True, (FULL, ("0",))),
        ([Member("plain", FULL, ("0", "1"))], False, (FULL, ("0", "1"))),
        ([Member("plain", FULL, ("0",)), Member("plain", LOWRES, ("0",))], False, (LOWRES, ("0",))),
        ([Member("plain", FULL, ("0",)), Member("plain", CASCADE, ("0",))], False, (LOWRES, ())),
    ],
)
def test_who_takes_the_first_look(
    members: Sequence[Member], mirror: bool, finder: tuple[str, tuple[str, ...]] | None
) -> None:
    found = finder_of(strategy_of(*members).voters, mirror=mirror, step=1.0)
    if finder is None:
        assert found is None
        return
    assert found is not None
    assert found.configuration == finder[0]
    assert len(found.backend.networks) == 1  # type: ignore[attr-defined]
    assert head_of(found.backend) is None
