"""The plots of docs/explanation/scaling.md, from what benchmarks/scaling.py has written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt

BLUE, ORANGE, GREY, GREEN = "#1f5fa8", "#c8641e", "#8a8a8a", "#2f7d4f"
SIZE = (7.2, 3.0)
SMALL_FROM = 3
"""Points that are fitted: the largest of a series, where the fixed part no longer counts."""


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Writes a picture for every part that was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "scaling",
            "svg.fonttype": "path",
        }
    )
    axes_of = {
        "voxels": ("voxels of the image", lambda p: np.prod(p["shape"])),
        "classes": ("classes", lambda p: p["classes"]),
        "folds": ("folds of the ensemble", lambda p: p["folds"]),
    }
    for name, (title, across) in axes_of.items():
        if name in found:
            points = found[name]["points"]
            _pair(title, [across(p) for p in points], {"": points}, folder / f"scaling-{name}.svg")
    if "cases" in found:
        points = found["cases"]["points"]
        verbs = {verb: [p for p in points if p["verb"] == verb] for verb in ("plan", "preprocess")}
        counts = [p["cases"] for p in verbs["plan"]]
        _pair("cases", counts, verbs, folder / "scaling-cases.svg")
    if "memory" in found:
        _memory(found["memory"]["points"], folder / "scaling-memory.svg")


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of a straight line through the largest points on logarithmic axes."""
    last = slice(-SMALL_FROM, None)
    return float(np.polyfit(np.log(x[last]), np.log(y[last]), 1)[0])


def draw_cluster(path: Path, folder: Path) -> None:
    """Makespan and utilisation over the number of GPUs."""
    studies = json.loads(path.read_text())["studies"]
    figure, (left, right) = plt.subplots(1, 2, figsize=SIZE, layout="constrained")
    for (name, study), colour in zip(studies.items(), (BLUE, GREEN, ORANGE), strict=True):
        rows = study["rows"]
        gpus = [row["gpus"] for row in rows]
        left.plot(gpus, [r["makespan_hours"] for r in rows], "o-", color=colour, ms=3, label=name)
        right.plot(gpus, [100 * r["utilisation"] for r in rows], "o-", color=colour, ms=3)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 4, 15, 64, 256], ["1", "4", "15", "64", "256"])
        axes.minorticks_off()
        axes.axvline(15, color=GREY, lw=0.8, ls=":")
        axes.set_xlabel("GPUs")
    left.set_yscale("log")
    left.set_yticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
    left.set_ylabel("hours until all is done")
    right.set_ylabel("GPUs busy (%)")
    right.set_ylim(0, 100)
    left.legend(frameon=False, fontsize=7)
    _save(figure, folder / "scaling-cluster.svg")


def _pair(
    title: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[Mapping[str, Any]]],
    path: Path,
) -> None:
    figure, both = plt.subplots(1, 2, figsize=SIZE, layout="constrained")
    quantities = (("seconds", "seconds", 1.0), ("bytes", "peak memory (GB)", 1e9))
    for axes, (key, label, unit) in zip(both, quantities, strict=True):
        for (name, points), colour in zip(series.items(), (BLUE, ORANGE), strict=False):
            y = [point[key] / unit for point in points]
            slope = exponent(x, y)
            text = f"{name + ': ' if name else ''}exponent {slope:.2f}"
            axes.plot(x, y, "o", color=colour, ms=4, label=text)
            last = np.array(x[-SMALL_FROM:], float)
            middle = np.exp(np.mean(np.log(y[-SMALL_FROM:])))
            line = middle * (last / np.exp(np.mean(np.log(last)))) ** slope
            axes.plot(last, line, "-", color=colour, lw=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(title)
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=8)
        _plain_ticks(axes, x)
    _save(figure, path)


def _plain_ticks(axes: Any, x: Sequence[float]) -> None:
    """Numbers as people read them."""
    if max(x) < 2000:
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    low, high = axes.get_ylim()
    if high < 4 * low:  # what hardly grows should look so
        low, high = low / 2, high * 2
        axes.set_ylim(low, high)
    nice = [m * 10.0**e for e in range(-2, 5) for m in (1, 2, 5)]
    ticks = [value for value in nice if low <= value <= high]
    if len(ticks) > 6:
        ticks = ticks[:: len(ticks) // 5]
    axes.set_yticks(ticks, [f"{value:g}" for value in ticks])
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def _memory(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
    ends = np.array([0.3, 1.2 * max(p["bytes"] for p in points) / 1e9])
    axes.fill_between(ends, 0.8 * ends, 1.2 * ends, color="#e9eef5", label="within 20 %")
    axes.plot(ends, ends, color=GREY, lw=0.8)
    for fitted, colour, text in ((True, GREY, "fitted"), (False, BLUE, "held out")):
        some = [p for p in points if p["fitted"] == fitted]
        measured = [p["bytes"] / 1e9 for p in some]
        predicted = [p["predicted_bytes"] / 1e9 for p in some]
        axes.plot(measured, predicted, "o", color=colour, ms=4, label=text)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([0.5, 1, 2, 5]))
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("measured peak (GB)")
    axes.set_ylabel("predicted (GB)")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
