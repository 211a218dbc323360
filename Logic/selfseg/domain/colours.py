"""Colours that can be told apart, however many structures there are and however one sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .labels import Colour

OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe and Ito, Color Universal Design, 2008, black left out: it is background here."""

# Linear RGB as a protanope and a deuteranope see it: Machado, Oliveira, Fernandes, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, severity 1.0.
_SEEN = (
    np.eye(3),
    np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
)

# sRGB (D65) to CIE XYZ, white at 1 (IEC 61966-2-1).
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

_STEPS = 11
"""Levels per channel of the candidates: 1331, of which 1052 are neither dark nor grey."""

_LEAST_LIGHT, _LEAST_CHROMA = 35.0, 20.0
"""In CIELAB: darker or greyer colours are lost on the grey of an image."""


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """The same colours every time; the first seven are Okabe and Ito's.

    Every further one is the candidate that is farthest from all before it, for the eye that
    sees the least difference: with all cones, without the red ones or without the green ones.
    Where the candidates have run out (after some 1050 structures) they are repeated.
    """
    chosen = list(OKABE_ITO[:count])
    if count <= len(chosen):
        return tuple(chosen)
    candidates = _candidates()
    places = _lab(candidates)
    nearest = np.full(len(candidates), np.inf)
    for colour in chosen:
        nearest = np.minimum(nearest, _distance(places, _lab(np.array([colour]))))
    while len(chosen) < count and nearest.max() > 0:
        best = int(nearest.argmax())
        red, green, blue = (int(part) for part in candidates[best])
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _distance(places, places[:, best : best + 1]))
    return tuple(chosen[index % len(chosen)] for index in range(count))


def smallest_difference(colours: tuple[Colour, ...]) -> float:
    """Distance in CIELAB of the two most similar colours, to the eye that sees it least."""
    places = _lab(np.array(colours))
    apart = [
        _distance(places[:, index + 1 :], places[:, index : index + 1]).min()
        for index in range(len(colours) - 1)
    ]
    return float(min(apart)) if apart else float("inf")


def _candidates() -> NDArray[np.int64]:
    levels = np.linspace(0, 255, _STEPS).round().astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)[0]
    shown = (lab[:, 0] >= _LEAST_LIGHT) & (np.hypot(lab[:, 1], lab[:, 2]) >= _LEAST_CHROMA)
    result: NDArray[np.int64] = grid[shown]
    return result


def _lab(colours: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 3) sRGB 0-255 to (eyes, N, 3) CIELAB."""
    unit = colours / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    seen = np.stack([np.clip(linear @ matrix.T, 0, 1) for matrix in _SEEN])
    ratios = (seen @ _TO_XYZ.T) / _TO_XYZ.sum(axis=1)
    f = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(eyes, N, 3) and (eyes, 1, 3) to (N,): the least of the eyes."""
    result: NDArray[np.float64] = np.linalg.norm(first - second, axis=-1).min(axis=0)
    return result
