"""How whatever takes long is stopped before its end: it asks, between two of its steps."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled

Stop = Callable[[], bool]
"""Whether to stop; asked in the thread that began the work, many times a second."""


def never() -> bool:
    """Goes on to the end."""
    return False


def check_stop(should_stop: Stop) -> None:
    """Ends the work where a stop was asked for.

    Raises:
        Cancelled: it was.
    """
    if should_stop():
        raise Cancelled("stopped as you asked", cure="run the same command again")
