"""Zip files as an attacker would make them of a good model bundle, and what the refusal says."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Files = dict[str, bytes]

WEIGHTS = "weights/plain/3d_fullres/fold_0.safetensors"
PLAN = "plans/plain.json"
MARK = "executed"
"""The file that a payload would leave behind."""


@dataclass(frozen=True)
class Hostile:
    """One attack.

    `files` gives the files of the bundle, and `manifest` whether they get a manifest that fits;
    `packed` makes the zip file, or changes it.
    """

    says: str
    files: Callable[[Files], Files] | None = None
    manifest: bool = True
    packed: Callable[[Files], bytes] | None = None


def with_manifest(files: Files) -> Files:
    """The files with a manifest that vouches for all of them."""
    listed = [
        {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
        if name != "manifest.json"
    ]
    content = {"schema": "selfseg.bundle-manifest/1", "files": listed}
    return {**files, "manifest.json": json.dumps(content).encode()}


def pack(files: Files, **settings: Any) -> bytes:
    """A zip file; `settings` are set on every entry."""
    return pack_entries([(name, data, settings) for name, data in files.items()])


def pack_entries(entries: list[tuple[str, bytes, dict[str, Any]]]) -> bytes:
    """A zip file of entries with settings of their own; names may come twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that come twice
        for name, data, settings in entries:
            entry = zipfile.ZipInfo(name)
            for key, value in settings.items():
                setattr(entry, key, value)
            archive.writestr(entry, data, entry.compress_type)
    return stream.getvalue()


class Payload:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({MARK!r}, 'w').close()",)


def _added(name: str, data: bytes = b"evil", **settings: Any) -> Callable[[Files], bytes]:
    def make(files: Files) -> bytes:
        good = [(key, value, {}) for key, value in files.items()]
        return pack_entries([*good, (name, data, settings)])

    return make


