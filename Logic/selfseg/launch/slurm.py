"""Jobs on a Slurm cluster, submitted with submitit.

Every job is submitted at once with its dependencies, so that the cluster goes on when nobody
watches any more. A job that the cluster interrupts (its time is over, its node is wanted) saves,
is put back into the queue, and goes on where it was.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..domain.errors import SelfsegError, UsageError
from ..domain.events import Notice, Reporter
from .board import Board
from .child import STOP_SECONDS
from .jobs import Job, JobResult
from .node_task import SAVING_SECONDS, NodeTask, read_status

POLL_SECONDS = 5.0

LOG_SECONDS = 0.5

MINUTES = 24 * 60
"""Of one job, where `time` is not given; it is put back into the queue when they are over."""

INTERRUPTIONS = 1000
"""As often may a job run out of time and be put back into the queue."""

RUNNING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "SIGNALING"})
WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT",
     "RESIZING", "RESV_DEL_HOLD", "REVOKED", "STOPPED"}
)  # fmt: skip
"""Slurm's job states, from its manual of squeue; all others are ends."""


@dataclass(frozen=True)
class SlurmLauncher:
    """Runs jobs on a Slurm cluster whose nodes see the project folder under the same path.

    Args:
        folder: for logs and for submitit's files.
        options: of sbatch, without the dashes: partition, time (minutes, hours:minutes:seconds
            or days-hours:minutes:seconds), mem, cpus-per-task, account, qos, constraint, ...
        wait: for the jobs to end; otherwise they are submitted only.
        poll_seconds: between two questions to the cluster.
    """

    folder: Path
    options: Mapping[str, str] = field(default_factory=dict)
    wait: bool = True
    poll_seconds: float = POLL_SECONDS

    def submit_all(
        self, jobs: Sequence[Job], reporter: Reporter, should_stop: Callable[[], bool]
    ) -> tuple[JobResult, ...]:
        """See `Launcher`."""
        parameters = sbatch_parameters(self.options)
        board = Board(jobs, self.folder, reporter)
        numbers: dict[str, str] = {}
        finished = False
        try:
            for job in _in_order(jobs):
                number = self._submit(job, numbers, parameters, board)
                numbers[job.name] = number
                reporter(Notice(f"{job.name} is job {number} of the cluster"))
            if self.wait:
                self._watch(jobs, numbers, board, should_stop)
            else:
                for job in jobs:
                    board.submitted(job)
            finished = not board.is_open
        finally:
            if not finished:
                _cancel(tuple(numbers.values()))
        return board.close()

    def _submit(
        self, job: Job, numbers: Mapping[str, str], parameters: Mapping[str, Any], board: Board
    ) -> str:
        task = NodeTask(job.arguments, board.clear_log(job))
        task.status_file.unlink(missing_ok=True)
        executor = _executor(self.folder / "submitit")
        extra = {
            **parameters["additional_parameters"],
            "requeue": True,
        }
        if job.gpus:
            extra.setdefault("gpus-per-node", job.gpus)
        if job.needs:
            extra["dependency"] = "afterok:" + ":".join(numbers[name] for name in job.needs)
            extra["kill-on-invalid-dep"] = "yes"
        name = re.sub(r"\W+", "_", job.name)
        executor.update_parameters(
            **{**parameters, "job_name": name, "additional_parameters": extra}
        )
        try:
            return str(executor.submit(task).job_id)
        except Exception as error:  # submitit raises sbatch's refusals as its own errors
            raise SelfsegError(
                f"the cluster refuses the job {job.name}",
                expected="options that sbatch accepts",
                found=str(error).strip(),
                cure="change the options given with --slurm (see `sinfo` and `man sbatch`)",
            ) from error

    def _watch(
        self,
        jobs: Sequence[Job],
        numbers: Mapping[str, str],
        board: Board,
        should_stop: Callable[[], bool],
    ) -> None:
        over_before: frozenset[str] = frozenset()
        asked = float("-inf")
        while board.is_open and not should_stop():
            board.read_logs()
            if time.monotonic() - asked < self.poll_seconds:
                time.sleep(min(LOG_SECONDS, self.poll_seconds))
                continue
            states, asked = queue_states(), time.monotonic()
            if states is None:  # the cluster does not answer now
                continue
            over = set()
            for job in jobs:
                number = numbers[job.name]
                state = states.get(number, "gone")
                if board.is_over(job) or state in WAITING:
                    continue
                if state in RUNNING:
                    if not board.is_running(job):
                        board.started(job, f"job {number}")
                elif number not in over_before:
                    # A job that is put back into the queue looks ended for a moment.
                    over.add(number)
                else:
                    self._settle(job, state, board)
            over_before = frozenset(over)

    def _settle(self, job: Job, state: str, board: Board) -> None:
        status = read_status(board.log(job))
        if state == "COMPLETED":
            board.ended(job, 0)
        elif status is not None and (status != 0 or state == "gone"):
            board.ended(job, status)
        else:
            board.failed(job, f"Slurm says {state}")


