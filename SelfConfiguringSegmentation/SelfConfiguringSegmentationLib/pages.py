"""The pages of the module, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .segment.panel import SegmentPanel
from .session import Panel, Session


@dataclass(frozen=True)
class Page:
    """One tab.

    Args:
        name: the tab's title.
        ui_file: in Resources/UI.
        panel: makes the panel from its widgets by name.
    """

    name: str
    ui_file: str
    panel: Callable[[Any, Session], Panel]


PAGES = (Page("Segment", "SegmentPanel.ui", SegmentPanel),)
