"""The metrics against DeepMind's surface-distance, and their speed on a large label map.

    python benchmarks/metrics.py parity --peer-python PYTHON [--pairs N] [--golden FILE]
    python benchmarks/metrics.py speed [--labels FILE --times 3]

PYTHON is one with `pip install surface-distance-based-measures scipy`. `parity` compares random
and edge-case masks, a third of them 2D, and prints the largest differences; `--golden` writes
the edge cases and some random ones, with the peer's numbers, for Testing/. `speed` scores all
structures of a label map, each voxel repeated along every axis, against a smoothly deformed
copy of it, on one core; without a file the map is made of 61 ellipsoids.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Pair = tuple[str, Mask, Mask, tuple[float, float, float]]

NAMES = ("dice", "hd95", "hd100", "surface_dice_2", "surface_dice_1", "mean_surface_distance")
GOLDEN_RANDOM = 24

PEER = """
import json, sys
import numpy as np
for old, new in (("Inf", np.inf), ("NaN", np.nan), ("bool", bool)):
    if old not in vars(np):
        setattr(np, old, new)  # names that the peer uses and that newer NumPys have dropped
from surface_distance import metrics
pairs, found = np.load(sys.argv[1]), []
for i in range(int(pairs["count"])):
    a, b, spacing = pairs[f"a{i}"], pairs[f"b{i}"], pairs[f"s{i}"]
    if a.shape[0] == 1:
        a, b, spacing = a[0], b[0], spacing[1:]
    d = metrics.compute_surface_distances(a, b, list(spacing))
    w = np.concatenate([d["surfel_areas_gt"], d["surfel_areas_pred"]])
    x = np.concatenate([d["distances_gt_to_pred"], d["distances_pred_to_gt"]])
    values = [
        metrics.compute_dice_coefficient(a, b),
        metrics.compute_robust_hausdorff(d, 95),
        metrics.compute_robust_hausdorff(d, 100),
        metrics.compute_surface_dice_at_tolerance(d, 2.0),
        metrics.compute_surface_dice_at_tolerance(d, 1.0),
        (w * x).sum() / w.sum() if w.sum() else np.nan,
    ]
    found.append([float(v) if np.isfinite(v) else None for v in values])
json.dump(found, open(sys.argv[2], "w"))
"""


def edge_pairs() -> list[Pair]:
    """Masks that metrics are known to stumble over."""

    def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> Mask:
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(*r) for r in ranges)] = True
        return mask

    small, flat, thick = (8, 9, 10), (1, 12, 14), (999.0, 0.8, 1.3)
    empty, ball = np.zeros(small, dtype=bool), box(small, (2, 6), (3, 6), (2, 8))
    voxel, other = box(small, (3, 4), (4, 5), (5, 6)), box(small, (3, 4), (4, 5), (7, 8))
    iso, aniso = (1.0, 1.0, 1.0), (5.0, 0.7, 0.9)
    wide = (40, 40, 40)
    n = np.indices((28, 28, 28)) - 14
    radius = np.sqrt((n**2).sum(axis=0))
    return [
        ("both empty", empty, empty, iso),
        ("reference empty", empty, ball, iso),
        ("prediction empty", ball, empty, aniso),
        ("the same", ball, ball, aniso),
        ("one voxel, the same", voxel, voxel, iso),
        ("one voxel, two apart", voxel, other, aniso),
        ("one voxel in a body", voxel, ball, aniso),
        ("touching the border", box(small, (0, 4), (0, 9), (3, 10)), ball, aniso),
        (
            "corner voxel",
            box(small, (0, 1), (0, 1), (0, 1)),
            box(small, (7, 8), (8, 9), (9, 10)),
            iso,
        ),
        ("the whole image", ~empty, ball, aniso),
        ("the whole image twice", ~empty, ~empty, aniso),
        ("one slice of a volume", box(small, (4, 5), (2, 7), (2, 7)), ball, aniso),
        ("touching at a corner", voxel | box(small, (4, 5), (5, 6), (6, 7)), ball, iso),
        ("hollow", ball & ~voxel, ball, aniso),
        (
            "far voxels",
            box(wide, (1, 2), (1, 2), (1, 2)),
            box(wide, (37, 39), (30, 31), (9, 10)),
            iso,
        ),
        ("concentric", radius < 13, radius < 3, aniso),
        ("2D", box(flat, (0, 1), (2, 9), (0, 8)), box(flat, (0, 1), (4, 12), (3, 11)), thick),
        (
            "2D, one pixel",
            box(flat, (0, 1), (3, 4), (3, 4)),
            box(flat, (0, 1), (8, 9), (5, 6)),
            thick,
        ),
        ("2D, prediction empty", box(flat, (0, 1), (3, 4), (3, 4)), box(flat, (0, 0)), thick),
        (
            "2D, diagonal",
            np.eye(12, 14, dtype=bool)[None],
            box(flat, (0, 1), (4, 8), (3, 9)),
            thick,
        ),
    ]


def random_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Blobs and speckle of all densities, isotropic and not, a third of them 2D."""
    draw = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for i in range(count):
        shape = tuple(int(n) for n in draw.integers(2, 18, 3))
        if i % 3 == 0:
            shape = (1, *(int(n) for n in draw.integers(2, 40, 2)))
        fields = [draw.random(shape) for _ in range(2)]
        if i % 2:
            fields = [ndimage.gaussian_filter(field, 1.5) for field in fields]
            fields[1] += 0.5 * (fields[0] - fields[1])
        a, b = (field > np.quantile(field, draw.choice([0.1, 0.5, 0.8, 0.97])) for field in fields)
        z, y, x = draw.choice([0.3, 0.7, 1.0, 1.25, 2.5, 5.0], 3) if i % 4 else (1.0, 1.0, 1.0)
        pairs.append((f"random {i}", a, b, (float(z), float(y), float(x))))
    return pairs


