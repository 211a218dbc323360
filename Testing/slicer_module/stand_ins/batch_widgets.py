"""Widgets of CTK and Slicer that only the page "batch" uses."""

from __future__ import annotations

from typing import Any

WIDGETS: tuple[Any, ...] = ()
