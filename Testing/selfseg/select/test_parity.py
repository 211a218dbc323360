"""Selection and postprocessing decide as nnunetv2 2.8.1 does, given the same predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from held_out_cases import COUNT, GOLDEN, MadeProblem
from selection_decisions import differences, our_decision, scheme_of, scorer_of, scorer_on_images
from selfseg.domain.bundle import PostprocessingStep

PEER = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("number", range(COUNT))
def test_decides_as_the_peer(number: int) -> None:
    only = 0 if PEER[number]["best"] is None else None
    assert not differences(our_decision(MadeProblem(number), only), PEER[number])


def test_the_peer_decided_all_kinds_of_things() -> None:
    assert {len(entry["steps"]) for entry in PEER} >= {0, 1, 2, 3}
    assert {len(entry["best"] or ()) for entry in PEER} >= {1, 2}


@pytest.mark.parametrize("number", [0, 3, 8, 10, 14, 16, 18, 26])
def test_tables_of_components_score_as_the_images_do(number: int) -> None:
    problem = MadeProblem(number)
    scheme = scheme_of(problem)
    pairs = [
        (case.reference, problem.decoded(problem.probabilities(case.logits[0])))
        for case in problem.cases()
    ]
    names = [label.name for label in scheme.foreground]
    everything = PostprocessingStep("largest_component_all")
    sequences = [
        (),
        (everything,),
        *((PostprocessingStep("largest_component", (name,)),) for name in names),
        *((everything, PostprocessingStep("largest_component", (name,))) for name in names),
        (PostprocessingStep("k_largest_components", (names[0],), count=2),),
        (everything, PostprocessingStep("k_largest_components", tuple(names), count=3)),
        (PostprocessingStep("remove_small_components", (), min_voxels=4),),
        (
            PostprocessingStep("remove_small_components", (names[0],), min_voxels=2),
            PostprocessingStep("k_largest_components", (names[0],), count=1),
        ),
    ]
    tables = scorer_of(pairs, scheme)(sequences)
    images = scorer_on_images(pairs, scheme)(sequences)
    for steps, one, other in zip(sequences, tables, images, strict=True):
        np.testing.assert_array_equal(one.values, other.values, err_msg=str(steps))


@pytest.mark.parametrize("number", [1, 5, 7])
def test_counting_only_what_changed_is_the_same_as_counting_all(number: int) -> None:
    problem = MadeProblem(number)
    scheme = scheme_of(problem)
    pairs = [
        (case.reference, problem.decoded(problem.probabilities(case.logits[1])))
        for case in problem.cases()
    ]
    first = PostprocessingStep("largest_component_all")
    second = PostprocessingStep("fill_holes", (scheme.foreground[0].name,))
    alone = [scorer_on_images(pairs, scheme)([steps])[0] for steps in ((first,), (first, second))]
    together = scorer_on_images(pairs, scheme)([(), (first,), (first, second)])
    for one, other in zip(alone, together[1:], strict=True):
        np.testing.assert_array_equal(one.values, other.values)
