"""Probabilities on disk: a compressed `.npz` that is written slice by slice.

    probabilities  uint8 (Z, Y, X, K): 0 is 0, 255 is 1
    names          (K,): what each head means
    affine         float64 (4, 4): index (Z, Y, X, 1) to LPS mm (x, y, z, 1)
    temperature    float64: what logits were divided by

`numpy.load` reads it; nothing in it is pickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic_files import written_atomically

ENDING = ".probabilities.npz"


@contextmanager
def probability_file(
    path: Path,
    shape: tuple[int, int, int],
    names: Sequence[str],
    affine: NDArray[np.float64],
    temperature: float,
) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Writes a file atomically; the block gives its slices (Y, X, K) one after the other.

    Raises:
        ProjectError: it cannot be written.
        ValueError: slices of another size, too many or too few.
    """
    whole = (*shape, len(names))
    given = 0
    with (
        written_atomically(path) as part,
        zipfile.ZipFile(
            # The fastest level: most voxels are 0 or 255, and others hold noise.
            part,
            "w",
            zipfile.ZIP_DEFLATED,
            compresslevel=1,
        ) as archive,
    ):
        _add(archive, "names", np.array(list(names), dtype=np.str_))
        _add(archive, "affine", np.asarray(affine, np.float64))
        _add(archive, "temperature", np.array(temperature, np.float64))
        with archive.open("probabilities.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": whole}
            np.lib.format.write_array_header_1_0(member, header)

            def write(plane: NDArray[np.float32]) -> None:
                nonlocal given
                if plane.shape != whole[1:]:
                    raise ValueError(f"a slice of {plane.shape}, not {whole[1:]}")
                given += 1
                member.write(np.rint(plane * np.float32(255)).astype(np.uint8).tobytes())

            yield write
        if given != shape[0]:
            raise ValueError(f"{given} slices, not {shape[0]}")


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    archive.writestr(f"{name}.npy", buffer.getvalue())
