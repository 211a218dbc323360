"""Strategies that spoil JSON and bytes at random, but never too far from what is sound."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD_NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 255, 256, 2**15, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-320, 1e308]
)
ODD_TEXTS = st.sampled_from(
    ["", " ", "..", "../../x", "/etc/passwd", "C:\\x", "a\0b", "\x1b[2J", "NaN", "1", "x" * 300,
     "os.system", "背景", "background", "ignore"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | ODD_NUMBERS | st.integers(-3, 300) | ODD_TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
"""Whatever JSON can say in few words."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested JSON."""
    found = [path]
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(entry, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, sound: Any) -> Any:
    """The content with one to three entries replaced, removed, added, repeated or renamed."""
    content = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(content)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(VALUES)
            continue
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        how = draw(st.sampled_from(["replace", "replace", "remove", "add", "repeat", "rename"]))
        if how == "remove":
            del inner[path[-1]]
        elif how == "add" and isinstance(inner, dict):
            inner[draw(ODD_TEXTS)] = draw(VALUES)
        elif how == "rename" and isinstance(inner, dict):
            inner[draw(ODD_TEXTS)] = inner.pop(path[-1])
        elif how == "repeat" and isinstance(inner, list):
            inner.insert(path[-1], copy.deepcopy(inner[path[-1]]))
        else:
            inner[path[-1]] = draw(VALUES)
    return content


@st.composite
def spoilt_bytes(draw: st.DrawFn, sound: bytes, reach: int | None = None) -> bytes:
    """The bytes with a few of the first `reach` changed, cut out or repeated, or cut off."""
    data = bytearray(sound)
    end = min(len(data), reach or len(data))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, min(end, len(data)) - 1)))
        match draw(st.sampled_from(["change", "change", "cut", "repeat", "end"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 16))]
            case _:
                if draw(st.integers(0, 9)) == 0:
                    del data[at:]
    return bytes(data)


def as_text(content: Any) -> bytes:
    """JSON, also of what is none (lone surrogates are spelt out)."""
    return json.dumps(content).encode()