def ask_peer(python: str, pairs: list[Pair]) -> list[list[float | None]]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "pairs.npz", Path(folder) / "found.json"
        arrays: dict[str, Any] = {"count": len(pairs)}
        for i, (_, a, b, spacing) in enumerate(pairs):
            arrays |= {f"a{i}": a, f"b{i}": b, f"s{i}": spacing}
        np.savez(source, **arrays)
        subprocess.run([python, "-W", "ignore", "-c", PEER, str(source), str(target)], check=True)
        found: list[list[float | None]] = json.loads(target.read_text())
        return found


def ours(a: Mask, b: Mask, spacing: tuple[float, float, float]) -> list[float | None]:
    from selfseg.arrays.metrics import count_pairs
    from selfseg.arrays.surface import surface_distances

    found = surface_distances(a, b, spacing)
    return [
        count_pairs(a.view(np.uint8), b.view(np.uint8)).overlap((1,)).dice,
        found.hd95,
        found.hausdorff(100),
        found.surface_dice(2.0),
        found.surface_dice(1.0),
        found.mean_surface_distance,
    ]


def parity(python: str, count: int, golden: Path | None) -> None:
    pairs = edge_pairs() + random_pairs(count)
    theirs = ask_peer(python, pairs)
    largest, wrong = dict.fromkeys(NAMES, 0.0), 0
    for (title, a, b, spacing), expected in zip(pairs, theirs, strict=True):
        for name, mine, its in zip(NAMES, ours(a, b, spacing), expected, strict=True):
            if (mine is None) != (its is None):
                wrong += 1
                print(f"{title}: {name} is {mine}, the peer's {its}")
            elif mine is not None and its is not None:
                largest[name] = max(largest[name], abs(mine - its))
    print(f"{len(pairs)} pairs; defined in one program only: {wrong}; largest differences:")
    for name, value in largest.items():
        print(f"  {name:<22} {value:.1e}")
    if golden is not None:
        kept = len(edge_pairs()) + GOLDEN_RANDOM
        golden.write_text(_golden(pairs[:kept], theirs[:kept]))


def _golden(pairs: list[Pair], theirs: list[list[float | None]]) -> str:
    def packed(mask: Mask) -> str:
        return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()

    entries = [
        {
            "title": title,
            "shape": a.shape,
            "spacing": spacing,
            "reference": packed(a),
            "prediction": packed(b),
            "expected": dict(zip(NAMES, values, strict=True)),
        }
        for (title, a, b, spacing), values in zip(pairs, theirs, strict=True)
    ]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return f"[\n{lines}\n]\n"


def speed(labels: Path | None, times: int) -> None:
    from selfseg.evaluate.case import measure_case

    if labels is None:
        reference, spacing = _ellipsoids((336, 303, 366)), (1.0, 1.0, 1.0)
    else:
        from selfseg.io.images import read_label_map

        found, geometry = read_label_map(labels)
        reference = found.astype(np.uint8)
        for axis in range(3):
            reference = reference.repeat(times, axis)
        spacing = tuple(s / times for s in geometry.spacing)
    prediction = _deformed(reference)
    structures = len(np.unique(reference)) - 1
    # The deformation above needs more memory than the metrics; a process of its own shows theirs.
    sys.stdout.flush()
    if os.fork():
        os.wait()
        return
    Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
    start, cpu = time.perf_counter(), time.process_time()
    metrics = measure_case(reference, prediction, None, spacing)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    dice = [entry["Dice"] or 0.0 for entry in metrics.structures.values()]
    print(
        f"{structures} structures on {' x '.join(map(str, reference.shape))}: {seconds:.1f} s "
        f"({used:.1f} s of one core), peak {peak / 2**20:.2f} GB with both label maps "
        f"({2 * reference.nbytes / 2**30:.2f} GB); Dice {min(dice):.2f} to {max(dice):.2f}"
    )
    os._exit(0)


def _deformed(labels: NDArray[np.uint8], voxels: float = 3.0) -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    places = np.indices(labels.shape, dtype=np.float32)
    for axis in range(3):
        field = ndimage.zoom(
            draw.normal(size=(8, 8, 8)) * voxels, [n / 8 for n in labels.shape], order=1
        )
        places[axis] += field[tuple(slice(n) for n in labels.shape)].astype(np.float32)
    deformed: NDArray[np.uint8] = ndimage.map_coordinates(labels, places, order=0, mode="nearest")
    return deformed


def _ellipsoids(shape: tuple[int, int, int], count: int = 61) -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    labels = np.zeros(shape, dtype=np.uint8)
    for value in range(1, count + 1):
        radii = draw.uniform(0.04, 0.22, 3) * shape
        centre = [draw.uniform(r, n - r) for r, n in zip(radii, shape, strict=True)]
        box = tuple(slice(int(c - r), int(c + r) + 2) for c, r in zip(centre, radii, strict=True))
        grids = np.ogrid[box]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)) <= 1
        view = labels[box]
        view[inside[tuple(slice(n) for n in view.shape)]] = value
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    compare = verbs.add_parser("parity")
    compare.add_argument("--peer-python", required=True)
    compare.add_argument("--pairs", type=int, default=1000)
    compare.add_argument("--golden", type=Path)
    timed = verbs.add_parser("speed")
    timed.add_argument("--labels", type=Path)
    timed.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    if options.verb == "parity":
        parity(options.peer_python, options.pairs, options.golden)
    else:
        speed(options.labels, options.times)


if __name__ == "__main__":
    main()
