"""Jobs as tasks of a Ray cluster, or of a Ray of our own on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..domain.errors import SelfsegError, UsageError
from ..domain.events import Notice, Reporter
from .board import Board
from .child import SELFSEG, STOP_SECONDS, Child
from .jobs import Job, JobResult

POLL_SECONDS = 0.5

RETRIES = 10
"""As often may a node be lost under a job; the job goes on elsewhere where it was."""


@dataclass(frozen=True)
class RayLauncher:
    """Runs jobs as Ray tasks on nodes that see the project folder under the same path.

    Args:
        folder: for the logs.
        address: of a cluster; None: the one that RAY_ADDRESS names, else a Ray that is
            started on this machine and ended with the jobs.
        cpus: processor cores for one job.
    """

    folder: Path
    address: str | None = None
    cpus: int = 1

    def submit_all(
        self, jobs: Sequence[Job], reporter: Reporter, should_stop: Callable[[], bool]
    ) -> tuple[JobResult, ...]:
        """See `Launcher`."""
        ray = _ray()
        board = Board(jobs, self.folder, reporter)
        self._connect(ray)
        try:
            self._warn(ray, jobs, reporter)
            return self._run(ray, board, should_stop)
        finally:
            ray.shutdown()

    def _run(
        self, ray: Any, board: Board, should_stop: Callable[[], bool]
    ) -> tuple[JobResult, ...]:
        task = ray.remote(run_on_node)
        submitted: dict[Job, Any] = {}
        try:
            while board.is_open and not should_stop():
                for job in board.ready:
                    if job not in submitted:
                        submitted[job] = task.options(
                            num_cpus=self.cpus,
                            num_gpus=job.gpus,
                            max_retries=RETRIES,
                            name=job.name,
                        ).remote(job.arguments, str(board.clear_log(job)))
                time.sleep(POLL_SECONDS)
                for job in submitted:
                    # The log appears when the task has found a node.
                    if not board.is_running(job) and board.log(job).exists():
                        board.started(job, "Ray")
                board.read_logs()
                for job, reference in tuple(submitted.items()):
                    if ray.wait([reference], timeout=0)[0]:
                        del submitted[job]
                        self._settle(ray, job, reference, board)
        finally:
            for reference in submitted.values():
                ray.cancel(reference)
            if submitted:
                every = list(submitted.values())
                ray.wait(every, num_returns=len(every), timeout=STOP_SECONDS)
        for job in submitted:
            board.stopped(job)
        return board.close()

    def _settle(self, ray: Any, job: Job, reference: Any, board: Board) -> None:
        try:
            status = ray.get(reference)
        except ray.exceptions.RayError as error:
            board.failed(job, f"Ray could not run it: {error}")
        else:
            board.ended(job, status)

    def _connect(self, ray: Any) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if self.address is None and "RAY_ADDRESS" not in os.environ:
            options |= {"address": "local", "include_dashboard": False}
        else:
            options |= {"address": self.address}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SelfsegError(
                "Ray cannot be reached",
                expected="a Ray cluster at " + str(self.address or os.environ.get("RAY_ADDRESS")),
                found=str(error),
                cure="check --ray-address, or leave it out to start Ray on this machine",
            ) from error

    def _warn(self, ray: Any, jobs: Sequence[Job], reporter: Reporter) -> None:
        there = ray.cluster_resources()
        for what, most in (("GPU", max((j.gpus for j in jobs), default=0)), ("CPU", self.cpus)):
            if most > there.get(what, 0):
                text = f"a job takes {most} {what}, and the cluster has {there.get(what, 0):g} "
                reporter(Notice(f"{text}now: it waits until there are more", level="warning"))


def run_on_node(arguments: Sequence[str], log: str, program: Sequence[str] = SELFSEG[1:]) -> int:
    """Runs one job where Ray puts it.

    Args:
        arguments: of selfseg.
        log: in a folder that every node sees.
        program: what the node's own Python is started with.

    Returns:
        The exit status.
    """
    import sys

    child = Child(arguments, Path(log), program=(sys.executable, *program))
    try:
        return child.wait()
    finally:
        child.end()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "Ray needs a package that is not installed",
            expected="ray",
            found=str(error),
            cure="pip install 'selfseg[ray]'",
        ) from error
    return ray
