"""The adapter refuses what PythonQt does not have, and gives what it has."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slicer_module import qt_adapter, receivers
from slicer_module.windows import module_widget, qt_application

__all__ = ["module_widget", "qt_application"]


@pytest.fixture
def qt(qt_application: Any) -> Any:
    import qt

    return qt


def test_items_have_methods_and_enums_are_numbers(qt: Any) -> None:
    table = qt.QTableWidget(2, 3)
    item = qt.QTableWidgetItem("case 1")
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
    item.setCheckState(qt.Qt.Checked)
    item.setData(qt.Qt.UserRole, {"any": "object"})
    table.setItem(0, 0, item)
    found = table.item(0, 0)
    assert found == item
    assert found.text() == "case 1"
    assert found.checkState() == qt.Qt.Checked == 2
    assert found.data(qt.Qt.UserRole) == {"any": "object"}
    assert found.flags() & qt.Qt.ItemIsEnabled
    assert not found.flags() & ~(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
    assert table.item(1, 2) is None
    assert (table.rowCount, table.columnCount) == (2, 3)
    with pytest.raises(TypeError):
        table.rowCount()
    with pytest.raises(AttributeError, match="no property 'text' to assign"):
        found.text = "case 2"
    with pytest.raises(AttributeError, match="has no 'CheckState'"):
        _ = qt.Qt.CheckState.Checked


def test_receivers_get_wrapped_items_and_can_be_disconnected(qt: Any) -> None:
    tree, seen = qt.QListWidget(), []

    def see(item: Any) -> None:
        seen.append(item.text())

    tree.addItem("first")
    tree.connect("itemChanged(QListWidgetItem*)", see)
    tree.item(0).setText("second")
    assert seen == ["second"]
    tree.disconnect("itemChanged(QListWidgetItem*)", see)
    tree.item(0).setText("third")
    assert seen == ["second"]
    with pytest.raises(ValueError, match="is not connected"):
        tree.disconnect("itemChanged(QListWidgetItem*)", see)


def test_properties_of_enums_and_menus(qt: Any) -> None:
    slider, menu, chosen = qt.QSlider(), qt.QMenu(), []
    slider.orientation = qt.Qt.Horizontal
    assert slider.orientation == qt.Qt.Horizontal
    action = menu.addAction("Remove")
    action.checkable = True
    action.connect("triggered(bool)", chosen.append)
    action.trigger()
    assert chosen == [True]
    assert [entry.text for entry in menu.actions()] == ["Remove"]


def test_whoever_waits_for_the_user_is_answered_by_the_test(
    qt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="waits for the user"):
        qt.QFileDialog.getExistingDirectory(None, "Folder", "")
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: "/data")
    assert qt.QFileDialog.getExistingDirectory(None, "Folder", "") == "/data"
    menu = qt.QMenu()
    with pytest.raises(AssertionError, match=r"answers\['QMenu.exec_'\]"):
        menu.exec_()
    monkeypatch.setitem(qt_adapter.answers, "QMenu.exec_", lambda *_: "chosen")
    assert menu.exec_() == "chosen"


def test_unknown_classes_and_names_are_refused(qt: Any) -> None:
    with pytest.raises(AttributeError, match="no attribute 'QTabel'"):
        _ = qt.QTabel
    with pytest.raises(AttributeError, match="has no 'critcal'"):
        _ = qt.QMessageBox.critcal


def test_errors_of_receivers_are_kept_and_slow_ones_noticed(qt: Any) -> None:
    button = qt.QPushButton("Apply")
    button.name = "applyButton"

    def slow(clicked: bool) -> None:
        time.sleep(0.05)
        raise ValueError("lost")

    button.connect("clicked(bool)", slow)
    with receivers.watched() as watch:
        button.click()
    assert [str(error) for error in receivers.errors] == ["lost"]
    receivers.errors.clear()
    (call,) = watch.slowest()
    assert call.name == "applyButton: clicked(bool)"
    assert 0.04 < call.seconds < 5


def test_settings_stay_in_the_tests(qt: Any) -> None:
    qt.QSettings().setValue("SelfConfiguringSegmentation/Colour", "blue")
    assert qt.QSettings().value("SelfConfiguringSegmentation/Colour") == "blue"
    assert "pytest" in qt.QSettings().fileName()
