"""What the panels share while the module is open, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

Told = TypeVar("Told")


class Signal(Generic[Told]):
    """Something that one panel says and others want to know."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Told], None]] = []

    def connect(self, listener: Callable[[Told], None]) -> None:
        """Calls `listener` each time."""
        self._listeners.append(listener)

    def tell(self, value: Told) -> None:
        """Calls every listener, in the order in which they were connected."""
        for listener in self._listeners:
            listener(value)


class Panel(Protocol):
    """One page of the module: made from its widgets by name and the session.

    A panel may have `KEPT` (see `settings`), and `enter` and `leave`, which are called when its
    page comes to the front and goes.
    """

    def close(self) -> None:
        """Ends what runs: the scene is closed, or the module unloaded. May be called twice."""


class Session:
    """One opening of the module.

    Args:
        scene: the MRML scene.
        logic: the module's logic.
        new_timer: makes a QTimer.
    """

    def __init__(self, scene: Any, logic: Any, new_timer: Callable[[], Any]) -> None:
        self.scene = scene
        self.logic = logic
        self.new_timer = new_timer
        self.model_ready: Signal[Path] = Signal()
        """A model was trained, imported or removed: its folder or file."""
        self.predictions_ready: Signal[Path] = Signal()
        """A folder of predictions that can be reviewed."""
        self.cases_corrected: Signal[Path] = Signal()
        """A folder of reviewed segmentations that can be trained on."""
        self.show_page: Signal[str] = Signal()
        """Brings the page of that name to the front: a name of `pages.PAGES`."""
