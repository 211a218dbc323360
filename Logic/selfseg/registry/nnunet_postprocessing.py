"""nnU-Net's postprocessing as data: from its JSON, or from its pickle without running that.

nnU-Net knows one step: of some labels taken as one, keep the largest component. It writes which
steps helped as JSON and as a pickle of functions and their arguments. The pickle is read opcode
by opcode here: what is not that function, a number or a list ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..domain.bundle import PostprocessingStep
from ..domain.errors import ModelError
from ..domain.labels import LabelScheme
from ..io.json_files import read_plain_json

FUNCTION = "remove_all_but_largest_component_from_segmentation"
_MODULE = "nnunetv2.postprocessing.remove_connected_components"
_SCALARS = ("numpy._core.multiarray scalar", "numpy.core.multiarray scalar")
_DTYPE = "numpy dtype"
_INTEGERS = {f"{sign}{size}": (size, sign == "i") for sign in "iu" for size in (1, 2, 4, 8)}

LARGEST = 2**20
"""Bytes of the pickle: one of a hundred steps has 10 kB."""

_MOST_LABELS = 4096


def read_postprocessing(folder: Path, labels: LabelScheme) -> tuple[PostprocessingStep, ...]:
    """The steps of a folder with postprocessing.json or postprocessing.pkl.

    Raises:
        ModelError: neither can be read, or a step has no form here.
        FileFormatError: the JSON is damaged.
    """
    path = folder / "postprocessing.json"
    if path.is_file():
        content = read_plain_json(path, max_bytes=64 * LARGEST)
        names, arguments = (
            (content.get("postprocessing_fns"), content.get("postprocessing_kwargs"))
            if isinstance(content, dict)
            else (None, None)
        )
    else:
        path = folder / "postprocessing.pkl"
        names, arguments = _read_pickle(path)
    if not isinstance(names, list) or not isinstance(arguments, list):
        raise _foreign(path, "two lists", f"{type(names).__name__}, {type(arguments).__name__}")
    if len(names) != len(arguments):
        raise _foreign(path, "as many arguments as functions", f"{len(names)}, {len(arguments)}")
    return tuple(
        _step(path, name, given, labels) for name, given in zip(names, arguments, strict=True)
    )


def _step(path: Path, name: object, given: object, labels: LabelScheme) -> PostprocessingStep:
    if name != FUNCTION or not isinstance(given, dict):
        raise _foreign(path, FUNCTION, str(name)[:100])
    if set(given) - {"labels_or_regions", "background_label"} or given.get("background_label", 0):
        raise _foreign(path, "labels_or_regions, and background 0", ", ".join(map(str, given)))
    values = _values(given.get("labels_or_regions"))
    if values == set(labels.values):
        return PostprocessingStep("largest_component_all")
    for structure in labels.foreground:
        if values == set(structure.values):
            return PostprocessingStep("largest_component", (structure.name,))
    raise _foreign(path, "all structures, or one of them", f"the labels {sorted(values)}"[:200])


def _values(given: object) -> set[int]:
    """A label, a region or a list of both: the mask is the union of all."""
    entries = list(given)[:_MOST_LABELS] if isinstance(given, list | tuple) else [given]
    found: set[int] = set()
    for entry in entries:
        region = entry[:_MOST_LABELS] if isinstance(entry, list | tuple) else (entry,)
        found.update(value for value in region if type(value) is int)
    return found


@dataclass(frozen=True)
class _Named:
    """A function or class, by module and name: never looked up."""

    name: str


@dataclass(frozen=True)
class _Integer:
    """A NumPy type: bytes, and whether it has a sign."""

    size: int
    signed: bool
    big_endian: bool = False


class _Mark:
    pass


def _read_pickle(path: Path) -> tuple[object, object]:
    """Names of the functions, and their arguments."""
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
        stack = _Machine().run(data)
    except ModelError:
        raise
    except Exception as error:  # whatever is wrong with a damaged pickle
        raise _foreign(path, "nnU-Net's functions and arguments", str(error)[:200]) from error
    if isinstance(stack, tuple) and len(stack) == 2 and isinstance(stack[0], list):
        plain = [
            entry.name.removeprefix(_MODULE + " ") if isinstance(entry, _Named) else entry
            for entry in stack[0]
        ]
        return plain, stack[1]
    raise _foreign(path, "functions and arguments", type(stack).__name__)


class _Machine:
    """A stack for the opcodes with which pickles of protocol 4 and 5 write such lists.

    It runs nothing.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: list[Any] = []

    def run(self, data: bytes) -> Any:
        argument: Any
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                (result,) = self.stack
                return result
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name == "MEMOIZE":
                self.memo.append(self.stack[-1])
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name == "STACK_GLOBAL":
                module, attribute = self._take(2)
                self.stack.append(_allowed(f"{module} {attribute}"))
            elif name in _TUPLES:
                self.stack.append(tuple(self._take(_TUPLES[name])))
            elif name == "TUPLE":
                self.stack.append(tuple(self._to_mark()))
            elif name in ("APPEND", "APPENDS"):
                entries = self._take(1) if name == "APPEND" else self._to_mark()
                _of(list, self.stack[-1]).extend(entries)
            elif name in ("SETITEM", "SETITEMS"):
                entries = self._take(2) if name == "SETITEM" else self._to_mark()
                pairs = zip(entries[::2], entries[1::2], strict=True)
                _of(dict, self.stack[-1]).update({_of(str, key): value for key, value in pairs})
            elif name == "REDUCE":
                function, arguments = self._take(2)
                self.stack.append(_number(_of(_Named, function).name, _of(tuple, arguments)))
            elif name == "BUILD":
                kind, state = self._take(2)
                order = _of(tuple, state)[1]
                kind = _of(_Integer, kind)
                self._replace(kind, _Integer(kind.size, kind.signed, order == ">"))
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"the opcode {name}")
        raise ValueError("no end")

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("an empty stack")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _to_mark(self) -> list[Any]:
        place = max(i for i, entry in enumerate(self.stack) if isinstance(entry, _Mark))
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def _replace(self, before: _Integer, after: _Integer) -> None:
        self.stack.append(after)
        self.memo = [after if entry is before else entry for entry in self.memo]


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINUNICODE", "SHORT_BINBYTES"}
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _allowed(name: str) -> _Named:
    if name in (f"{_MODULE} {FUNCTION}", _DTYPE, *_SCALARS):
        return _Named(name)
    raise ValueError(f"the name {name!r}")


def _number(function: str, arguments: Sequence[Any]) -> object:
    """What NumPy's constructor of types, and that of numbers, would make."""
    if function == _DTYPE:
        return _Integer(*_INTEGERS[arguments[0]])
    if function in _SCALARS:
        kind, data = arguments
        kind, data = _of(_Integer, kind), _of(bytes, data)
        if len(data) != kind.size:
            raise ValueError(f"a number of {len(data)} bytes")
        return int.from_bytes(data, "big" if kind.big_endian else "little", signed=kind.signed)
    raise ValueError(f"a call of {function}")


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _foreign(path: Path, expected: str, found: str) -> ModelError:
    return ModelError(
        "this postprocessing is not one we can repeat",
        expected=expected,
        found=found,
        cure="write postprocessing.json again with nnUNetv2_determine_postprocessing",
        path=path,
    )
