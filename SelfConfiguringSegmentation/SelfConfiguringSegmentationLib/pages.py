"""The pages of the module, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .batch.panel import BatchPanel
from .export.panel import ExportPanel
from .review.panel import ReviewPanel
from .segment.panel import SegmentPanel
from .session import Panel, Session
from .train.panel import TrainPanel


@dataclass(frozen=True)
class Page:
    """One tab.

    Args:
        name: the key, the same in every language.
        ui_file: in Resources/UI.
        panel: makes the panel from its widgets by name.
    """

    name: str
    ui_file: str
    panel: Callable[[Any, Session], Panel]

    @property
    def title(self) -> str:
        """What the tab shows."""
        titles = {
            "Segment": _("Segment"),
            "Train": _("Train"),
            "Review": _("Review"),
            "Export": _("Export"),
            "Batch": _("Batch"),
        }
        return titles.get(self.name, self.name)


PAGES = (
    Page("Segment", "SegmentPanel.ui", SegmentPanel),
    Page("Train", "TrainPanel.ui", TrainPanel),
    Page("Review", "ReviewPanel.ui", ReviewPanel),
    Page("Batch", "BatchPanel.ui", BatchPanel),
    Page("Export", "ExportPanel.ui", ExportPanel),
)