def sbatch_parameters(options: Mapping[str, str]) -> dict[str, Any]:
    """What submitit's executor wants to know, from options of sbatch.

    Raises:
        UsageError: an option that sbatch cannot have, or one that is ours.
    """
    ours = ("dependency", "requeue", "no-requeue", "output", "error", "array", "job-name", "signal")
    extra: dict[str, Any] = {}
    minutes = MINUTES
    for key, value in options.items():
        name = key.replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]+", name) or name in ours or "\n" in value:
            raise UsageError(
                f"--slurm {key}={value} cannot be passed on",
                expected="a long option of sbatch without dashes, as partition=gpu or mem=32G",
                found=key,
                cure=f"leave it out; {', '.join(ours)} are set for you",
            )
        if name == "time":
            minutes = _minutes(value)
        else:
            extra[name] = value or True
    # srun, which submitit starts the task with, does not take this over from sbatch.
    cores = extra.get("cpus-per-task")
    return {
        "time": minutes,
        "signal_delay_s": int(SAVING_SECONDS),
        "srun_args": [f"--cpus-per-task={cores}"] if cores else None,
        "additional_parameters": extra,
    }


def queue_states() -> dict[str, str] | None:
    """The state of each of our jobs by its number, recently ended ones included.

    From squeue and not from the accounts (sacct), which many small clusters do not keep.

    Returns:
        None if the cluster does not answer.
    """
    words = ["squeue", "--me", "--states=all", "--noheader", "--format=%A %T"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    pairs = (line.split() for line in done.stdout.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _in_order(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Each job after those it needs; sbatch asks for their numbers."""
    ordered: list[Job] = []
    while len(ordered) < len(jobs):
        known = {job.name for job in ordered}
        ordered += [j for j in jobs if j.name not in known and known.issuperset(j.needs)]
    return tuple(ordered)


def _executor(folder: Path) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "Slurm needs a package that is not installed",
            expected="submitit",
            found=str(error),
            cure="pip install 'selfseg[slurm]'",
        ) from error
    try:
        return submitit.SlurmExecutor(folder=folder, max_num_timeout=INTERRUPTIONS)
    except RuntimeError as error:
        raise SelfsegError(
            "there is no Slurm here",
            expected="the commands srun and sbatch of a Slurm cluster",
            found=str(error),
            cure="launch from a node of the cluster, or use --on local",
        ) from error


def _minutes(text: str) -> int:
    """Slurm's forms of a time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S; rounded up.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if found is None:
        raise UsageError(
            f"--slurm time={text} is no time of Slurm's",
            expected="minutes, hours:minutes:seconds or days-hours:minutes:seconds",
            found=text,
            cure="for example --slurm time=12:00:00",
        )
    days, *rest = (None if part is None else int(part) for part in found.groups())
    given = [part for part in rest if part is not None]
    if days is not None:
        hours, minutes, seconds = (*given, 0, 0)[:3]
    elif len(given) == 3:
        hours, minutes, seconds = given
    else:
        hours, (minutes, seconds) = 0, (*given, 0)[:2]
    return max(1, -(-((days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds) // 60))


def _cancel(numbers: Sequence[str]) -> None:
    """Ends these jobs, and waits until those that run have saved."""
    if not numbers:
        return
    subprocess.run(["scancel", *numbers], capture_output=True, check=False, timeout=60)
    end = time.monotonic() + STOP_SECONDS
    while time.monotonic() < end:
        states = queue_states()
        if states is not None and all(
            states.get(number, "gone") not in RUNNING | WAITING for number in numbers
        ):
            return
        time.sleep(LOG_SECONDS)
