"""Lines of bounded length from a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .wire import MAX_LINE_BYTES

_READ_BYTES = 65536


def bounded_lines(
    read: Callable[[int], bytes], limit: int = MAX_LINE_BYTES
) -> Iterator[bytes | None]:
    """The lines of a stream, as they come; None in place of one that is too long.

    Args:
        read: gives up to so many bytes as soon as there are any, and none at the end.
        limit: bytes, the line end not counted. Of a longer line nothing is kept.

    What comes after the last line end is a line too where it is not empty.
    """
    kept = bytearray()
    too_long = False
    while data := read(_READ_BYTES):
        *ended, rest = data.split(b"\n")
        for part in ended:
            whole = too_long or len(kept) + len(part) > limit
            line = None if whole else bytes(kept + part)
            kept.clear()
            too_long = False
            if line is None or line.strip():
                yield line
        if too_long or len(kept) + len(rest) > limit:
            too_long = True
            kept.clear()
        else:
            kept += rest
    if too_long:
        yield None
    elif kept.strip():
        yield bytes(kept)
