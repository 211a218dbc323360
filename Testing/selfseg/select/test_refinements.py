from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selection_decisions import scorer_of, scorer_on_images
from selfseg.domain.bundle import Member, PostprocessingStep
from selfseg.domain.errors import ModelError
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.selection import AtlasFusion, ScoredCandidate, Selection
from selfseg.select.postprocessing import Chosen, choose_steps, refine

ONE = LabelScheme((Label("kidneys", (1,)),))
TWO = LabelScheme((Label("kidneys", (1,)), Label("cyst", (2,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))
Pair = tuple[NDArray[Any], NDArray[Any]]


def decide(pairs: Sequence[Pair], scheme: LabelScheme) -> Chosen:
    score = scorer_of(pairs, scheme)
    folds = [str(place % 3) for place in range(len(pairs))]
    images = scorer_on_images(pairs, scheme)
    return refine(choose_steps(score, scheme), score, images, scheme, folds)


def two_kidneys(seed: int, *, spots: int = 4, spot: int = 1) -> Pair:
    generator = np.random.default_rng(seed)
    reference = np.zeros((8, 20, 20), np.uint8)
    reference[2:6, 2:7, 2:7] = 1
    reference[2:6, 12:18, 12:17] = 1
    predicted = reference.copy()
    for _ in range(spots):
        y, x = generator.integers(0, 4, 2)
        predicted[0:spot, 8 + y, 14 - 12 + x : 14 - 12 + x + spot] = 1
        predicted[7, y + 3, 16 + x] = 1
    return reference, predicted


def test_both_kidneys_are_kept_and_spots_are_dropped() -> None:
    chosen = decide([two_kidneys(seed) for seed in range(9)], ONE)
    assert [step.kind for step in chosen.steps] == ["k_largest_components"]
    assert chosen.steps[0].count == 2
    assert chosen.table.mean == 1.0
    refused = [trial for trial in chosen.tested if not trial.kept]
    assert "largest_component_all" in [trial.step.kind for trial in refused]
    assert all(trial.reason for trial in chosen.tested)


def test_a_size_is_learned_where_the_number_of_components_varies() -> None:
    pairs = []
    for seed in range(9):
        reference, predicted = two_kidneys(seed)
        if seed % 2:
            for labels in (reference, predicted):
                labels[2:6, 12:17, 2:7] = 1
                labels[3:5, 2:5, 12:15] = 1
        pairs.append((reference, predicted))
    chosen = decide(pairs, ONE)
    assert [step.kind for step in chosen.steps] == ["remove_small_components"]
    assert chosen.table.mean == 1.0


def test_a_number_that_helps_by_luck_is_refused() -> None:
    # Each fold has its own size of false spots, as large as true ones elsewhere.
    pairs = []
    for place in range(6):
        reference, predicted = two_kidneys(place, spots=0)
        fold = place % 3
        for size, at in ((2, 0), (3, 4), (4, 8)):
            true = size != fold + 2
            box = (slice(0, 1), slice(8, 8 + 1), slice(at, at + size))
            predicted[box] = 1
            reference[box] = 1 if true else 0
        pairs.append((reference, predicted))
    chosen = decide(pairs, ONE)
    assert not chosen.steps


def test_holes_are_filled_where_that_helps() -> None:
    pairs = []
    for seed in range(6):
        reference, predicted = two_kidneys(seed, spots=0)
        predicted[3, 4, 3 + seed % 3] = 0
        pairs.append((reference, predicted))
    chosen = decide(pairs, TWO)
    assert chosen.steps == (PostprocessingStep("fill_holes", ("kidneys",)),)
    assert chosen.table.by_structure[0] == 1.0


def test_regions_are_refined_on_the_images() -> None:
    pairs = []
    for seed in range(6):
        reference, predicted = two_kidneys(seed)
        for labels in (reference, predicted):
            labels[3:5, 3:6, 3:6] = 2
        pairs.append((reference, predicted))
    chosen = decide(pairs, REGIONS)
    assert chosen.table.mean == 1.0
    assert PostprocessingStep("k_largest_components", ("whole",), count=2) in chosen.steps


def test_what_harms_another_structure_is_refused() -> None:
    # Dropping the core's spot would leave background inside the whole.
    reference = np.zeros((4, 12, 12), np.uint8)
    reference[1:3, 2:10, 2:10] = 1
    reference[1:3, 3:6, 3:6] = 2
    predicted = reference.copy()
    predicted[1, 8, 8] = 2
    chosen = decide([(reference, predicted)] * 4, REGIONS)
    for step in chosen.steps:
        assert step.kind != "remove_small_components"


def test_nothing_is_done_to_perfect_predictions() -> None:
    pairs = [(two_kidneys(seed)[0],) * 2 for seed in range(4)]
    assert decide(pairs, TWO).steps == ()


def test_a_selection_names_what_competed() -> None:
    member = Member("plain", "2d", ("0",))
    candidate = ScoredCandidate((member,), 0.5, {"kidneys": 0.5})
    with pytest.raises(ModelError, match="did not compete"):
        Selection((Member("plain", "3d_fullres", ("0",)),), "final", (candidate,), 3)
    steps = (PostprocessingStep("largest_component_all"),)
    with pytest.raises(ModelError, match="not tested"):
        Selection((member,), "final", (candidate,), 3, steps)
    with pytest.raises(ModelError, match="not valid"):
        AtlasFusion((), 0.5, 3)
