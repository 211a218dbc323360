"""What a PyTorch checkpoint says, read without running any of it.

A checkpoint is a zip file: a pickle with the structure, and a file of numbers per tensor. Here
the pickle is followed with nothing behind its names: every class or function that it asks for is
an inert stand-in, and one that a genuine nnU-Net checkpoint does not need ends the reading. The
numbers are not touched; that each tensor lies within them is checked.
"""

from __future__ import annotations

import io
import math
import pickle
import reprlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..domain.errors import ModelError

LARGEST_FILE = 8 * 2**30
"""Bytes; ResEnc XL with its optimiser has about 2.5 GB."""

LARGEST_PICKLE = 64 * 2**20
"""Bytes; nnU-Net's hold plans, dataset.json and the training's log: a few MB."""

MOST_RECORDS = 20_000

_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}

_NUMPY_SCALARS = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
"""The same function, as NumPy 2 and NumPy 1 name it."""

_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter")

ALLOWED = frozenset(
    {
        "collections.OrderedDict",
        *_TENSORS,
        *(f"torch.{name}" for name in _BYTES),
        "torch.device",
        *_NUMPY_SCALARS,
        "numpy.dtype",
        "_codecs.encode",  # how pickles of protocol 2 hold bytes
    }
)
"""All that a genuine checkpoint of nnU-Net v2 names."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor, without its numbers.

    Args:
        shape: of the tensor.
        kind: "FloatStorage", ...
        record: the file in the checkpoint that holds the numbers.
        offset: of the tensor's first number among them.
        strides: from one index of each axis to the next, in numbers.
    """

    shape: tuple[int, ...]
    kind: str
    record: str
    offset: int
    strides: tuple[int, ...]


def read_structure(path: Path) -> Mapping[str, Any]:
    """The content of a checkpoint with a `StoredTensor` for every tensor.

    What is no plain value (devices, NumPy's numbers) is an opaque object.

    Raises:
        ModelError: the reason why it is refused.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise _refused(
            path, "it is larger than any checkpoint", f"at most {LARGEST_FILE} bytes", f"{size}"
        )
    with path.open("rb") as stream:
        begin = stream.read(4)
    if begin != b"PK\x03\x04":
        raise _refused(
            path, "it is not in PyTorch's present format", "a zip file as torch.save writes it",
            "an old pickle or tar file, or something else",
        )  # fmt: skip
    try:
        with zipfile.ZipFile(path) as archive:
            records = _records(path, archive, size)
            root = next(name[: -len("data.pkl")] for name in records if _is_pickle(name))
            data = archive.read(root + "data.pkl")
        content = _Inert(path, data, root, records).load()
    except ModelError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle or zip file can raise anything
        raise _refused(
            path, "it is damaged", "a complete checkpoint", f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(content, dict) or any(type(key) is not str for key in content):
        raise _refused(path, "it holds no checkpoint", "entries by name", type(content).__name__)
    return content


def _is_pickle(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/data.pkl")


def _records(path: Path, archive: zipfile.ZipFile, size: int) -> dict[str, int]:
    """Name to bytes. torch.save packs nothing, so nothing may be packed: no zip bombs."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > MOST_RECORDS or len(set(names)) != len(names):
        raise _refused(
            path, "its records are not valid", f"at most {MOST_RECORDS} records, each once",
            f"{len(names)} records, {len(set(names))} names",
        )  # fmt: skip
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored or entry.file_size != entry.compress_size or entry.flag_bits & 0x1:
            raise _refused(
                path, "a record is packed or encrypted", "records as they are, as torch.save "
                "writes them", f"{entry.filename[:100]}: {entry.file_size} bytes in "
                f"{entry.compress_size}",
            )  # fmt: skip
    records = {entry.filename: entry.file_size for entry in entries}
    if sum(records.values()) > size:
        raise _refused(
            path, "its records overlap", f"at most {size} bytes", f"{sum(records.values())}"
        )
    pickles = [name for name in names if name.endswith(".pkl")]
    if len(pickles) != 1 or not _is_pickle(pickles[0]) or records[pickles[0]] > LARGEST_PICKLE:
        raise _refused(
            path, "it does not hold one structure",
            f"one data.pkl of at most {LARGEST_PICKLE} bytes (a TorchScript file has more)",
            ", ".join(f"{name[:100]}: {records[name]} bytes" for name in pickles[:5]) or "none",
        )  # fmt: skip
    return records


