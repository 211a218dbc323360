"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun, as "1 case" and "2 cases"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
