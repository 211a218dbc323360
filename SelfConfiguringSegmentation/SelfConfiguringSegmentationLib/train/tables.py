"""Fills the tables of the page that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from .case_table import RowView
from .survey import Structure

CASE_COLUMN, STATE_COLUMN = 0, 1

COLOURS = {"ready": (214, 240, 214), "problem": (255, 224, 196), "excluded": (228, 228, 228)}
"""Backgrounds that dark text can be read on; the state's symbol says the same."""

WIDTHS = (110, 85, 210, 110, 110, 120)


def set_up(case_table: Any, structure_table: Any) -> None:
    """Columns and headers."""
    _headers(
        case_table,
        (_("Case"), _("State"), _("Remarks"), _("Structures"), _("Images"), _("Segmentation")),
    )
    for column, width in enumerate(WIDTHS):
        case_table.setColumnWidth(column, width)
    _headers(structure_table, (_("Structure"), _("Cases"), _("Code")))
    structure_table.setColumnWidth(0, 160)


def fill_cases(table: Any, rows: Sequence[RowView]) -> None:
    """One line per case."""
    import qt

    blocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for index, row in enumerate(rows):
        texts = (
            row.case, row.state_text, row.remarks, row.structures, row.images, row.segmentation,
        )  # fmt: skip
        for column, text in enumerate(texts):
            item = _item(text, row.tooltip)
            if column == CASE_COLUMN:
                item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if row.used else qt.Qt.Unchecked)
            if column == STATE_COLUMN:
                item.setBackground(qt.QBrush(qt.QColor(*COLOURS[row.state])))
                item.setForeground(qt.QBrush(qt.QColor(0, 0, 0)))
            table.setItem(index, column, item)
    table.blockSignals(blocked)


def fill_structures(table: Any, structures: Sequence[tuple[Structure, bool]], cases: int) -> None:
    """One line per structure."""
    import qt

    blocked = table.blockSignals(True)
    table.setRowCount(len(structures))
    for index, (structure, used) in enumerate(structures):
        missing = ", ".join(structure.missing[:20])
        tooltip = _("Not in: {cases}").format(cases=missing) if missing else _("In every case")
        count = _("{count} of {all}").format(count=structure.cases, all=cases)
        mark = "⚠ " if structure.missing else ""
        for column, text in enumerate((structure.name, mark + count, structure.code)):
            item = _item(text, tooltip)
            if column == 0:
                item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEditable)
                item.setCheckState(qt.Qt.Checked if used else qt.Qt.Unchecked)
                if structure.colour is not None:
                    swatch = qt.QPixmap(12, 12)
                    swatch.fill(qt.QColor(*structure.colour))
                    item.setIcon(qt.QIcon(swatch))
            table.setItem(index, column, item)
    table.blockSignals(blocked)


def is_checked(item: Any) -> bool:
    """Whether the item's box is."""
    import qt

    return bool(item.checkState() == qt.Qt.Checked)


def _headers(table: Any, names: Sequence[str]) -> None:
    table.setColumnCount(len(names))
    table.setHorizontalHeaderLabels(list(names))
    table.verticalHeader().hide()
    table.horizontalHeader().setStretchLastSection(True)


def _item(text: str, tooltip: str) -> Any:
    import qt

    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    item.setToolTip(tooltip)
    return item
