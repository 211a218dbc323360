"""Network weights as safetensors: names, arrays and text, nothing that could run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ..domain.errors import ModelError
from .atomic_files import written_atomically

_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, little-endian, and the header, JSON."""

_TEXT = "__metadata__"


def write_weights(
    path: Path, weights: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Writes named arrays and text atomically; the same content gives the same bytes.

    Raises:
        ModelError: nothing to write, or an array that is not plain numbers.
        ProjectError: the file cannot be written.
    """
    path = Path(path)
    # A strided view would be written in the wrong order; asarray keeps arrays of no dimension.
    arrays = {name: np.asarray(array, order="C") for name, array in weights.items()}
    odd = [name for name, array in arrays.items() if array.dtype.kind not in "fiub"]
    if not arrays or odd:
        raise ModelError(
            "these weights cannot be stored",
            expected="at least one array, all of plain numbers",
            found=f"{odd[0]}: {arrays[odd[0]].dtype}" if odd else "none",
            cure="this is a fault of the calling code",
            path=path,
        )
    with written_atomically(path) as part:
        text = {str(key): str(value) for key, value in metadata.items()}
        try:
            safetensors.numpy.save_file(arrays, part, metadata=text)
        except safetensors.SafetensorError as error:  # a full disk, or no right to write
            raise OSError(str(error)) from error
        _order_text(part)


def _order_text(path: Path) -> None:
    """Sorts the text in a file's header, which safetensors writes in an order of chance."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        header = json.loads(stream.read(length))
        header = {_TEXT: dict(sorted(header.pop(_TEXT, {}).items())), **header}
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(ordered) <= length:  # else our JSON is not theirs, and the order does no harm
            stream.seek(_LENGTH_BYTES)
            stream.write(ordered.ljust(length))


def read_weights(
    path: Path, *, check_finite: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Reads what `write_weights` wrote: arrays by name, and the text.

    The header is checked against the file's size before anything is allocated.

    Args:
        path: the file.
        check_finite: also refuses weights that hold NaN or infinity.

    Raises:
        ModelError: missing, truncated, not safetensors, or (where asked) not finite.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as stored:
            metadata = dict(stored.metadata() or {})
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, TypeError, ValueError, KeyError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise ModelError(
            "the weights cannot be read",
            expected="a complete safetensors file",
            found="no such file" if missing else str(error),
            cure="check the path, or train first"
            if missing
            else "copy or download the model again, or train it again",
            path=path,
        ) from error
    if check_finite:
        for name, array in weights.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelError(
                    "the weights hold values that are not numbers",
                    expected="finite weights",
                    found=f"NaN or infinity in {name}",
                    cure="the training diverged; use the best checkpoint, or train again with a "
                    "lower learning rate",
                    path=path,
                )
    return weights, metadata