@dataclass(frozen=True)
class _Storage:
    kind: str
    count: int
    record: str


class _Opaque:
    """What is left out: it takes any state and does nothing."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Ordered(dict[Any, Any]):
    """An OrderedDict, without the attributes that modules give their state dicts."""

    def __setstate__(self, state: object) -> None:
        pass


class _Name:
    """Stands for an allowed class or function."""

    __slots__ = ("name", "path")

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"{self.name} is given attributes")

    def __call__(self, *arguments: Any) -> object:
        if self.name == "collections.OrderedDict":
            return _Ordered(*arguments)
        if self.name == "torch._utils._rebuild_parameter":
            return arguments[0]
        if self.name == "torch._utils._rebuild_tensor_v2":
            storage, offset, shape, stride = arguments[:4]
            return self._tensor(storage, offset, shape, stride)
        if self.name == "torch.device":
            return " ".join(map(str, arguments))
        return _Opaque()

    def _tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
        numbers = (offset, *shape, *stride) if isinstance(storage, _Storage) else (-1,)
        whole = all(type(number) is int and number >= 0 for number in numbers)
        if not whole or len(shape) != len(stride) or len(shape) > 8:
            raise _refused(
                self.path, "a tensor is not valid", "sizes and strides from 0",
                f"{reprlib.repr(shape)} with strides {reprlib.repr(stride)}",
            )  # fmt: skip
        empty = 0 in shape
        reach = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        last = 0 if empty else offset + reach + 1
        # A tensor of more numbers than its storage is one number, repeated to fill the memory.
        if last > storage.count or math.prod(shape) > storage.count:
            raise _refused(
                self.path, "a tensor is larger than the numbers it has",
                f"at most {storage.count} numbers", f"{math.prod(shape)}, of shape {shape}",
            )  # fmt: skip
        return StoredTensor(tuple(shape), storage.kind, storage.record, offset, tuple(stride))


class _Inert(pickle.Unpickler):
    """Follows a pickle; every name it asks for is a `_Name`."""

    def __init__(self, path: Path, data: bytes, root: str, records: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(data))
        self._path, self._root, self._records = path, root, records

    def find_class(self, module: str, name: str) -> Any:
        qualified = f"{module}.{name}"
        if qualified not in ALLOWED:
            raise _refused(
                self._path, "it asks for code that no nnU-Net checkpoint needs",
                "only tensors, plain values and NumPy's numbers", qualified[:200],
            )  # fmt: skip
        return _Name(qualified, self._path)

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, count = pid
        name = kind.name.removeprefix("torch.") if isinstance(kind, _Name) else ""
        record = f"{self._root}data/{key}" if type(key) is str else ""
        sound = what == "storage" and type(count) is int and name in _BYTES
        if not sound or self._records.get(record) != count * _BYTES[name]:
            raise _refused(
                self._path, "a tensor's numbers are not there", f"{count} numbers ({name})",
                f"{record[:100]}: {self._records.get(record, 'no')} bytes",
            )  # fmt: skip
        return _Storage(name, count, record)


def _refused(path: Path, reason: str, expected: str, found: str) -> ModelError:
    return ModelError(
        f"the checkpoint is refused: {reason}",
        expected=expected,
        found=found[:300],
        cure="get the model again from where it was published; do not use this copy, with any "
        "program",
        path=path,
    )
