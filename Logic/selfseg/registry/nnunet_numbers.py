"""The numbers of a checkpoint's tensors, read from the zip file where `nnunet_inert` found them.

A record is raw numbers and nothing else; PyTorch is not needed to read it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nnunet_inert import StoredTensor

_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
_BFLOAT16 = "BFloat16Storage"
_BYTE_ORDERS = {b"little": "<", b"big": ">"}


def read_numbers(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, NDArray[Any]]:
    """The tensors as contiguous float32 arrays, under the same names.

    Args:
        path: a checkpoint.
        tensors: what `nnunet_inert.read_structure` found in this file, checked by it to lie
            within their records.

    Raises:
        KeyError, ValueError, OSError, zipfile.BadZipFile: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        order = _byte_order(archive)
        return {name: _numbers(archive, tensor, order) for name, tensor in tensors.items()}


def _byte_order(archive: zipfile.ZipFile) -> str:
    """As its own record says; checkpoints from before PyTorch 2.1 do not, and are little-endian."""
    for name in archive.namelist():
        if name.count("/") == 1 and name.endswith("/byteorder"):
            return _BYTE_ORDERS[archive.read(name)]
    return "<"


def _numbers(archive: zipfile.ZipFile, tensor: StoredTensor, order: str) -> NDArray[Any]:
    record = archive.read(tensor.record)
    if tensor.kind == _BFLOAT16:  # the upper half of a float32
        upper = np.frombuffer(record, f"{order}u2").astype(np.uint32)
        stored: NDArray[Any] = (upper << 16).view(np.float32)
    else:
        stored = np.frombuffer(record, f"{order}{_TYPES[tensor.kind]}")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, np.float32)
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.strides)) < 0 or tensor.offset + last >= stored.size:
        # Checked before by what the zip file says of itself; this is what it held.
        raise ValueError(f"the numbers of {tensor.record} end too early")
    view = np.lib.stride_tricks.as_strided(
        stored[tensor.offset :],
        tensor.shape,
        [step * stored.itemsize for step in tensor.strides],
        writeable=False,
    )
    return np.ascontiguousarray(view, dtype=np.float32)
