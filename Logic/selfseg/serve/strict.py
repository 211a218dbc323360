"""Plain JSON values to dataclasses, strictly, with the standard library alone.

msgspec does this in `io`; a client in Slicer's Python has no msgspec. What is accepted is what
`msgspec.convert(..., strict=True)` accepts (a test compares the two), and unknown fields are
refused.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class NotThatType(ValueError):
    """A value is not of the declared type; the text says where, what and what was wanted."""


def build(kind: type[T], raw: Any, where: str = "") -> T:
    """A dataclass from a mapping of its fields.

    Args:
        kind: a dataclass of text, numbers, booleans, None, literals, tuples, mappings with text
            as keys, dataclasses, and unions of these with None.
        raw: plain JSON values.
        where: names the value in messages.

    Raises:
        NotThatType: a field is unknown, missing or of another type.
        SelfsegError: what the dataclass itself refuses.
    """
    if not isinstance(raw, dict):
        raise NotThatType(f"{where or 'the message'}: expected an object, found {_named(raw)}")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        raise NotThatType(f"unknown field {_within(where, unknown[0])}")
    for field in fields(kind):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in raw:
            raise NotThatType(f"missing field {_within(where, field.name)}")
    return kind(
        **{name: _value(hints[name], value, _within(where, name)) for name, value in raw.items()}
    )


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _value(kind: Any, raw: Any, where: str) -> Any:
    if kind is Any:
        return raw
    if is_dataclass(kind) and isinstance(kind, type):
        return build(kind, raw, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(kind) if option is not type(None)]
        return None if raw is None else _value(options[0], raw, where)
    if origin is Literal:
        if raw not in get_args(kind) or isinstance(raw, bool):
            raise _refused(where, " or ".join(map(repr, get_args(kind))), raw)
        return raw
    if origin is tuple:
        return _tuple(get_args(kind), raw, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, dict):
            raise _refused(where, "an object", raw)
        return {key: _value(get_args(kind)[1], v, f"{where}.{key}") for key, v in raw.items()}
    return _plain(kind, raw, where)


def _tuple(kinds: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise _refused(where, "a list", raw)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(raw)
    if len(kinds) != len(raw):
        raise _refused(where, f"a list of {len(kinds)}", raw)
    pairs = enumerate(zip(kinds, raw, strict=True))
    return tuple(_value(kind, entry, f"{where}[{index}]") for index, (kind, entry) in pairs)


def _plain(kind: type[Any], raw: Any, where: str) -> Any:
    # True is a whole number to Python, and no number to anyone else.
    right = isinstance(raw, kind) and (kind is bool or not isinstance(raw, bool))
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        try:
            return float(raw)
        except OverflowError:
            right = False
    if not right or (kind is float and not math.isfinite(raw)):
        names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
        raise _refused(where, names[kind], raw)
    return raw


def _refused(where: str, expected: str, raw: Any) -> NotThatType:
    return NotThatType(f"{where}: expected {expected}, found {_named(raw)}")


def _named(raw: Any) -> str:
    if isinstance(raw, dict):
        return "an object"
    if isinstance(raw, list):
        return f"a list of {len(raw)}"
    text = "null" if raw is None else repr(raw)
    return text if len(text) <= 80 else text[:80] + "..."


def _within(where: str, name: str) -> str:
    shown = name if len(name) <= 80 else name[:80] + "..."
    return f"{where}.{shown}" if where else shown
