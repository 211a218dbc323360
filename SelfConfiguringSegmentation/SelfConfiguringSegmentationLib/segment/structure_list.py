"""The structures of the model with a box each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class StructureList:
    """A list of names that can be checked, all of them at first.

    Args:
        ui: the widgets by name.
        on_change: is called when a box is checked or emptied.
    """

    def __init__(self, ui: Any, on_change: Callable[[], None]) -> None:
        self._list = ui.structureList
        self._on_change = on_change
        self._filling = False
        self._list.connect("itemChanged(QListWidgetItem*)", self._changed)
        ui.allButton.connect("clicked(bool)", lambda *_arguments: self._check_all(True))
        ui.noneButton.connect("clicked(bool)", lambda *_arguments: self._check_all(False))

    def show(self, names: Sequence[str]) -> None:
        """Lists other structures."""
        import qt

        self._filling = True
        self._list.clear()
        for name in names:
            item = qt.QListWidgetItem(name)
            item.setCheckState(qt.Qt.Checked)
            self._list.addItem(item)
        self._filling = False

    def checked(self) -> tuple[str, ...] | None:
        """The checked names; None where all are, or there are none to check."""
        import qt

        items = [self._list.item(index) for index in range(self._list.count)]
        names = tuple(item.text() for item in items if item.checkState() == qt.Qt.Checked)
        return None if len(names) == len(items) else names

    def _check_all(self, yes: bool) -> None:
        import qt

        self._filling = True
        for index in range(self._list.count):
            self._list.item(index).setCheckState(qt.Qt.Checked if yes else qt.Qt.Unchecked)
        self._filling = False
        self._on_change()

    def _changed(self, *_arguments: object) -> None:
        if not self._filling:
            self._on_change()
