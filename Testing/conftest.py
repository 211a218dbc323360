"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests side by side: threads that wait for each other on busy cores are many times slower
    # than one. Read by torch and NumPy when they are first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project_folder() -> Path:
    """The checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of reference plans and data sets beside the checkout; skips loudly without."""
    folder = PROJECT.parent / "shared"
    if not (folder / "reference").is_dir():
        message = f"no reference plans and data sets at {folder}: this check was NOT made"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, which only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
