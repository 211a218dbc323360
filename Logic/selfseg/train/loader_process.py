"""A process that makes items for `loader.produce`.

Arrays travel through a pipe, outside of the pickle (protocol 5) and straight into the memory
they stay in: no shared memory, of which containers often have 64 MB only, and nothing that a
killed process could leave behind.
"""

from __future__ import annotations

import io
import multiprocessing
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..domain.errors import TrainingError
from ..io.workers import begin_worker, single_threaded_children

Item = TypeVar("Item")

PIECE_BYTES = 2**18
"""What is written to a pipe at once; 20 MB pieces are three times slower, and Windows refuses
messages of about 32 MB."""

ENDING_SECONDS = 2.0
"""What a process gets to end after it is told to, before it is killed."""


class MakingFailed(Exception):
    """`make` raised in another process.

    Args:
        text: the traceback.
        original: the error, where it can be pickled.
    """

    def __init__(self, text: str, original: BaseException | None) -> None:
        super().__init__(text)
        self.text = text
        self.original = original


class MakingProcess(Generic[Item]):
    """A spawned process that calls `make`; calling this object asks it for an item.

    Args:
        order: `make`, pickled.
    """

    def __init__(self, order: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._order: bytes | None = order
        self._reaping = threading.Lock()
        with single_threaded_children(), _deaf_to_interrupts():
            self._process.start()
        theirs.close()

    def __call__(self, index: int) -> Item:
        """Has the item made; one caller at a time.

        Raises:
            MakingFailed: `make` raised, or what it returned cannot be pickled.
            TrainingError: the process has ended.
        """
        try:
            if self._order is not None:  # here, so that many processes start side by side
                self._connection.send_bytes(self._order)
                self._order = None
            self._connection.send(index)
            failed, packed = _received(self._connection)
        except (EOFError, OSError) as error:
            raise self._ended(index) from error
        if failed:
            text, error_bytes = _unpacked(packed)
            raise MakingFailed(text, _error(error_bytes))
        item: Item = _unpacked(packed)
        return item

    def terminate(self) -> None:
        """Tells the process to end, whatever it is doing."""
        with self._reaping:
            self._process.terminate()

    def end(self) -> None:
        """Waits until the process has ended, and kills it where it does not."""
        with self._reaping:
            self._process.join(ENDING_SECONDS)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()

    def close(self) -> None:
        """Gives back the pipes; the process has ended and nobody is calling any more."""
        self._connection.close()
        self._process.close()

    def _ended(self, index: int) -> TrainingError:
        with self._reaping:
            self._process.join(ENDING_SECONDS)
            code = self._process.exitcode
        again = "the same command goes on from the last checkpoint"
        if code is None or code >= 0:
            found = f"it closed its pipe (exit code {code})"
            cure = (
                f"look for its message above; {again}. In a script of your own, call selfseg "
                'under `if __name__ == "__main__":`'
            )
        else:
            found = f"it was ended by {_signal_name(-code)}"
            cure = f"this is a crash within a library: report it; {again}"
        if code == -getattr(signal, "SIGKILL", 0):
            cure = (
                "the system mostly does this when memory runs out: close other programs, use a "
                f"machine with more memory, or train with fewer workers; {again}"
            )
        return TrainingError(
            f"a process that makes batches ended while it made batch {index}",
            expected="workers that live as long as the training",
            found=found,
            cure=cure,
        )


def pickled(item: object) -> bytes:
    """The item as bytes for a process."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(item)
    return stream.getvalue()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Lets processes that are started in the block not hear Ctrl-C, from their first moment.

    It reaches the whole group, and the parent alone decides what happens then.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else started in the block, where it ends our mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """The life of the process: numbers come in, items go out."""
    begin_worker()
    make: Callable[[int], object] | None = None
    try:
        order = connection.recv_bytes()
        while True:
            index = connection.recv()
            try:
                if make is None:
                    make = pickle.loads(order)  # noqa: S301 - from our own parent process
                packed = _packed(make(index))
                failed = False
            except BaseException as error:
                packed = _packed(("".join(traceback.format_exception(error)), _error_bytes(error)))
                failed = True
            _send(connection, failed, packed)
            del packed  # not kept while the next item is made
    except (EOFError, OSError):
        return  # the parent needs us no more


class _Pickler(pickle.Pickler):
    """Takes tensors for the arrays they are; torch itself would copy them into the pickle."""

    def reducer_override(self, item: Any) -> Any:
        if type(item) is not torch.Tensor:
            return NotImplemented
        try:
            return torch.from_numpy, (item.numpy(),)
        except (TypeError, RuntimeError):  # bfloat16, sparse, with a gradient: torch's own way
            return NotImplemented


_Packed = list[NDArray[np.uint8]]
"""A pickle, and after it the arrays that belong to it, all as bytes."""


def _packed(item: object) -> _Packed:
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(item)
    parts = [memoryview(stream.getvalue()), *(buffer.raw() for buffer in buffers)]
    return [np.frombuffer(part, np.uint8) for part in parts]


def _unpacked(packed: _Packed) -> Any:
    return pickle.loads(packed[0].data, buffers=packed[1:])  # noqa: S301 - from our own process


def _send(connection: Connection, failed: bool, packed: _Packed) -> None:
    connection.send((failed, [part.nbytes for part in packed]))
    for part in packed:
        for begin in range(0, part.nbytes, PIECE_BYTES):
            connection.send_bytes(part[begin : begin + PIECE_BYTES].data)


def _received(connection: Connection) -> tuple[bool, _Packed]:
    failed, sizes = connection.recv()
    packed = [np.empty(size, np.uint8) for size in sizes]
    for part in packed:
        for begin in range(0, part.nbytes, PIECE_BYTES):
            connection.recv_bytes_into(part.data, begin)
    return failed, packed


def _error_bytes(error: BaseException) -> bytes | None:
    try:
        result = pickle.dumps(error)
        pickle.loads(result)  # noqa: S301 - just made; many errors fail only here
    except Exception:
        return None
    return result


def _error(error_bytes: bytes | None) -> BaseException | None:
    if error_bytes is None:
        return None
    error: BaseException = pickle.loads(error_bytes)  # noqa: S301 - from our own process
    return error


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
