"""Messages as lines, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from ..domain.errors import UsageError
from .messages import (
    IDENTIFIER,
    NO_ID,
    PROTOCOL,
    Accepted,
    Answer,
    Cancel,
    CancelledMessage,
    Failed,
    Finished,
    Hello,
    Load,
    Message,
    ProgressMessage,
    Refused,
    Request,
    Segment,
    Shutdown,
    Started,
    Status,
    StatusReport,
    Unload,
    Welcome,
    refusal,
)
from .strict import NotThatType, build

MAX_LINE_BYTES = 2**20
"""Longest line either side sends or takes; a request is below 10 KB."""

MAX_TEXT = 20_000
"""Characters of one text of an error; what is longer is cut."""

REQUESTS: Mapping[str, type[Request]] = {
    "hello": Hello,
    "load": Load,
    "segment": Segment,
    "cancel": Cancel,
    "status": Status,
    "unload": Unload,
    "shutdown": Shutdown,
}

ANSWERS: Mapping[str, type[Answer]] = {
    "welcome": Welcome,
    "accepted": Accepted,
    "started": Started,
    "progress": ProgressMessage,
    "finished": Finished,
    "failed": Failed,
    "refused": Refused,
    "cancelled": CancelledMessage,
    "status": StatusReport,
}

FINAL = (Finished, Failed, Refused, CancelledMessage, StatusReport, Welcome)

_NAMES: Mapping[type[Message], str] = {
    kind: name for table in (REQUESTS, ANSWERS) for name, kind in table.items()
}

M = TypeVar("M", bound=Message)


def write_line(message: Message) -> bytes:
    """A message as one line of ASCII, the line end included.

    Raises:
        UsageError: it is longer than `MAX_LINE_BYTES`, or holds what JSON has no form for.
    """
    try:
        text = json.dumps({"kind": _NAMES[type(message)], **asdict(message)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise refusal(
            "the message has no JSON form", "text and finite numbers", str(error)
        ) from error
    if len(text) >= MAX_LINE_BYTES:
        raise refusal("the message is too long", f"{MAX_LINE_BYTES} bytes", f"{len(text)} bytes")
    return text.encode("ascii") + b"\n"


def read_line(line: bytes, kinds: Mapping[str, type[M]]) -> M:
    """The message on a line.

    Args:
        line: with or without its line end.
        kinds: what may come, `REQUESTS` or `ANSWERS`.

    Raises:
        Unreadable: it is none of these; says its id where that much could be read.
    """
    raw: Any = None
    try:
        raw = json.loads(line.decode("utf-8"), parse_constant=_no_number)
        if not isinstance(raw, dict):
            raise NotThatType("expected an object")
        kind = raw.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise NotThatType(f"kind: expected one of {', '.join(kinds)}; found {str(kind)[:80]!r}")
        return build(kinds[kind], {key: value for key, value in raw.items() if key != "kind"})
    except (ValueError, RecursionError) as error:
        found = "deeper nesting" if isinstance(error, RecursionError) else str(error)
        raise Unreadable("the line is no message", found, _id_of(raw)) from error
    except UsageError as error:
        raise Unreadable(error.what, error.found, _id_of(raw), error.expected) from error


class Unreadable(UsageError):
    """A line is no message of this protocol; `id` as `Refused` gives it."""

    def __init__(self, what: str, found: str, identifier: str, expected: str = "") -> None:
        super().__init__(
            what,
            expected=expected or f"one message of protocol {PROTOCOL} per line, as JSON",
            found=found[:MAX_TEXT],
            cure="see docs/reference/worker-protocol.md",
        )
        self.id = identifier


def shortened(text: str) -> str:
    """A text of at most `MAX_TEXT` characters, the end of a longer one."""
    return text if len(text) <= MAX_TEXT else "..." + text[-MAX_TEXT:]


def _id_of(raw: Any) -> str:
    found = raw.get("id") if isinstance(raw, dict) else None
    return found if isinstance(found, str) and IDENTIFIER.fullmatch(found) else NO_ID


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
