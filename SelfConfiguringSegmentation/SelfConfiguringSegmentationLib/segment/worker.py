"""The module's one warm worker: a process that keeps models in memory and segments on request.

It is started when it is first needed, never with Slicer, and started again after a crash. It
ends with the module, or with Slicer, whatever becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfseg.serve.client import WorkerClient, worker_command
from selfseg.serve.messages import ModelKey
from selfseg.serve.tasks import WorkerTask

from ..jobs import slicer_python
from ..models import Model
from ..paths import logic_folder
from .settings import SegmentationSettings

WorkerCommand = Callable[[], tuple[Sequence[str], Mapping[str, str]]]
"""Gives the command of a worker and its environment; passed in by tests."""

UNLOAD_AFTER = "15m"
"""A worker without work gives the memory of its models back, that of the graphics card too."""


def worker_command_of(python: str, environment: Mapping[str, str]) -> WorkerCommand:
    """A worker in this Python."""
    command = worker_command(python, "--unload-after", UNLOAD_AFTER)
    return lambda: (command, {**environment, "PYTHONPATH": str(logic_folder())})


def slicer_worker_command() -> tuple[Sequence[str], Mapping[str, str]]:
    """A worker in Slicer's own Python, outside the application.

    Raises:
        SelfsegError: this is not a Slicer installation.
    """
    return worker_command_of(*slicer_python())()


class SegmentationWorker:
    """Owns the client of the worker.

    Args:
        command: how to start it.
    """

    def __init__(self, command: WorkerCommand = slicer_worker_command) -> None:
        self._command = command
        self._client: WorkerClient | None = None
        self._open = 0
        self._ahead: WorkerTask | None = None
        self.on_log: Callable[[str], None] = lambda line: None
        """Takes the lines of the worker's log, within `poll`."""

    @property
    def process_id(self) -> int | None:
        """Of the worker; None where none runs."""
        return None if self._client is None else self._client.process_id

    @property
    def busy(self) -> bool:
        """Whether `poll` has something to do."""
        return self._open > 0

    def start(self) -> None:
        """Starts it ahead of the first request.

        Raises:
            SelfsegError: this is not a Slicer installation.
        """
        self._started().start()

    def load_ahead(self, model: Model, settings: SegmentationSettings) -> None:
        """Makes it read a model that was chosen, so that the first result comes sooner.

        What goes wrong is said when the model is used. A model chosen before is not waited for.
        """
        client = self._started()
        if self._ahead is not None and not self._ahead.done:
            client.cancel(self._ahead)
        self._ahead = client.load(model_key(model, settings), on_done=self._count_down())

    def segment(self, model: Model, settings: SegmentationSettings, **request: Any) -> WorkerTask:
        """Asks for a segmentation; the request is that of `WorkerClient.segment`."""
        return self._started().segment(
            model_key(model, settings),
            mirror=settings.mirror,
            step=settings.step,
            structures=settings.structures,
            confidence=True,
            on_done=self._count_down(),
            **request,
        )

    def cancel(self, task: WorkerTask) -> None:
        """Stops a task; go on polling until it is done."""
        if self._client is not None:
            self._client.cancel(task)

    def poll(self) -> None:
        """Hands on what arrived; called by a timer while busy."""
        if self._client is not None:
            self._client.poll()

    def end_now(self) -> None:
        """Ends it without waiting; the next request starts a new one."""
        client, self._client, self._ahead = self._client, None, None
        if client is not None:
            client.end_now()

    def _started(self) -> WorkerClient:
        if self._client is None:
            command, environment = self._command()
            self._client = WorkerClient(
                command,
                environment=environment,
                on_log=lambda line: self.on_log(line),
            )
        return self._client

    def _count_down(self) -> Callable[[WorkerTask], None]:
        self._open += 1

        def done(task: WorkerTask) -> None:
            self._open -= 1

        return done


def model_key(model: Model, settings: SegmentationSettings) -> ModelKey:
    """What the worker keeps a model by."""
    return ModelKey(
        str(model.folder.absolute()),
        folds=settings.folds,
        checkpoint=settings.checkpoint,
        device=settings.device,
    )
