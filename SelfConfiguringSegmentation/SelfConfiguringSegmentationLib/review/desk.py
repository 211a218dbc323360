"""The case that lies on the desk, and whether somebody has drawn in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from selfseg.domain.geometry import Geometry

from .case_files import LoadedCase
from .segments import Segments

AUTOSAVE_SECONDS = 60.0
"""Edits are written as a draft at least so often."""

SceneCase = tuple[str, Any, Geometry, Segments]
"""Name, voxels of the image, their grid, segments."""


class Desk(Protocol):
    """Where a case is shown and edited: the scene and the Segment Editor."""

    def prepare(self, loaded: LoadedCase) -> Any:
        """What takes long and can be done in a thread before `show`."""

    def show(self, loaded: LoadedCase, prepared: Any) -> None:
        """Puts a case on the desk."""

    def clear(self) -> None:
        """Takes everything away."""

    def state(self) -> object:
        """Differs after every change of the segments; None where somebody has removed them."""

    def segments(self) -> Segments | None:
        """The segments as they are now; None where somebody has removed them."""

    def scene_cases(self) -> Sequence[Callable[[], SceneCase]]:
        """The segmentations of the scene that have an image, read one by one."""


class OnDesk:
    """One case at a time, and the count of changes that were made to it.

    Args:
        desk: where it is shown.
        clock: seconds.
    """

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock
        self._state: object = None
        self._saved_edits = 0
        self._saved_at = clock()
        self.identifier = ""
        self.loaded: LoadedCase | None = None
        self.edits = 0

    @property
    def edited(self) -> bool:
        """Whether the segmentation is not what was predicted or decided about last."""
        return self.loaded is not None and (self.edits > 0 or self.loaded.origin == "draft")

    @property
    def unsaved(self) -> bool:
        """Whether there are edits that no file holds."""
        return self.loaded is not None and self.edits > self._saved_edits

    @property
    def autosave_due(self) -> bool:
        """Whether they should be written now."""
        return self.unsaved and self._clock() - self._saved_at > AUTOSAVE_SECONDS

    def show(self, loaded: LoadedCase, prepared: Any) -> None:
        """Puts a case on the desk."""
        self._desk.show(loaded, prepared)
        self.loaded = loaded
        self._begin()

    def put_away(self) -> None:
        """Leaves the desk empty."""
        self._desk.clear()
        self.loaded = None
        self.identifier = ""
        self._begin()

    def segments(self) -> Segments | None:
        """The segments as they are now; None where they are not in the scene any more."""
        return self._desk.segments()

    def look(self) -> bool:
        """Counts changes since the last look; True where these were the first."""
        if self.loaded is None:
            return False
        state = self._desk.state()
        if state is None or state == self._state:
            return False
        self._state = state
        self.edits += 1
        return self.edits == 1

    def saving(self) -> None:
        """A draft is being written: the next one is not due for a while, even if it fails."""
        self._saved_at = self._clock()

    def saved(self, edits: int) -> None:
        """The first so many edits are in a file."""
        self._saved_edits = max(self._saved_edits, edits)

    def _begin(self) -> None:
        self._state = self._desk.state()
        self.edits = self._saved_edits = 0
        self._saved_at = self._clock()
