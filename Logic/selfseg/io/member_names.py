"""Names of files inside archives and folders that come from outside, checked before use.

A name is refused where any system we run on would read it as something else than a file below
the folder: an absolute path, a drive, a step upwards, a device, another stream of a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import ModelError

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
_REFUSED = frozenset('<>"|?*:\\')
_LONGEST_PART, _LONGEST = 180, 400


@dataclass(frozen=True)
class SourceLimits:
    """How much a model from outside may hold.

    Args:
        files: files and folders.
        bytes_each: of one file, unpacked.
        bytes_total: of all files, unpacked.
        ratio: unpacked over packed, of every file above 1 MiB and of the whole. Weights and
            JSON stay below 30; deflate can reach 1032.
        depth: folders in folders.
    """

    files: int = 4000
    bytes_each: int = 8 * 2**30
    bytes_total: int = 64 * 2**30
    ratio: float = 100.0
    depth: int = 8


def check_names(names: Iterable[str], limits: SourceLimits, source: Path) -> None:
    """Refuses names that lead elsewhere or that some system takes for the same file.

    Args:
        names: of files, with forward slashes, relative to the source.
        limits: see `SourceLimits`.
        source: the archive or folder, for the message.

    Raises:
        ModelError: the name and what is wrong with it.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        reason = _fault(name, limits)
        if reason:
            raise refused(source, f"a file with a name that is not allowed: {reason}", repr(name))
        key = _folded(name)
        if key in seen:
            text = "the same file twice" if seen[key] == name else "names that differ only in case"
            raise refused(source, text, f"{seen[key]!r} and {name!r}")
        seen[key] = name
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folders.setdefault(_folded(folder), folder) != folder:
                first = folders[_folded(folder)]
                raise refused(source, "names that differ only in case", f"{first!r} and {folder!r}")
    both = seen.keys() & folders.keys()
    if both:
        raise refused(source, "a name for a file and a folder", repr(seen[min(both)]))


def refused(source: Path, reason: str, found: str = "") -> ModelError:
    """The error for a source that is not taken: nothing of it is used."""
    return ModelError(
        f"refused: it holds {reason}",
        expected="a model as selfseg or nnU-Net writes it",
        found=found[:300],
        cure="get the model again from where it was published; do not use this copy",
        path=source,
    )


def _fault(name: str, limits: SourceLimits) -> str:
    parts = name.split("/")
    if not name or len(name) > _LONGEST or any(len(part) > _LONGEST_PART for part in parts):
        return "it is empty or too long"
    if not name.isprintable():
        return "it holds signs that cannot be shown"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "it is an absolute path"
    if set(name) & _REFUSED:
        return 'it holds one of \\ : * ? " < > |'
    if any(part in ("", ".", "..") for part in parts):
        return "it leads out of the folder"
    if any(part[-1] in ". " or part[0] == " " or _DEVICES.fullmatch(part) for part in parts):
        return "some system reads it as something else"
    if len(parts) - 1 > limits.depth:
        return f"it lies more than {limits.depth} folders deep"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
