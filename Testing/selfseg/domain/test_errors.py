"""Errors told again keep all that is not said anew."""

from __future__ import annotations

import pickle
from pathlib import Path

from selfseg.domain.errors import ImageError, SelfsegError


def test_an_error_is_retold_of_another_place_or_in_other_words() -> None:
    error = ImageError("no image", expected="one", found="none", cure="add one", path="stage/a")
    moved = error.retold(path=Path("there/a"))
    assert type(moved) is ImageError
    assert str(moved) == str(error).replace("stage", "there")
    named = error.retold(what="case a: no image")
    assert (named.what, named.path) == ("case a: no image", Path("stage/a"))
    assert (named.expected, named.found, named.cure) == ("one", "none", "add one")


def test_an_error_travels_between_processes() -> None:
    error = SelfsegError("broken", found="dust", path="a/b")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made a moment ago
    assert (str(again), again.path) == (str(error), Path("a/b"))
