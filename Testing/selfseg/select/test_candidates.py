from __future__ import annotations

import numpy as np

from selfseg.domain.bundle import Member
from selfseg.select.candidates import best, candidates_from, in_order
from selfseg.select.dice_table import DiceTable


def member(plan: str, configuration: str) -> Member:
    return Member(plan, configuration, ("0",))


def table(*rows: list[float]) -> DiceTable:
    return DiceTable(np.array(rows))


def test_simpler_ones_come_first() -> None:
    given = [
        member("resenc_m", "2d"),
        member("mine", "3d_fullres"),
        member("plain", "3d_cascade_fullres"),
        member("plain", "3d_fullres"),
        member("plain", "2d"),
    ]
    names = [(m.plan, m.configuration) for m in in_order(given)]
    assert names == [
        ("plain", "2d"),
        ("plain", "3d_fullres"),
        ("plain", "3d_cascade_fullres"),
        ("resenc_m", "2d"),
        ("mine", "3d_fullres"),
    ]


def test_every_pair_competes_after_the_single_ones() -> None:
    members = [member("plain", name) for name in ("2d", "3d_fullres", "3d_lowres")]
    found = candidates_from(members)
    assert [len(c) for c in found] == [1, 1, 1, 2, 2, 2]
    assert len(set(found)) == 6
    assert candidates_from(members, pairs=False) == found[:3]


def test_the_best_wins_and_ties_go_to_the_first() -> None:
    assert best([table([0.5, 0.6]), table([0.6, 0.6]), table([0.6, 0.6])]) == 1
    nan = float("nan")
    assert best([table([nan, nan]), table([0.1, 0.1])]) == 1
    assert best([table([nan, nan]), table([nan, nan])]) == 0


def test_a_structure_that_nobody_has_counts_only_for_the_peer() -> None:
    invents, knows = table([0.5, 0.0]), table([0.8, float("nan")])
    assert best([invents, knows]) == 1
    assert best([invents, knows], as_peer=True) == 0
    assert best([knows, knows], as_peer=True) == 0


def test_means_are_over_cases_first() -> None:
    nan = float("nan")
    found = table([1.0, 0.2], [0.5, nan], [0.0, nan])
    assert np.allclose(found.by_structure, [0.5, 0.2])
    assert found.mean == found.mean_of_defined == np.float64(0.35)
    low, high = found.interval() or (1.0, 0.0)
    assert low <= 0.35 <= high
    assert table([0.5, 0.5]).interval() is None
