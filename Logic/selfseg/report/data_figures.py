"""Charts of what the data are: sizes, spacings, intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..domain.fingerprint import Fingerprint
from .canvas import BLUE, VERMILION, WIDTH, plain, short, tight
from .summary import uneven_scales


def draw_geometry(fingerprint: Fingerprint) -> Figure:
    """Spacing and size of every case, per axis."""
    figure = Figure(figsize=(WIDTH, 2.5))
    spacing, size = figure.subplots(1, 2)
    flat = all(shape[0] == 1 for shape in fingerprint.shapes_after_crop)
    names = ("between slices (Z)", "rows (Y)", "columns (X)")
    shown = (1, 2) if flat else (0, 1, 2)
    for axis, values, title in (
        (
            spacing,
            np.asarray(fingerprint.spacings, dtype=float),
            "Pixel spacing, mm (1 where unknown)" if flat else "Voxel spacing, mm",
        ),
        (
            size,
            np.asarray(fingerprint.shapes_after_crop, dtype=float),
            "Size, pixels" if flat else "Size, voxels",
        ),
    ):
        for row, dimension in enumerate(shown):
            points = values[:, dimension]
            spread = np.sin(np.arange(len(points)) * 2.4) * 0.16
            axis.scatter(points, row + spread, s=20, color=BLUE, alpha=0.55, linewidth=0)
            axis.plot(
                [np.median(points)] * 2, [row - 0.33, row + 0.33], color=VERMILION, linewidth=2.2
            )
        axis.set_yticks(range(len(shown)), [names[i] for i in shown])
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set_xlim(0, max(float(values[:, shown].max()) * 1.08, 1e-6))
        axis.set_title(title, fontsize=10, loc="left", color="0.2")
        plain(axis, grid="x")
    size.set_yticklabels([])
    return tight(figure)


def draw_intensities(fingerprint: Fingerprint, channel_names: Sequence[str]) -> Figure | None:
    """Histogram of every channel with the clipping percentiles; None without histograms."""
    histograms = [h for h in fingerprint.intensity_histograms if len(h.counts)]
    if not histograms:
        return None
    columns = min(3, len(histograms))
    rows = -(-len(histograms) // columns)
    figure = Figure(figsize=(WIDTH, 2.4 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, (axis, histogram) in enumerate(zip(axes, histograms, strict=False)):
        axis.stairs(histogram.counts, histogram.edges, fill=True, color=BLUE, alpha=0.65)
        name = channel_names[index] if index < len(channel_names) else f"channel {index}"
        if index < len(fingerprint.foreground_intensities):
            known = fingerprint.foreground_intensities[index]
            for value in (known.percentile_00_5, known.percentile_99_5):
                axis.axvline(value, color=VERMILION, linewidth=1.4, linestyle="--")
            axis.axvline(known.median, color="0.15", linewidth=1.4)
            margin = 0.25 * max(known.percentile_99_5 - known.percentile_00_5, 1e-6)
            low, high = known.percentile_00_5 - margin, known.percentile_99_5 + margin
            axis.set_xlim(low, high)
            if uneven_scales(known):
                axis.set_xscale("symlog", linthresh=max(abs(known.median), 1e-3))
                axis.set_xlim(min(0.0, known.percentile_00_5), known.percentile_99_5 * 2)
            # What lies outside (air, for example) must not squeeze what is shown.
            edges = np.asarray(histogram.edges)
            shown = np.asarray(histogram.counts)[(edges[1:] > low) & (edges[:-1] < high)]
            if shown.size and shown.max() > 0:
                axis.set_ylim(0, 1.06 * float(shown.max()))
        axis.set_title(f"Intensity, {short(name)}", fontsize=10, loc="left", color="0.2")
        axis.set_yticks([])
        plain(axis)
    for axis in axes[len(histograms) :]:
        axis.set_axis_off()
    return tight(figure)
