"""The reader of plain values, beside msgspec's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.serve.strict import NotThatType, build


@dataclass(frozen=True)
class Inner:
    spacing: tuple[float, float]
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    id: str
    count: int = 0
    share: float | None = None
    on: bool = False
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


numbers = st.integers(-3, 3) | st.floats(-2, 2) | st.booleans()
scalars = st.none() | numbers | st.sampled_from(["", "a", "b", "c"])
inner = st.fixed_dictionaries(
    {}, optional={"spacing": st.lists(numbers, min_size=1, max_size=3), "name": scalars}
)
values = scalars | st.lists(scalars | inner, max_size=2) | inner
outer = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=2) | scalars,
        "count": scalars,
        "share": scalars,
        "on": scalars,
        "kind": values,
        "names": values,
        "inner": values,
        "inners": values,
        "texts": st.dictionaries(st.text(max_size=1), scalars, max_size=2) | values,
    },
)


@given(outer)
def test_it_accepts_what_msgspec_accepts(raw: dict[str, Any]) -> None:
    try:
        expected = msgspec.convert(raw, Outer, strict=True)
    except msgspec.ValidationError:
        with pytest.raises(NotThatType):
            build(Outer, raw)
        return
    built = build(Outer, raw)
    assert built == expected
    assert repr(built) == repr(expected)  # 1 is not 1.0


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, "missing field id"),
        ({"id": "1", "more": 1}, "unknown field more"),
        ({"id": "1", "inner": {"spacing": [1, 2], "x": 1}}, r"unknown field inner\.x"),
        ({"id": "1", "inner": {"spacing": [1, "2"]}}, r"inner\.spacing\[1\]: expected a number"),
        ({"id": "1", "count": True}, "count: expected a whole number, found True"),
        ({"id": "1", "share": float("nan")}, "share: expected a number"),
        ({"id": "1", "share": 10**400}, "share: expected a number"),
        ({"id": "1", "names": "a"}, "names: expected a list, found 'a'"),
        ([], "expected an object"),
    ],
)
def test_what_is_refused_and_how(raw: Any, text: str) -> None:
    with pytest.raises(NotThatType, match=text):
        build(Outer, raw)
