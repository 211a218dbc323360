"""A request as its client sees it: where it is, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..domain import errors
from ..domain.errors import Cancelled, SelfsegError
from .messages import Answer, CancelledMessage, Failed, Finished, Refused, Request, StatusReport

ERRORS: Mapping[str, type[SelfsegError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.DatasetError,
        errors.ImageError,
        errors.PlanError,
        errors.ProjectError,
        errors.TrainingError,
        errors.ModelError,
        errors.FileFormatError,
    )
}
"""What a worker's error becomes here; any other name becomes a `WorkerFailed`."""


class WorkerFailed(SelfsegError):
    """The worker ended, did not answer, or could not do it for a reason of its own."""


class WorkerTask:
    """A request on its way.

    Args:
        request: what was asked.
        on_event: takes events of `domain.events` as dicts, within `WorkerClient.poll`.
        on_done: is called once it is answered, within `WorkerClient.poll`.
    """

    def __init__(
        self,
        request: Request,
        on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
        on_done: Callable[[WorkerTask], None] = lambda task: None,
    ) -> None:
        self.request = request
        self.on_event = on_event
        self.on_done = on_done
        self.sent = False
        self.computing_since: float | None = None
        self.cancelled_at: float | None = None
        self.restarts = 0
        self.answer: Finished | StatusReport | None = None
        self.error: SelfsegError | None = None

    @property
    def id(self) -> str:
        """Of the request."""
        return self.request.id

    @property
    def done(self) -> bool:
        """Whether it was answered, well or not."""
        return self.answer is not None or self.error is not None

    def result(self) -> Finished | StatusReport:
        """What came of it.

        Raises:
            Cancelled: it was cancelled.
            SelfsegError: it failed; the worker's own words.
            RuntimeError: it is not done.
        """
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise RuntimeError("the task is not done: poll the client until `done`")
        return self.answer

    def take(self, answer: Answer) -> None:
        """Notes a final answer."""
        if isinstance(answer, Finished | StatusReport):
            self.answer = answer
        elif isinstance(answer, CancelledMessage):
            self.error = Cancelled("stopped as you asked")
        elif isinstance(answer, Failed):
            self.error = ERRORS.get(answer.error, WorkerFailed)(
                answer.what,
                expected=answer.expected,
                found=answer.found,
                cure=answer.cure,
                path=answer.path,
            )
        elif isinstance(answer, Refused):
            self.error = WorkerFailed(
                answer.what, expected=answer.expected, found=answer.found, cure=answer.cure
            )
