from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfseg.crossvalidate.hold_out import choose_hold_out

CASES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.sets(st.sampled_from("ABCDEF")), max_size=40
)


@given(CASES)
def test_every_structure_that_can_be_spared_is_held_out_and_stays_in_training(
    cases: dict[str, set[str]],
) -> None:
    chosen = choose_hold_out(cases)
    rest = set(cases) - set(chosen)
    assert list(chosen) == sorted(set(chosen))
    assert chosen == choose_hold_out(dict(reversed(cases.items())))
    for structure in "ABCDEF":
        holders = {name for name, held in cases.items() if structure in held}
        if holders:
            assert holders & rest, "a structure was taken from the training"


def test_a_rare_structure_is_among_the_held_out() -> None:
    cases = {f"c{i:02}": {"liver"} for i in range(40)}
    cases["c07"] = cases["c31"] = {"liver", "lesion"}
    chosen = choose_hold_out(cases)
    assert len(chosen) == 4
    assert len({"c07", "c31"} & set(chosen)) == 1


def test_frequencies_are_kept() -> None:
    cases = {f"c{i:03}": {"liver"} | ({"lesion"} if i % 2 else set()) for i in range(100)}
    chosen = choose_hold_out(cases)
    assert len(chosen) == 10
    assert 4 <= sum("lesion" in cases[name] for name in chosen) <= 6


def test_more_than_the_share_where_coverage_needs_it() -> None:
    cases = {f"{s}{i}": {s} for s in "ABCD" for i in range(3)}
    assert {name[0] for name in choose_hold_out(cases)} == set("ABCD")


def test_few_cases() -> None:
    assert choose_hold_out({}) == ()
    assert choose_hold_out({"a": {"liver"}}) == ()
    assert choose_hold_out({"a": {"liver"}, "b": {"spleen"}}) == ()
    assert len(choose_hold_out({"a": {"liver"}, "b": {"liver"}})) == 1
    assert len(choose_hold_out({"a": set(), "b": set()})) == 1
