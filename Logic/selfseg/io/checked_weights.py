"""Weights from outside: safetensors whose every number is checked before it is used.

The header is read here and not by the safetensors library, because it must agree with the plan
in names, shapes and sizes before memory is taken for the numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import ModelError

Shape = tuple[int, ...]

_TYPES: Mapping[str, tuple[type[np.generic], int]] = {
    "F32": (np.float32, 4),
    "F16": (np.float16, 2),
    "BF16": (np.uint16, 2),
}
_HEADER_BYTES, _HEADER_BYTES_PER_WEIGHT = 2**16, 512


def largest_file(shapes: Mapping[str, Shape]) -> int:
    """Bytes of a weights file of these shapes, at most."""
    numbers = sum(math.prod(shape) for shape in shapes.values())
    return 8 + _largest_header(shapes) + 4 * numbers


def read_checked_weights(
    path: Path, shapes: Mapping[str, Shape], *, sha256: str | None = None
) -> dict[str, NDArray[Any]]:
    """Reads the weights of a network.

    Args:
        path: a safetensors file.
        shapes: the names and shapes of the network's weights; nothing else may be there.
        sha256: of the file; it is checked on the very bytes that are used.

    Returns:
        float32 or float16 arrays by name; bfloat16 becomes float32.

    Raises:
        ModelError: missing, damaged, another network's, or numbers that are none.
    """
    data = _read(path, largest_file(shapes))
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise weights_error(
            path, "the weights are not those the model was published with", "the SHA-256 of its "
            "manifest", "another one",
        )  # fmt: skip
    start, header = _header(path, data, shapes)
    weights = {}
    for name, entry in header.items():
        kind, begin, count = entry
        dtype, _ = _TYPES[kind]
        array: NDArray[Any] = np.frombuffer(data, dtype, count, start + begin)
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        if not np.isfinite(array).all():
            raise weights_error(
                path, "the weights hold values that are not numbers", "finite weights",
                f"NaN or infinity in {name}",
            )  # fmt: skip
        weights[name] = array.reshape(shapes[name])
    return weights


def check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape], path: Path
) -> None:
    """Whether these arrays are the weights of a network, before they are written.

    Raises:
        ModelError: other names, shapes or types, or numbers that are none.
    """
    _compare(path, {name: tuple(array.shape) for name, array in weights.items()}, shapes)
    for name, array in weights.items():
        if array.dtype not in (np.float32, np.float16) or not np.isfinite(array).all():
            raise weights_error(
                path, "these are no weights of a trained network",
                "finite numbers in float32 or float16", f"{name}: {array.dtype}",
            )  # fmt: skip


def weights_error(path: Path, what: str, expected: str, found: str) -> ModelError:
    """The error for weights that are not used."""
    return ModelError(
        what,
        expected=expected,
        found=found[:300],
        cure="get the model again from where it was published; do not use this copy",
        path=path,
    )


def _largest_header(shapes: Mapping[str, Shape]) -> int:
    return _HEADER_BYTES + _HEADER_BYTES_PER_WEIGHT * len(shapes)


def _read(path: Path, limit: int) -> bytearray:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if size > limit:
                raise weights_error(
                    path, "the weights file is larger than the plan's network",
                    f"at most {limit} bytes", f"{size} bytes",
                )  # fmt: skip
            stream.seek(0)
            data = bytearray(size)
            done = stream.readinto(data)
    except OSError as error:
        raise weights_error(
            path, "the weights cannot be read", "a safetensors file", error.strerror or str(error)
        ) from error
    if done != size:
        raise weights_error(path, "the weights cannot be read", f"{size} bytes", f"{done} bytes")
    return data


def _header(
    path: Path, data: bytearray, shapes: Mapping[str, Shape]
) -> tuple[int, dict[str, tuple[str, int, int]]]:
    """Where the numbers start; name to type, first byte after there, count."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(_largest_header(shapes), len(data) - 8):
        raise _damaged(path, f"a header of {length} bytes in a file of {len(data)}")
    try:
        raw = json.loads(bytes(data[8 : 8 + length]), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise _damaged(path, "a header that is no object")
    raw.pop("__metadata__", None)
    stated = {str(name): _stated(path, name, entry) for name, entry in raw.items()}
    _compare(path, {name: entry[1] for name, entry in stated.items()}, shapes)
    place = 0
    for name, (kind, shape, begin, end) in sorted(stated.items(), key=lambda item: item[1][2:]):
        size = math.prod(shape) * _TYPES[kind][1]
        if begin != place or end - begin != size:
            raise _damaged(path, f"{name} at {begin} to {end}, expected {place} to {place + size}")
        place = end
    if 8 + length + place != len(data):
        raise _damaged(path, f"{len(data) - 8 - length} bytes of numbers, {place} are stated")
    return 8 + length, {
        name: (kind, begin, math.prod(shape)) for name, (kind, shape, begin, _) in stated.items()
    }


def _stated(path: Path, name: str, entry: object) -> tuple[str, Shape, int, int]:
    if isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}:
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in _TYPES:
            raise weights_error(
                path, "the weights are of a type that no network has", "F32, F16 or BF16",
                f"{name[:100]}: {str(kind)[:20]}",
            )  # fmt: skip
        if _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2:
            return kind, tuple(shape), offsets[0], offsets[1]
    raise _damaged(path, f"the entry of {name[:100]}: {str(entry)[:100]}")


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)


def _compare(path: Path, given: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> None:
    wrong = sorted(n for n in shapes.keys() | given.keys() if shapes.get(n) != given.get(n))
    if wrong:
        first = wrong[0]
        raise weights_error(
            path,
            "the weights do not fit the network of the plan",
            f"{first[:100]} with shape {shapes.get(first, 'none: no such layer')}",
            f"{given.get(first, 'no such entry')}, and {len(wrong) - 1} more differences",
        )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an entry twice")
    return found


def _damaged(path: Path, found: str) -> ModelError:
    return weights_error(path, "the weights are damaged", "a complete safetensors file", found)
