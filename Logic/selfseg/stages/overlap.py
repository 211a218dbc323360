"""Reading, working and writing at the same time, one case after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Written = TypeVar("Written")


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    work: Callable[[Read], Made],
    write: Callable[[Made], Written],
    *,
    ahead: int = 1,
) -> Generator[Written, None, None]:
    """While one item is worked on, the next is read and the last is written.

    Threads, as all three spend their time outside the interpreter. At most `ahead` items wait
    to be worked on and one to be written, so that memory is bounded. An error in any of the
    three ends the whole; what is being written then is still finished.

    Args:
        items: what there is to do.
        read: runs beside, or in turn where `ahead` is 0.
        work: runs in the caller's thread.
        write: runs beside.
        ahead: items to be read before they are worked on.

    Yields:
        What `write` returned, in order, each as soon as the next item is worked on.
    """
    waiting: deque[Future[Read]] = deque()
    writing: Future[Written] | None = None
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        try:
            for index, item in enumerate(items):
                if not waiting:  # the first, or nothing is read ahead
                    waiting.append(reader.submit(read, item))
                now = waiting.popleft().result()
                following = items[index + 1 + len(waiting) : index + 1 + ahead]
                waiting.extend(reader.submit(read, later) for later in following)
                made = work(now)
                del now
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(write, made)
                del made
            if writing is not None:
                yield writing.result()
        finally:
            for future in waiting:
                future.cancel()
