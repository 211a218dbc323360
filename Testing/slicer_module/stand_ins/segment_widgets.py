"""Widgets of CTK and Slicer that only the page "segment" uses."""

from __future__ import annotations

from typing import Any

WIDGETS: tuple[Any, ...] = ()
