"""Whether a file can hold the voxels that its header claims, asked before room is made for them.

ITK believes a header: one line of text has it fill all memory. It does not notice everything
that is missing either: the rest of a compressed MetaImage or of a GIPL file becomes whatever lay
in memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import psutil

from ..domain.errors import ImageError

DEFLATE_RATIO = 1032
"""Most bytes that one byte of zlib or gzip data becomes (zlib's technical details)."""

BZIP2_RATIO = 50_000
"""As much for bzip2: 45 bytes hold a block of 900 000 equal ones, twice run-length coded."""

TEXT_RATIO = 4
"""Numbers as text: a digit and a blank become eight bytes at most."""

_GIPL_HEADER = 256
_HEADER_BYTES = 2**20
"""Where the text of a header has to end; the segments of a .seg.nrrd take 600 bytes each."""

_BLOCK = 2**20
_ENCODINGS = {
    "raw": 1, "gzip": DEFLATE_RATIO, "gz": DEFLATE_RATIO, "bzip2": BZIP2_RATIO, "bz2": BZIP2_RATIO,
    "txt": TEXT_RATIO, "text": TEXT_RATIO, "ascii": TEXT_RATIO, "hex": 1,
}  # fmt: skip


@dataclass(frozen=True)
class _Stored:
    """Where the voxels are.

    Args:
        files: that hold them; none where their number is not known.
        ratio: most bytes of voxels per byte of the files.
        start: bytes before the voxels of the only file.
        unchecked: one stream (zlib or gzip) whose damage ITK does not notice.
    """

    files: tuple[Path, ...]
    ratio: int = 1
    start: int = 0
    unchecked: bool = False


def require_room(path: Path, wanted: int, numbers: int) -> None:
    """Refuses a header that claims more than the file can hold, or than fits into memory.

    Args:
        path: the image, in one of ITK's formats.
        wanted: bytes of voxels that the header claims.
        numbers: how many they are, over all channels.

    Raises:
        ImageError: it does, or names a file of voxels outside of its own folder.
    """
    stored = _stored(path)
    missing = [file for file in stored.files if not file.is_file()]
    if missing:
        raise ImageError(
            "the file with the image's voxels is not there",
            expected=f"{missing[0].name} beside the header",
            found="nothing",
            cure="copy both files, or store the image as .nrrd, .mha or .nii.gz",
            path=path,
        )
    if stored.files:
        held = sum(file.stat().st_size for file in stored.files) - stored.start
        if wanted > held * stored.ratio:
            packed = " (compressed)" if stored.ratio > TEXT_RATIO else ""
            raise _cut_off(path, wanted, f"{held} bytes{packed}")
    memory = psutil.virtual_memory().total
    needed = max(wanted, 4 * numbers)  # read as float32
    if needed > memory:
        raise ImageError(
            "the image is larger than the memory of this machine",
            expected=f"at most {memory / 1e9:.0f} GB",
            found=f"{needed / 1e9:.0f} GB for {numbers} voxels",
            cure="check the sizes in the file's header; cut or resample the image if they are true",
            path=path,
        )


def require_whole(path: Path, wanted: int) -> None:
    """Refuses damaged or missing voxels that ITK would not notice.

    Args:
        path: the image.
        wanted: bytes of voxels that the header claims.

    Raises:
        ImageError: there are fewer.
    """
    stored = _stored(path)
    if not stored.unchecked:
        return
    found, stream = 0, zlib.decompressobj(47)  # zlib or gzip, as the data say
    wanted += _GIPL_HEADER if _is_gipl(path) else 0
    try:
        with stored.files[0].open("rb") as file:
            file.seek(stored.start)
            while found <= wanted and not stream.eof and (block := file.read(_BLOCK)):
                while block and found <= wanted:
                    found += len(stream.decompress(block, _BLOCK))
                    block = stream.unconsumed_tail
    except (OSError, zlib.error) as error:
        raise _cut_off(path, wanted, str(error)) from error
    beyond = found > wanted and ".nii" not in path.name.lower()  # which may go on after them
    if beyond or found < wanted or (found == wanted and not stream.eof):
        raise _cut_off(path, wanted, f"{found} bytes, and no end" if not stream.eof else f"{found}")


def _stored(path: Path) -> _Stored:
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        return _of_meta_image(path)
    if name.endswith((".nrrd", ".nhdr")):
        return _of_nrrd(path)
    if _is_gipl(path):
        if name.endswith(".gz"):
            return _Stored((path,), DEFLATE_RATIO, unchecked=True)
        return _Stored((path,), start=_GIPL_HEADER)
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return _Stored((path,), DEFLATE_RATIO if gzipped else 1, unchecked=gzipped)


def _is_gipl(path: Path) -> bool:
    return path.name.lower().endswith((".gipl", ".gipl.gz"))


def _of_meta_image(path: Path) -> _Stored:
    head = _head(path)
    fields = {
        match[1]: (match[2].strip(), match.end())
        for match in re.finditer(rb"^(\w+)[ \t]*=([^\r\n]*)\r?\n?", head, re.MULTILINE)
    }
    compressed = fields.get(b"CompressedData", (b"", 0))[0][:1] in (b"T", b"t", b"1")
    ratio = DEFLATE_RATIO if compressed else 1
    value, end = fields.get(b"ElementDataFile", (b"LOCAL", 0))
    text = value.decode("utf-8", "replace")
    if text.upper() == "LOCAL":
        return _Stored((path,), ratio, end, compressed and end > 0)
    if text.upper().startswith("LIST"):
        lines = map(str.strip, head[end:].decode("utf-8", "replace").splitlines())
        return _Stored(tuple(_beside(path, [line for line in lines if line])), ratio)
    if "%" in text:
        list(_beside(path, [text.split()[0]]))
        return _Stored((), ratio)
    return _Stored(tuple(_beside(path, [text])), ratio, 0, compressed)


def _of_nrrd(path: Path) -> _Stored:
    head = _head(path)
    end = re.search(rb"\r?\n\r?\n", head)
    lines = head[: end.start() if end else None].decode("utf-8", "replace").splitlines()
    ratio, names = 1, None
    for number, line in enumerate(lines):
        key, _, value = line.partition(":")
        if key.strip().lower() == "encoding":
            ratio = _ENCODINGS.get(value.strip().lower(), BZIP2_RATIO)
        elif key.strip().lower() in ("data file", "datafile"):
            given = value.strip()
            if given.upper().startswith("LIST"):
                names = [line.strip() for line in lines[number + 1 :] if line.strip()]
                break
            names = [given.split()[0]] if "%" in given else [given]
    if names is None:
        return _Stored((path,), ratio, end.end() if end else 0)
    files = tuple(_beside(path, names))
    return _Stored(() if "%" in names[0] else files, ratio)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _beside(path: Path, names: list[str]) -> Iterator[Path]:
    """The files that a header names; only such as lie in its own folder or below it.

    A header that comes with somebody's data must not make an image of any file of this machine.
    """
    for name in names:
        kinds = PurePosixPath(name), PureWindowsPath(name)
        if any(kind.is_absolute() or kind.drive or ".." in kind.parts for kind in kinds):
            raise ImageError(
                "the header names a file of voxels outside of its own folder",
                expected="a file in the folder of the header, or below it",
                found=name[:200],
                cure="move that file beside the header and name it there without its folder",
                path=path,
            )
        yield path.parent / name


def _cut_off(path: Path, wanted: int, found: str) -> ImageError:
    return ImageError(
        "the file is cut off or damaged",
        expected=f"{wanted} bytes of voxels, as its header says",
        found=found,
        cure="copy or download the file again, or write it again from its source",
        path=path,
    )
