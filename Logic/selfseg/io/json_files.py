"""Versioned JSON: domain dataclasses to files and back, exactly, with errors one can act on.

A file of ours is one object whose first key, "schema", says what it is and in which version:
"selfseg.plan/1". Floats are written in their shortest exact form, so a round trip changes no bit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from ..domain.errors import FileFormatError, SelfsegError
from .atomic_files import write_bytes_atomically

__all__ = [
    "read_json",
    "read_plain_json",
    "write_bytes_atomically",
    "write_json",
    "write_plain_json",
]

T = TypeVar("T")

MAX_BYTES = 256 * 2**20
"""Largest JSON file that is read: a plan or fingerprint of thousands of cases is a few MB."""

MAX_DEPTH = 64
"""Deepest nesting that is read; ours are below 10."""

_LINE_LENGTH = 100
_SCHEMA_FORM = re.compile(r"(?P<name>[a-z][a-z0-9.-]*)/(?P<version>[0-9]{1,6})")


def write_json(path: Path, value: object, *, schema: str) -> None:
    """Writes a dataclass or mapping as an indented JSON object, atomically.

    Args:
        path: the file; its folder is made where it is missing.
        value: a dataclass instance, or a mapping with string keys. Paths become strings with
            forward slashes, NumPy numbers and arrays plain numbers and lists.
        schema: "<name>/<version>", written as the first key.

    Raises:
        FileFormatError: the value holds NaN, infinity or something JSON has no form for.
        ProjectError: the file cannot be written.
    """
    path = Path(path)
    try:
        plain = msgspec.to_builtins(value, enc_hook=_encode, str_keys=True)
        if not isinstance(plain, dict):
            raise TypeError(f"{type(value).__name__} has no fields")
        body = {key: entry for key, entry in plain.items() if key != "schema"}
        text = (_layout({"schema": schema, **body}, 0) + "\n").encode("utf-8")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise FileFormatError(
            "the values cannot be written as JSON",
            expected="a dataclass or mapping of text and finite numbers",
            found=str(error),
            cure="this is a fault of the calling code: replace NaN and infinity by null",
            path=path,
        ) from error
    write_bytes_atomically(path, text)


def read_json(path: Path, kind: type[T], *, schema: str, max_bytes: int = MAX_BYTES) -> T:
    """Reads what `write_json` wrote, checked strictly against the dataclass.

    Every key must be known, every type must fit and no number may be non-finite.

    Args:
        path: the file.
        kind: the dataclass (or `dict`) to build; nested dataclasses, tuples, literals,
            mappings and paths are built too.
        schema: the name and newest version that the caller understands.
        max_bytes: larger files are refused unread.

    Raises:
        FileFormatError: missing, too large, damaged, of another kind or version.
        SelfsegError: the values are well-formed but the domain type refuses them (its own
            error, with the path added).
    """
    path = Path(path)
    raw = _parse(path, _read_bytes(path, max_bytes))
    _check_schema(path, raw, schema)
    if not (is_dataclass(kind) and any(f.name == "schema" for f in fields(kind))):
        raw = {key: entry for key, entry in raw.items() if key != "schema"}
    try:
        value = msgspec.convert(raw, kind, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise FileFormatError(
            "the file does not hold what it should",
            expected=f"the fields of {schema}",
            found=str(error),
            cure="correct that entry if the file was edited by hand, otherwise make the file again",
            path=path,
        ) from error
    except SelfsegError as error:
        if error.path is not None:
            raise
        raise error.retold(path=path) from error
    unknown = _unknown_key(raw, msgspec.to_builtins(value, enc_hook=_encode, str_keys=True))
    if unknown:
        raise FileFormatError(
            "the file holds an entry that nobody reads",
            expected=f"only the fields of {schema}",
            found=unknown,
            cure="check its spelling, or remove it",
            path=path,
        )
    return value


def write_plain_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON of a form that is not ours (nnU-Net's files, score files), atomically.

    Raises:
        FileFormatError: the value holds NaN, infinity or something JSON has no form for.
        ProjectError: the file cannot be written.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise FileFormatError(
            "the values cannot be written as JSON",
            expected="text and finite numbers",
            found=str(error),
            cure="this is a fault of the calling code: replace NaN and infinity by null",
            path=path,
        ) from error
    write_bytes_atomically(Path(path), text.encode("utf-8"))


def read_plain_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Reads JSON that is not ours (dataset.json, nnU-Net's plans) into plain values.

    A byte order mark is allowed, and NaN and infinity as Python's json writes them: callers
    check what they use.

    Raises:
        FileFormatError: missing, too large, too deep or not JSON.
    """
    path = Path(path)
    data = _read_bytes(path, max_bytes)
    try:
        return _depth_checked(json.loads(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise FileFormatError(
            "the file cannot be read",
            expected="a readable JSON file",
            found=error.strerror or str(error),
            cure="check the path, or run the stage that writes this file",
            path=path,
        ) from error
    if len(data) > max_bytes:
        raise FileFormatError(
            "the JSON file is too large to be one of these",
            expected=f"at most {max_bytes} bytes",
            found=f"{path.stat().st_size} bytes",
            cure="check that this is the right file",
            path=path,
        )
    return data


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        raw = _depth_checked(msgspec.json.decode(data))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(raw, dict):
        raise _damaged(path, f"a {type(raw).__name__} at the top")
    return raw


def _damaged(path: Path, reason: object) -> FileFormatError:
    found = "deeper nesting" if isinstance(reason, RecursionError) else str(reason)
    return FileFormatError(
        "the file is damaged or not JSON",
        expected=f"JSON text in UTF-8, nested at most {MAX_DEPTH} deep",
        found=found or "an empty file",
        cure="restore it from a copy, or delete it and run the stage that writes it again",
        path=path,
    )


def _depth_checked(value: Any) -> Any:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [entry for container in level for entry in _entries(container)]
        if not level:
            return value
    raise RecursionError


def _entries(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_schema(path: Path, raw: Mapping[str, Any], schema: str) -> None:
    found = raw.get("schema")
    if found == schema:
        return
    wanted = _SCHEMA_FORM.fullmatch(schema)
    given = _SCHEMA_FORM.fullmatch(found) if isinstance(found, str) else None
    if wanted is None:
        raise ValueError(f"not a schema name: {schema!r}")
    cure = "check that this is the right file"
    what = "the file is of another kind"
    if given is not None and given["name"] == wanted["name"]:
        newer = int(given["version"]) > int(wanted["version"])
        what = "the file was written by a " + ("newer" if newer else "much older") + " selfseg"
        cure = (
            "update selfseg to read it"
            if newer
            else "make the file again with this version of selfseg"
        )
    raise FileFormatError(
        what,
        expected=f'"schema": "{schema}"',
        found='no "schema"' if found is None else f'"schema": {json.dumps(found)[:80]}',
        cure=cure,
        path=path,
    )


def _unknown_key(raw: Any, known: Any, where: str = "$") -> str:
    """The place of the first key of `raw` that decoding dropped, or ""."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, entry in raw.items():
            if key not in known:
                return f"{where}.{key}"
            if nested := _unknown_key(entry, known[key], f"{where}.{key}"):
                return nested
    elif isinstance(raw, list) and isinstance(known, (list, tuple)):
        for i, (entry, counterpart) in enumerate(zip(raw, known, strict=False)):
            if nested := _unknown_key(entry, counterpart, f"{where}[{i}]"):
                return nested
    return ""


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise TypeError(f"nothing reads a {kind.__name__} from JSON")


def _layout(value: Any, indent: int) -> str:
    """JSON text that keeps on one line what fits there, and fills lines with numbers."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # The outermost object is always broken, so that all files look alike.
    fits = len(flat) + indent <= _LINE_LENGTH and indent > 0
    if fits or not value or not isinstance(value, (dict, list, tuple)):
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {_layout(entry, indent + 2)}"
            for key, entry in value.items()
        ]
        return "{\n" + ",\n".join(pad + part for part in parts) + "\n" + " " * indent + "}"
    if any(isinstance(entry, (dict, list, tuple, str)) for entry in value):
        lines = [pad + _layout(entry, indent + 2) for entry in value]
    else:
        lines = _filled([json.dumps(entry) for entry in value], pad)
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"


def _filled(words: list[str], pad: str) -> list[str]:
    lines = [pad + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 <= _LINE_LENGTH:
            lines[-1] += ", " + word
        else:
            lines.append(pad + word)
    return lines
