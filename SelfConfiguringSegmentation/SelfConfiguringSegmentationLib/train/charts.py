"""Curves of the training in a plot view of Slicer, drawn on as the epochs come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from .progress import Epoch

MOST_STRUCTURES = 5
"""With more, the mean alone is readable."""

COLOURS = (
    (0.12, 0.47, 0.71),
    (1.0, 0.5, 0.05),
    (0.17, 0.63, 0.17),
    (0.58, 0.4, 0.74),
    (0.55, 0.34, 0.29),
    (0.89, 0.47, 0.76),
    (0.5, 0.5, 0.5),
    (0.09, 0.75, 0.81),
)


class TrainingCharts:
    """One table, its series and one chart; reused for every network, so that nothing flickers.

    Args:
        scene: the MRML scene.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._table: Any = None
        self._chart: Any = None
        self._series: list[Any] = []
        self._titles: tuple[str, ...] = ()
        self._shown: list[Epoch] = []
        self._layout_before: int | None = None

    @property
    def chart_node(self) -> Any:
        """The chart, None while nothing is drawn."""
        return self._chart

    @property
    def table_node(self) -> Any:
        """The numbers behind it."""
        return self._table

    def draw(self, title: str, epochs: Sequence[Epoch]) -> None:
        """Shows these epochs; only what has changed since the last call is written.

        Args:
            title: of the chart: the network in training.
            epochs: in order.
        """
        if not epochs:
            return
        self._forget_removed()
        structures = list(epochs[-1].dice)
        if len(structures) > MOST_STRUCTURES:
            structures = []
        titles = (
            _("Training loss"),
            _("Validation loss"),
            _("Mean pseudo Dice"),
            *(structures if len(structures) > 1 else ()),
        )
        if self._chart is None or titles != self._titles:
            self.remove()
            self._make(titles)
        if list(epochs[: len(self._shown)]) != self._shown:
            self._table.GetTable().SetNumberOfRows(0)
            self._shown = []
        new = list(epochs[len(self._shown) :])
        if new:
            for epoch in new:
                self._append(epoch, titles[3:])
            self._shown += new
            self._table.GetTable().Modified()
            self._table.Modified()
        if self._chart.GetTitle() != title:
            self._chart.SetTitle(title)

    def show(self) -> None:
        """Brings the chart into the present layout's plot view, or a layout that has one."""
        import slicer

        self._forget_removed()
        if self._chart is None or not hasattr(slicer.modules, "plots"):
            return
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and self._layout_before is None:
            self._layout_before = layout.GetViewArrangement()
        slicer.modules.plots.logic().ShowChartInLayout(self._chart)

    def remove(self) -> None:
        """Takes everything out of the scene, and brings the layout back."""
        for node in (self._chart, *self._series, self._table):
            if node is not None and node.GetScene() is not None:
                self._scene.RemoveNode(node)
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and self._layout_before is not None:
            layout.SetViewArrangement(self._layout_before)
        self._chart = self._table = self._layout_before = None
        self._series, self._shown, self._titles = [], [], ()

    def _forget_removed(self) -> None:
        """The scene was closed, or the user has deleted a node: all is made anew."""
        nodes = (self._chart, *self._series, self._table)
        if self._chart is not None and any(node.GetScene() is None for node in nodes):
            self.remove()

    def _make(self, titles: tuple[str, ...]) -> None:
        import vtk

        self._titles = titles
        self._table = self._add("vtkMRMLTableNode", _("Training curves"))
        self._chart = self._add("vtkMRMLPlotChartNode", _("Training"))
        self._chart.SetXAxisTitle(_("Epoch"))
        self._chart.SetYAxisTitle(_("Loss, Dice"))
        table = self._table.GetTable()
        for name in (_("Epoch"), *titles):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            table.AddColumn(column)
        for index, name in enumerate(titles):
            series = self._add("vtkMRMLPlotSeriesNode", name)
            series.SetAndObserveTableNodeID(self._table.GetID())
            series.SetXColumnName(_("Epoch"))
            series.SetYColumnName(name)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleNone)
            # Not by colour alone: losses are dashed, Dice is not.
            series.SetLineStyle(series.LineStyleDash if index < 2 else series.LineStyleSolid)
            series.SetColor(*COLOURS[index % len(COLOURS)])
            self._chart.AddAndObservePlotSeriesNodeID(series.GetID())
            self._series.append(series)

    def _add(self, kind: str, name: str) -> Any:
        node = self._scene.AddNewNodeByClass(kind, name)
        node.SetSaveWithScene(False)
        return node

    def _append(self, epoch: Epoch, structures: Sequence[str]) -> None:
        table = self._table.GetTable()
        row = table.InsertNextBlankRow()
        values = (
            float(epoch.number + 1),
            epoch.train_loss,
            epoch.validation_loss,
            epoch.mean_dice,
            *(epoch.dice.get(name) for name in structures),
        )
        for column, value in enumerate(values):
            # A value that is not defined leaves a gap in the curve.
            table.GetColumn(column).SetValue(row, float("nan") if value is None else value)
