"""What all charts of a report share, and how figures become parts of a page."""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..domain.labels import Colour

BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5b6770"
LINES = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
WIDTH = 10.6
"""Inches: the page's text width at 100 pixels per inch."""

MANY_MARKS = 1500
"""More dots than this are drawn as one picture inside the chart: each would be a line of text."""


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI (SVG): sharp at any size, the same bytes every time."""
    stream = io.BytesIO()
    # Text stays text, so that names in any script are drawn with the reader's fonts; the glyphs
    # that matplotlib's own font lacks then do not matter.
    style: Any = {"svg.hashsalt": "selfseg", "svg.fonttype": "none"}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def png_uri(figure: Figure, *, dots_per_inch: int = 130, few_colours: bool = False) -> str:
    """The figure as a data URI (PNG), for pictures.

    Args:
        figure: what to draw.
        dots_per_inch: of the picture.
        few_colours: 256 of them, which takes a third of the room.
    """
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib's drawing carries no types
    stream = io.BytesIO()
    figure.set_dpi(dots_per_inch)
    canvas.draw()
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert(
        "RGB"
    )
    # The compression that `optimize` asks for takes five times as long for some percent.
    (picture.quantize(256) if few_colours else picture).save(stream, format="png", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def css_colour(colour: Colour) -> str:
    """The colour as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def short(text: str, length: int = 24) -> str:
    """The text for a chart, cut where it is too long."""
    # A dollar sign would start a formula, which fails on unbalanced ones.
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")


def plain(axis: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    """Takes the box away and leaves quiet axes."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("0.7")
    axis.tick_params(colors="0.25", labelsize=8.5)
    if grid:
        axis.grid(axis=grid, color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)


def tight(figure: Figure) -> Figure:
    """The figure without wasted room."""
    figure.set_layout_engine("constrained")
    return figure
