from __future__ import annotations

from dataclasses import replace

from selfseg.crossvalidate.splits import make_splits, split_for_fold
from selfseg.domain.dataset import Split
from selfseg.domain.events import Notice
from selfseg.stages.folds import with_folds, with_known_folds

from .conftest import CascadeProject


def folds(p: CascadeProject, dataset: object = None) -> tuple[Split, ...]:
    data = dataset or p.dataset
    found = with_folds(p.home, data, p.plan, "3d_fullres", reporter=p.told.append).splits
    assert found is not None
    return found


def test_the_standard_folds_are_decided_once(cascade_project: CascadeProject) -> None:
    p = cascade_project
    names = [case.identifier for case in p.dataset.cases]
    assert folds(p) == make_splits(names) == p.home.read_splits()
    own = (Split(tuple(names[:1]), tuple(names[1:])),)
    assert folds(p, replace(p.dataset, splits=own)) == own
    turned = make_splits(names)[::-1]
    p.home.write_splits(turned)
    assert folds(p) == turned == with_known_folds(p.home, p.dataset).splits
    assert split_for_fold(folds(p), "0", names) == turned[0]
    assert not p.notices


def test_groups_that_come_later_are_respected(cascade_project: CascadeProject) -> None:
    p = cascade_project
    names = [case.identifier for case in p.dataset.cases]
    folds(p)
    p.train("3d_fullres", "0")
    groups = {names[0]: "x", names[1]: "x", names[2]: "y"}
    found = folds(p, replace(p.dataset, groups=groups))
    assert sorted(len(split.validation) for split in found) == [1, 2]
    assert "made anew" in p.notices
    assert folds(p, replace(p.dataset, groups=groups)) == found
    assert isinstance(p.told[-1], Notice)
