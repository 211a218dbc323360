"""Colours and terminology codes of structures, where dataset.json says them.

`"appearance": {"liver": {"colour": [221, 130, 101], "code": "SCT^10200004^Liver"}}`, an entry of
ours that other programs leave alone. `selfseg collect` writes it; `terminology` beside `code` has
category, type, modifier and region, separated by ~, and is for people and programs that want all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..domain.appearance import Code
from ..domain.errors import ModelError
from ..domain.labels import Colour, Label, LabelScheme

KEY = "appearance"
EXAMPLE = '"appearance": {"liver": {"colour": [221, 130, 101], "code": "SCT^10200004^Liver"}}'


def with_appearance(scheme: LabelScheme, content: object) -> tuple[LabelScheme, str]:
    """The scheme with what `content`, the value of "appearance", says about its structures.

    Returns:
        The scheme, and what is wrong with the content: "" where all is well.
    """
    if not isinstance(content, Mapping):
        return scheme, f"a {type(content).__name__}"
    unknown = sorted(set(content) - {label.name for label in scheme.foreground})
    if unknown:
        return scheme, f"structures that are not in the labels: {', '.join(map(str, unknown[:5]))}"
    labels: list[Label] = []
    for label in scheme.foreground:
        entry = content.get(label.name, {})
        if not isinstance(entry, Mapping):
            return scheme, f"{label.name}: {entry!r}"[:120]
        try:
            colour, code = _colour(entry), _code(entry)
        except ValueError as error:
            return scheme, f"{label.name}: {error}"[:200]
        labels.append(replace(label, colour=colour, code=code))
    return replace(scheme, foreground=tuple(labels)), ""


def appearance_of(labels: LabelScheme, terminology: Mapping[str, str]) -> dict[str, Any]:
    """The value of "appearance" for a scheme.

    Args:
        labels: with colours and codes as far as they are known.
        terminology: the full text by name, where it is known.
    """
    content: dict[str, Any] = {}
    for label in labels.foreground:
        entry: dict[str, Any] = {}
        if label.colour is not None:
            entry["colour"] = list(label.colour)
        if label.code is not None:
            entry["code"] = label.code
        if text := terminology.get(label.name):
            entry["terminology"] = text
        if entry:
            content[label.name] = entry
    return content


def _colour(entry: Mapping[str, Any]) -> Colour | None:
    value = entry.get("colour")
    if value is None:
        return None
    whole = isinstance(value, list) and all(
        type(part) is int and 0 <= part <= 255 for part in value
    )
    if not whole or len(value) != 3:
        raise ValueError(f"the colour {value!r}")
    return value[0], value[1], value[2]


def _code(entry: Mapping[str, Any]) -> str | None:
    value = entry.get("code")
    if value is None:
        return None
    try:
        return str(Code.from_text(str(value)))
    except ModelError as error:
        raise ValueError(f"the code {value!r}") from error
