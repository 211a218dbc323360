from __future__ import annotations

from selfseg.domain.configurations import CONFIGURATIONS, recommended_of, simplicity_of

NAMES = [known.name for known in CONFIGURATIONS]


def test_every_name_and_place_is_there_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
    places = [known.simplicity for known in CONFIGURATIONS]
    assert sorted(places) == list(range(len(CONFIGURATIONS)))


def test_recommended_are_nnunets_in_the_order_of_training() -> None:
    assert recommended_of(sorted(NAMES)) == tuple(k.name for k in CONFIGURATIONS if k.is_nnunets)
    assert recommended_of({"3d_fullres": 1, "mine": 2, "2d": 3}) == ("2d", "3d_fullres")
    # The last one stands for the plan where one network is timed or shown.
    assert recommended_of(NAMES)[-1] == "3d_fullres"


def test_ties_go_to_the_simplest_as_in_nnunet() -> None:
    theirs = [known.name for known in CONFIGURATIONS if known.is_nnunets]
    assert sorted(theirs, key=simplicity_of) == [
        "2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"
    ]  # fmt: skip
    assert simplicity_of("of another program") > max(map(simplicity_of, NAMES))
