"""Which lists of jobs can be done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import UsageError
from selfseg.launch.jobs import Job, check_jobs


@given(st.data())
def test_jobs_that_need_earlier_ones_can_be_done_in_any_order(data: st.DataObject) -> None:
    names = [str(k) for k in range(data.draw(st.integers(0, 8)))]
    jobs = [
        Job(name, ("train",), tuple(data.draw(st.sets(st.sampled_from(names[:k]))) if k else ()))
        for k, name in enumerate(names)
    ]
    check_jobs(data.draw(st.permutations(jobs)))


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"a": ("b",), "b": ("a",)}, "circle"),
        ({"a": ("a",)}, "circle"),
        ({"a": (), "b": ("c",), "c": ("d",), "d": ("b",)}, "circle"),
        ({"a": ("z",)}, "not in the list"),
    ],
)
def test_jobs_that_can_never_be_done_are_refused(
    needs: dict[str, tuple[str, ...]], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        check_jobs([Job(name, ("train",), needed) for name, needed in needs.items()])


def test_names_are_unique() -> None:
    with pytest.raises(UsageError, match="same name"):
        check_jobs([Job("a", ("train",)), Job("a", ("check",))])


def test_a_job_is_written_as_one_would_type_it() -> None:
    job = Job("a", ("train", "-p", "my project", "-f", "0"))
    assert job.command == "selfseg train -p 'my project' -f 0"
