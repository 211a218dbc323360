"""Compares ways to store preprocessed cases: size, time to write, time to read patches.

    python benchmarks/case_storage.py [DATA_FOLDER]

DATA_FOLDER holds nnU-Net raw data sets; a CT-like volume is made in memory. Prints a table in
Markdown. One thread everywhere, as in training, where many workers read at once. The files
have just been written, so reading measures decoding and copying, not the disk. Times are
processor time, so that other work on the machine hardly disturbs them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import SimpleITK
from scipy import ndimage

from selfseg.io.array_files import storage_blocks

READS = 60
Reader = Callable[[tuple[slice, ...]], Any]
Stored = tuple[Path, Callable[[], Reader]]


def z_scored(path: Path) -> np.ndarray:
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float32)
    return ((image - image.mean()) / image.std())[None]


def ct_like(shape: tuple[int, int, int] = (300, 512, 512)) -> np.ndarray:
    """Smooth organs plus noise in whole Hounsfield units, clipped and normalised as CT is."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal([n // 16 + 2 for n in shape]).astype(np.float32)
    smooth = ndimage.zoom(coarse, 16, order=1)[tuple(slice(n) for n in shape)] * 150
    noise = random.standard_normal(shape, dtype=np.float32) * 12
    hounsfield = np.clip(np.rint(smooth + noise), -160, 240)
    cylinder = np.hypot(*np.ogrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]) < 0.9
    hounsfield[:, ~cylinder] = -160
    return ((hounsfield - 60) / 110).astype(np.float32)[None]


def npy(array: np.ndarray, folder: Path, patch: tuple[int, ...]) -> Stored:
    path = folder / "a.npy"
    np.save(path, array)

    def opened() -> Reader:
        mapped = np.load(path, mmap_mode="r")
        return lambda where: np.array(mapped[where])

    return path, opened


def npz(array: np.ndarray, folder: Path, patch: tuple[int, ...]) -> Stored:
    path = folder / "a.npz"
    np.savez_compressed(path, a=array)
    return path, lambda: lambda where: np.load(path)["a"][where]


def b2nd(codec: str, level: int, filter_name: str, block: int | None) -> Callable[..., Any]:
    """blosc2 with cubic blocks, or (None) the blocks that `selfseg` chooses for the patch."""

    def write(array: np.ndarray, folder: Path, patch: tuple[int, ...]) -> Stored:
        path = folder / "a.b2nd"
        if block is None:
            blocks, chunks = storage_blocks(array.shape[1:], patch)
        else:
            blocks = tuple(min(block, n) for n in array.shape[1:])
            chunks = tuple(
                min(128, -(-n // b) * b) for n, b in zip(array.shape[1:], blocks, strict=True)
            )
        blosc2.asarray(
            array,
            urlpath=str(path),
            mode="w",
            chunks=(1, *chunks),
            blocks=(1, *blocks),
            cparams={
                "codec": blosc2.Codec[codec],
                "clevel": level,
                "filters": [blosc2.Filter[filter_name]],
                "filters_meta": [0],
                "nthreads": 1,
            },
        )

        def read(where: tuple[slice, ...]) -> np.ndarray:
            stored = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
            return stored[where]

        return path, lambda: read

    size = "patch blocks" if block is None else f"{block}^3 blocks"
    write.__name__ = f"blosc2 {codec.lower()} {level}, {filter_name.lower()}, {size}"
    return write


def measure(array: np.ndarray, patch: tuple[int, ...], write: Callable[..., Any]) -> str:
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        began = time.process_time()
        path, opened = write(array, Path(name), patch)
        seconds = time.process_time() - began
        reads = 3 if "npz" in write.__name__ else READS
        read = opened()
        spent = 0.0
        for _ in range(reads):
            start = [
                int(random.integers(n - p + 1)) for n, p in zip(array.shape[1:], patch, strict=True)
            ]
            where = (slice(None), *[slice(s, s + p) for s, p in zip(start, patch, strict=True)])
            began = time.process_time()
            got = read(where)
            spent += time.process_time() - began
            assert np.array_equal(got, array[where])
        megabytes = path.stat().st_size / 2**20
    return (
        f"{megabytes:.2f} | {100 * megabytes * 2**20 / array.nbytes:.0f} % | {seconds * 1e3:.0f} "
        f"| {1e3 * spent / reads:.2f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    arguments.add_argument("data", nargs="?", type=Path, default=default)
    arguments.add_argument("--small", action="store_true", help="leave the large CT out")
    given = arguments.parse_args()
    volumes: list[tuple[str, np.ndarray, tuple[int, ...]]] = []
    for data_set, patch in (
        ("Dataset004_Hippocampus", (32, 40, 28)),
        ("Dataset201_SunnybrookLV", (6, 192, 192)),
        ("Dataset201_SunnybrookLV", (1, 256, 256)),
        ("Dataset202_MSLesionFLAIR", (32, 192, 192)),
    ):
        found = sorted((given.data / data_set / "imagesTr").glob("*.nii.gz"))
        if found:
            volumes.append((data_set, z_scored(found[0]), patch))
        else:
            print(f"left out, not there: {given.data / data_set}")
        if found and "FLAIR" in data_set:
            # Resampled values are no longer whole numbers of the scanner, and compress less.
            finer = ndimage.zoom(volumes[-1][1], (1, 1, 1.13, 1.13), order=3)
            volumes.append((f"{data_set} resampled", finer, patch))
    if not given.small:
        volumes.append(("CT-like", ct_like(), (128, 128, 128)))
    writers = [npy, npz]
    for codec, level, kind, block in (
        ("ZSTD", 1, "SHUFFLE", 16),
        ("ZSTD", 1, "SHUFFLE", 32),
        ("ZSTD", 1, "SHUFFLE", 64),
        ("ZSTD", 1, "SHUFFLE", None),
        ("ZSTD", 1, "BITSHUFFLE", None),
        ("ZSTD", 1, "NOFILTER", None),
        ("ZSTD", 5, "SHUFFLE", None),
        ("LZ4", 5, "SHUFFLE", None),
        ("LZ4", 1, "SHUFFLE", None),
    ):
        writers.append(b2nd(codec, level, kind, block))
    print("| data (C, Z, Y, X), patch | storage | MB | of raw | write ms | patch ms |")
    print("|---|---|---|---|---|---|")
    for name, array, patch in volumes:
        for write in writers:
            row = measure(array, patch, write)
            print(f"| {name} {array.shape}, {patch} | {write.__name__} | {row} |", flush=True)


if __name__ == "__main__":
    main()
