from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from selfseg.crossvalidate.splits import ALL, make_splits, split_for_fold
from selfseg.domain.errors import DatasetError


@given(st.integers(min_value=5, max_value=80))
def test_folds_are_those_of_scikit_learn(count: int) -> None:
    names = [f"case_{i:03d}" for i in range(count)]
    expected = KFold(n_splits=5, shuffle=True, random_state=12345).split(names)
    for split, (train, validation) in zip(make_splits(names), expected, strict=True):
        assert split.train == tuple(names[i] for i in train)
        assert split.validation == tuple(names[i] for i in validation)


def test_order_of_the_cases_does_not_matter() -> None:
    names = [f"c{i}" for i in range(17)]
    assert make_splits(names) == make_splits(names[::-1])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_fewer_cases_than_folds_leave_one_out(count: int) -> None:
    splits = make_splits([f"c{i}" for i in range(count)])
    assert len(splits) == count
    assert sorted(split.validation[0] for split in splits) == [f"c{i}" for i in range(count)]
    assert all(len(split.train) == count - 1 for split in splits)


def test_one_case_cannot_be_cross_validated() -> None:
    with pytest.raises(DatasetError, match="what to do"):
        make_splits(["only"])


def test_fold_all_learns_from_everything() -> None:
    split = split_for_fold((), ALL, ["b", "a"])
    assert split.train == split.validation == ("a", "b")


@pytest.mark.parametrize("fold", ["5", "-1", "x", "1.0"])
def test_unknown_folds_are_refused(fold: str) -> None:
    with pytest.raises(DatasetError, match="no fold"):
        split_for_fold(make_splits(["a", "b", "c", "d", "e"]), fold, [])
