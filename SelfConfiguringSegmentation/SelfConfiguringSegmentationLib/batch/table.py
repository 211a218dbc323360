"""The table of volumes as a table of the scene."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from selfseg.domain.errors import FileFormatError

MAX_BYTES = 64 * 2**20


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV table, the titles first.

    Raises:
        FileFormatError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("the file is too large to be a table of volumes")
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(text.splitlines()))
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise ValueError("rows of different lengths")
    except (OSError, ValueError, csv.Error) as error:
        raise FileFormatError(
            "the table of volumes cannot be read",
            expected="a CSV file as selfseg writes it",
            found=f"{type(error).__name__}: {error}",
            cure="segment the folder again: what is done is not done twice",
            path=path,
        ) from error
    return rows


def add_table(scene: Any, path: Path, name: str) -> Any:
    """Adds the table to the scene, or fills the one of that name that this made before."""
    import vtk

    rows = read_rows(path)
    node = next(
        (
            node
            for node in (
                scene.GetNthNodeByClass(index, "vtkMRMLTableNode")
                for index in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode"))
            )
            if node.GetAttribute(SOURCE) == str(path)
        ),
        None,
    )
    node = node or scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetAttribute(SOURCE, str(path))
    node.RemoveAllColumns()
    for index, title in enumerate(rows[0]):
        values = [row[index] for row in rows[1:]]
        numeric = any(values) and all(_is_number(value) for value in values if value)
        column = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue((float(value) if value else float("nan")) if numeric else value)
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


SOURCE = "SelfConfiguringSegmentation.Table"
"""Attribute of the node: the file that it shows."""


def show_table(node: Any) -> None:
    """Brings a table to the front, where there is an application with views."""
    import slicer

    application = getattr(slicer, "app", None)
    if application is None:
        return
    logic = application.applicationLogic()
    logic.GetSelectionNode().SetReferenceActiveTableID(node.GetID())
    logic.PropagateTableSelection()
    layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    application.layoutManager().setLayout(layout)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
