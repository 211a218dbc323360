"""Which jobs wait, run and are over: the same book-keeping for every launcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.events import Progress, Reporter, StageFinished, StageStarted
from .child import describe_status, was_stopped
from .events import JobEvent, JobFinished, JobStarted
from .jobs import Job, JobResult, JobState, check_jobs
from .logs import LogReader, end_of_log, log_path

STAGE = "launch"


@dataclass(frozen=True)
class _Running:
    start: float
    log: LogReader


class Board:
    """The state of every job, told to the reporter as it changes.

    Args:
        jobs: all of them.
        folder: where their logs are.
        reporter: is told.
        clock: seconds.

    Raises:
        UsageError: see `check_jobs`.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        reporter: Reporter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_jobs(jobs)
        self._jobs = tuple(jobs)
        self._folder = folder
        self._reporter = reporter
        self._clock = clock
        self._start = clock()
        self._running: dict[str, _Running] = {}
        self._results: dict[str, JobResult] = {}
        reporter(StageStarted(STAGE, total=len(jobs), unit="job"))

    @property
    def is_open(self) -> bool:
        """Whether any job waits or runs."""
        return len(self._results) < len(self._jobs)

    @property
    def ready(self) -> tuple[Job, ...]:
        """The jobs that wait for nothing but a free place."""
        return tuple(
            job
            for job in self._jobs
            if job.name not in self._running
            and job.name not in self._results
            and all(self._is_done(name) for name in job.needs)
        )

    def is_over(self, job: Job) -> bool:
        """Whether the job has ended or will never begin."""
        return job.name in self._results

    def is_running(self, job: Job) -> bool:
        """Whether the job has begun and not ended."""
        return job.name in self._running

    def log(self, job: Job) -> Path:
        """Where the job prints to."""
        return log_path(self._folder, job.name)

    def clear_log(self, job: Job) -> Path:
        """Takes away what an earlier launch has left, and says where the job prints to."""
        path = self.log(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def started(self, job: Job, where: str = "") -> None:
        """The job runs."""
        self._running[job.name] = _Running(self._clock(), LogReader(self.log(job)))
        self._reporter(JobStarted(job.name, where, str(self.log(job))))

    def read_logs(self) -> None:
        """Reports what the running jobs have told since the last call."""
        for name, running in tuple(self._running.items()):
            for event in running.log.events():
                self._reporter(JobEvent(name, event))

    def ended(self, job: Job, status: int) -> None:
        """The job's process ended with that exit status, maybe before anybody saw it begin."""
        if not self.is_running(job):
            self.started(job)
        if status == 0:
            self._end(job, "done")
        elif was_stopped(status):
            self._end(job, "stopped")
        else:
            self.failed(job, describe_status(status))

    def failed(self, job: Job, why: str) -> None:
        """The job ended without being done; those that need it never begin."""
        end = end_of_log(self.log(job))
        self._end(job, "failed", f"{why}\n{end}" if end else why)

    def stopped(self, job: Job) -> None:
        """The job was ended by the user."""
        self._end(job, "stopped")

    def submitted(self, job: Job) -> None:
        """Nobody will wait for the job."""
        self._end(job, "submitted")

    def close(self) -> tuple[JobResult, ...]:
        """The results, in the order of the jobs; whatever is not over was stopped."""
        seconds = self._clock() - self._start
        results = tuple(
            self._results.get(job.name, JobResult(job, "stopped", 0.0, self.log(job)))
            for job in self._jobs
        )
        states = [result.state for result in results]
        kinds = sorted(set(states), key=states.index)
        detail = ", ".join(f"{states.count(kind)} {kind}" for kind in kinds)
        self._reporter(StageFinished(STAGE, seconds=seconds, detail=detail))
        return results

    def _is_done(self, name: str) -> bool:
        return name in self._results and self._results[name].state == "done"

    def _end(self, job: Job, state: JobState, message: str = "") -> None:
        running = self._running.pop(job.name, None)
        seconds = 0.0 if running is None else self._clock() - running.start
        # Written down first: a reporter may raise to stop us.
        self._results[job.name] = JobResult(job, state, seconds, self.log(job), message)
        if running is not None:
            for event in running.log.events():
                self._reporter(JobEvent(job.name, event))
        self._reporter(
            JobFinished(job.name, state, seconds, str(self.log(job)), message, job.command)
        )
        self._reporter(Progress(STAGE, len(self._results), len(self._jobs)))
        if state in ("failed", "skipped", "stopped"):
            for other in self._jobs:
                if job.name in other.needs and not self.is_over(other):
                    following: JobState = "stopped" if state == "stopped" else "skipped"
                    self._end(other, following, f"it needs {job.name}, which was not done")