def _patched(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def patch(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return patch


def _directory_entry(data: bytes, name: str) -> int:
    """Where the directory's entry of a file begins."""
    at = data.find(b"PK\x01\x02")
    while data[at + 46 : at + 46 + len(name)] != name.encode():
        at = data.find(b"PK\x01\x02", at + 4)
        assert at >= 0
    return at


def _in_directory(name: str, offset: int, form: str, value: int) -> Callable[[Files], bytes]:
    """A good zip file whose directory lies about one number of one file."""

    def make(files: Files) -> bytes:
        data = bytearray(pack(files))
        struct.pack_into(form, data, _directory_entry(bytes(data), name) + offset, value)
        return bytes(data)

    return make


def _everywhere(bits: int) -> Callable[[Files], bytes]:
    def make(files: Files) -> bytes:
        data = bytearray(pack(files))
        at = _directory_entry(bytes(data), "bundle.json")
        (header,) = struct.unpack_from("<L", data, at + 42)
        for place in (at + 8, header + 6):
            struct.pack_into("<H", data, place, bits)
        return bytes(data)

    return make


def _overlapping(files: Files) -> bytes:
    data = pack(_with(files, "LICENSE.txt", b"a" * 50))
    second = _directory_entry(data, "LICENSE.txt")
    first = _directory_entry(data, "bundle.json")
    changed = bytearray(data)
    changed[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(changed)


def _zip64_bomb(files: Files) -> bytes:
    """One entry that says, in a zip64 field, that it unpacks to 2^50 bytes."""
    data = _added("LICENSE.txt", b"\0" * 100, extra=struct.pack("<HHQQ", 1, 16, 100, 100))(files)
    changed = bytearray(data)
    at = _directory_entry(data, "LICENSE.txt")
    struct.pack_into("<LL", changed, at + 20, 100, 0xFFFFFFFF)
    field = data.find(struct.pack("<HH", 1, 16), at)
    struct.pack_into("<Q", changed, field + 4, 2**50)
    return bytes(changed)


def _zip64_directory(files: Files) -> bytes:
    """A zip64 record that says there are 2^40 files."""
    data = pack(files)
    end = data.rfind(b"PK\x05\x06")
    start, size = struct.unpack("<LL", data[end + 16 : end + 20] + data[end + 12 : end + 16])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    tail = bytearray(data[end:])
    struct.pack_into("<2H2L", tail, 8, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    return data[:end] + record + locator + bytes(tail)


def _tar(files: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("bundle.json")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


def _with(files: Files, name: str, data: bytes) -> Files:
    return with_manifest({**files, name: data})


def _hard_link(field: int) -> dict[str, Any]:
    return {"extra": struct.pack("<HH", field, 20) + b"\0" * 14 + b"/a/b/c"}


def _unix(kind: int) -> dict[str, Any]:
    return {"create_system": 3, "external_attr": (kind | 0o777) << 16}


DEFLATED = {"compress_type": zipfile.ZIP_DEFLATED}
ZEROS = b"\0" * 2**20

PACKED: dict[str, Hostile] = {
    # Names that lead elsewhere.
    "path traversal": Hostile("leads out", packed=_added("../evil.txt")),
    "traversal in the middle": Hostile("leads out", packed=_added("plans/../../evil.txt")),
    "absolute path": Hostile("absolute path", packed=_added("/etc/evil.txt")),
    "drive letter": Hostile("absolute path", packed=_added("C:/evil.txt")),
    "drive letter, relative": Hostile("absolute path", packed=_added("C:evil.txt")),
    "backslashes": Hostile("holds one of", packed=_added("..\\evil.txt")),
    "network share": Hostile("holds one of", packed=_added("\\\\server\\share\\evil.txt")),
    "another stream": Hostile("holds one of", packed=_added("bundle.json:evil")),
    "NUL in a name": Hostile(
        "cannot be shown",
        packed=lambda f: _patched(b"evil.txt@.py", b"evil.txt\0.py")(_added("evil.txt@.py")(f)),
    ),
    "control sign in a name": Hostile("cannot be shown", packed=_added("evil\x1b[2J.txt")),
    "device of Windows": Hostile("something else", packed=_added("plans/CON.json")),
    "device with an ending": Hostile("something else", packed=_added("plans/lpt1.x.json")),
    "dot at the end": Hostile("something else", packed=_added("plans/plain.json.")),
    "blank at the end": Hostile("something else", packed=_added("plans /plain.json")),
    "empty part": Hostile("leads out", packed=_added("plans//evil.json")),
    "folder that leads out": Hostile("leads out", packed=_added("../evil/", b"")),
    "overlong name": Hostile("too long", packed=_added("plans/" + "a" * 300 + ".json")),
    "overlong path": Hostile("too long", packed=_added("a/" * 300 + "b")),
    "nested too deep": Hostile("folders deep", packed=_added("a/" * 20 + "b")),
    # Names that some system takes for the same file.
    "names differing in case": Hostile("only in case", packed=_added("Bundle.json")),
    "names differing in form": Hostile("only in case", packed=_added("ｂundle.json")),
    "folders differing in case": Hostile("only in case", packed=_added("Plans/b.json")),
    "the same name twice": Hostile("twice", packed=_added("bundle.json")),
    "file and folder": Hostile("a file and a folder", packed=_added("bundle.json/evil")),
    # What is no plain file.
    "symbolic link": Hostile("link or device", packed=_added("a", b"/etc", **_unix(stat.S_IFLNK))),
    "device": Hostile("link or device", packed=_added("a", **_unix(stat.S_IFCHR))),
    "pipe": Hostile("link or device", packed=_added("a", **_unix(stat.S_IFIFO))),
    "hard link, Unix": Hostile("link or device", packed=_added("a", **_hard_link(0x000D))),
    "hard link, ASi": Hostile("link or device", packed=_added("a", **_hard_link(0x756E))),
    "reparse point": Hostile("link or device", packed=_added("a", external_attr=0x400)),
    "folder named as a file": Hostile("name of a file", packed=_added("a", **_unix(stat.S_IFDIR))),
    # Bombs and lies about sizes.
    "bomb by ratio": Hostile("zip bomb", packed=_added("LICENSE.txt", 8 * ZEROS, **DEFLATED)),
    "bomb of small files": Hostile(
        "zip bomb",
        packed=lambda f: pack_entries([(f"plans/{i}.json", ZEROS, DEFLATED) for i in range(20)]),
    ),
    "bomb by count": Hostile(
        "more than 2000 files", packed=lambda f: pack({f"plans/{i}": b"" for i in range(2500)})
    ),
    "overlapping files": Hostile("overlap", packed=_overlapping),
    "zip64 size of 2^50": Hostile("larger than any model", packed=_zip64_bomb),
    "zip64 directory of 2^40": Hostile("more than 2000 files", packed=_zip64_directory),
    "stored size lies": Hostile("another size", packed=_in_directory("bundle.json", 24, "<L", 5)),
    "wrong checksum": Hostile("damaged", packed=_in_directory("bundle.json", 16, "<L", 5)),
    "encrypted": Hostile("encrypted", packed=_everywhere(0x1)),
    "encrypted strongly": Hostile("encrypted", packed=_everywhere(0x40)),
    "patch data": Hostile("patch data", packed=_everywhere(0x20)),
    "packed with LZMA": Hostile(
        "unusual way", packed=lambda f: pack(f, compress_type=zipfile.ZIP_LZMA)
    ),
    # What is no zip file at all.
    "truncated": Hostile("damaged", packed=lambda f: pack(f)[:-200]),
    "only the end": Hostile("damaged|overlap|in front", packed=lambda f: pack(f)[-300:]),
    "bytes in front": Hostile("in front", packed=lambda f: b"MZ" * 50 + pack(f)),
    "bytes behind": Hostile("after its end", packed=lambda f: pack(f) + b"evil"),
    "empty file": Hostile("damaged", packed=lambda f: b""),
    "empty zip": Hostile("no file", packed=lambda f: pack({})),
    "tar with a hard link": Hostile("no zip file", packed=_tar),
    "pickle": Hostile("no zip file", packed=lambda f: pickle.dumps(Payload())),
}


def unpacked_files(folder: Path) -> Files:
    """Everything below a folder, by name with forward slashes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
