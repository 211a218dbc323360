"""Sharing a time budget, and refusing one that is too short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfseg.domain.errors import UsageError
from selfseg.io.project import PROJECT_FILE
from selfseg.stages.budget import CLOSING_SECONDS, LEAST_SECONDS_EACH, TIMING_SECONDS, Budget


def watch(seconds: float | None, used: float = 0.0) -> Budget:
    return Budget(seconds, lambda: used, 0.0)


def test_what_is_left_is_shared() -> None:
    assert watch(106.0, used=20.0).share(4) == pytest.approx((86 - CLOSING_SECONDS) / 4)
    assert watch(None).share(4) is None


def test_the_least_that_is_named_is_enough() -> None:
    with pytest.raises(UsageError, match="time budget is too short") as caught:
        watch(8.0, used=3.0).require(2, once=TIMING_SECONDS)
    found = re.fullmatch(r"at least (\d+) s in all", caught.value.expected)
    assert found
    least = int(found[1])
    assert least >= 3 + CLOSING_SECONDS + TIMING_SECONDS + 2 * LEAST_SECONDS_EACH
    watch(float(least), used=3.0).require(2, once=TIMING_SECONDS)
    watch(None).require(2)


def test_a_hopeless_budget_begins_no_project(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too short"):
        watch(8.0).require_to_begin(tmp_path, ["3d_fullres"])
    (tmp_path / PROJECT_FILE).touch()  # all may be done already
    watch(8.0).require_to_begin(tmp_path, ["3d_fullres"])
