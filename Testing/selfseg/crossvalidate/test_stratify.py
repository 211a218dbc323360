from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.crossvalidate.splits import make_splits
from selfseg.crossvalidate.stratify import starved, stratified_splits
from selfseg.domain.errors import DatasetError


def names(count: int) -> list[str]:
    return [f"case_{place:03d}" for place in range(count)]


def test_patients_are_not_torn_apart() -> None:
    cases = names(23)
    groups = {case: f"patient_{place % 9}" for place, case in enumerate(cases)}
    splits = make_splits(cases, groups=groups)
    assert len(splits) == 5
    assert sorted(c for split in splits for c in split.validation) == cases
    for split in splits:
        assert not {groups[c] for c in split.train} & {groups[c] for c in split.validation}
        assert sorted((*split.train, *split.validation)) == cases


def test_groups_of_one_case_each_split_as_cases_do() -> None:
    cases = names(17)
    assert make_splits(cases, groups={case: case for case in cases}) == make_splits(cases)


def test_fewer_patients_than_folds() -> None:
    cases = names(6)
    groups = {case: str(place % 3) for place, case in enumerate(cases)}
    splits = make_splits(cases, groups=groups)
    assert [len(split.validation) for split in splits] == [2, 2, 2]
    with pytest.raises(DatasetError, match="patients"):
        make_splits(cases, groups=dict.fromkeys(cases, "one"))


def test_a_fold_that_never_sees_a_structure_is_found() -> None:
    cases = names(20)
    splits = make_splits(cases)
    rare = splits[3].validation[:2]
    structures = {case: {"liver", "tumour"} if case in rare else {"liver"} for case in cases}
    assert starved(splits, structures) == {"tumour": (3,)}
    better = stratified_splits(structures)
    assert not starved(better, structures)
    assert {len(split.validation) for split in better} == {4}
    # A structure of one case cannot be on both sides.
    structures = {case: {"liver", "tumour"} if case == rare[0] else {"liver"} for case in cases}
    assert not starved(splits, structures)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_stratified_folds_hold_out_every_case_once(data: st.DataObject) -> None:
    cases = names(data.draw(st.integers(2, 25)))
    structures = {
        case: set(data.draw(st.lists(st.sampled_from("abcde"), max_size=5))) for case in cases
    }
    groups = None
    if data.draw(st.booleans()):
        groups = {case: data.draw(st.sampled_from(["p", "q", "r", "s", case])) for case in cases}
        groups[cases[0]] = "first"
        groups[cases[1]] = "second"
    splits = stratified_splits(structures, groups=groups)
    assert sorted(c for split in splits for c in split.validation) == cases
    assert all(split.validation and split.train for split in splits)
    for split in splits:
        assert sorted((*split.train, *split.validation)) == cases
        if groups is not None:
            assert not {groups[c] for c in split.train} & {groups[c] for c in split.validation}
