"""Every metric that was measured, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..evaluate.metrics import METRICS, Metric
from .summary import ScoreSummary

_DIGITS: Mapping[str, int] = {"": 3, "mm": 2, "ml": 2, "voxels": 0, "lesions": 1}
"""After the point, by the metric's unit."""


def metric_table(summary: ScoreSummary, *, area: bool) -> dict[str, Any] | None:
    """Columns (name, unit) and rows (structure, values as text); None without any value.

    Args:
        summary: the scores; a metric that has no value for any structure is left out.
        area: the images are flat: areas in cm² stand for volumes in ml.
    """
    shown = [
        metric
        for metric in METRICS
        if any(s.means.get(metric.name) is not None for s in summary.structures)
        and not (metric.unit == "ml" and summary.unit == "pixels")  # of no known size
    ]
    if not shown:
        return None
    units = {"mm": summary.unit, "ml": "cm²" if area else "ml"}
    return {
        "columns": [(metric.name, units.get(metric.unit, metric.unit)) for metric in shown],
        "rows": [
            (s.label.name, [_text(metric, s.means.get(metric.name)) for metric in shown])
            for s in summary.structures
        ],
    }


def _text(metric: Metric[Any], value: float | None) -> str:
    return "–" if value is None else f"{value:.{_DIGITS.get(metric.unit, 3)}f}"
