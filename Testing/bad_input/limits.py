"""Machines on which something is not allowed, made for the time of one command."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FULL_AT = {"full disk": 4096, "very full disk": 128}
"""Bytes."""

_CAPABILITIES_V3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def limited(kind: str) -> Iterator[None]:
    """Runs the block as a machine that refuses something would.

    Args:
        kind: "" nothing; "plain user": rights of files hold, also for root; one of
            `FULL_AT`: no file can grow beyond so many bytes (EFBIG, where a full disk says ENOSPC).
    """
    if not kind:
        yield
    elif kind == "plain user":
        with _without_privileges():
            yield
    else:
        resource = pytest.importorskip("resource")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT[kind], before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _without_privileges() -> Iterator[None]:
    if os.name == "nt":
        pytest.skip("rights of folders are another matter on Windows")
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may write everywhere, and only Linux can be told otherwise for a while")
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if library.capget(header, data):
        pytest.skip("the rights of root cannot be asked for")
    effective = data[0]
    data[0] = effective & ~_OVERRIDES
    if library.capset(header, data):
        pytest.skip("the rights of root cannot be given up")
    try:
        yield
    finally:
        data[0] = effective
        library.capset(header, data)
