"""Starting the processes of one training on this machine, with torchrun's own launcher.

Rank 0 has this process's output for its own. What the other ranks write is kept, and shown
where one of them fails.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..domain.errors import Cancelled, SelfsegError, TrainingError
from .ranks import OtherRankLost

SAVING_SECONDS = 120
"""Ranks that were told to stop may take so long to finish their step and to save."""

SHOWN_LINES = 20
"""Of the output of a rank that failed."""


def run_ranks(
    world_size: int,
    arguments: Sequence[str],
    *,
    command: Sequence[str] = (sys.executable, "-m", "selfseg"),
) -> None:
    """Runs the command in `world_size` processes that train together, and waits for them.

    SIGINT and SIGTERM are passed on to every process; they finish their step and save. When
    one process fails, the others are ended. Call it from the main thread.

    Args:
        world_size: number of processes, one per graphics card.
        arguments: the command line of each, without `--gpus`.
        command: what is started.

    Raises:
        Cancelled: it was stopped.
        TrainingError: a process failed or was killed.
    """
    # By this name, because the option is younger than the PyTorch we ask for.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING_SECONDS))
    with tempfile.TemporaryDirectory(prefix="selfseg-ranks-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=world_size,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            run_id="selfseg",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(
                folder, redirects=dict.fromkeys(range(1, world_size), Std.ALL)
            ),
        )
        with _own_signals(), _without_launcher_log():
            try:
                elastic_launch(config, command[0])(*command[1:], *arguments)
            except SignalException as stop:
                raise _stopped() from stop
            except ChildFailedError as error:
                raise _explained(error.failures, Path(folder)) from error


def _explained(failures: Mapping[int, ProcessFailure], folder: Path) -> SelfsegError:
    """What went wrong first: a rank that was ended, or that lost another one, is not to blame."""
    status = {rank: failure.exitcode for rank, failure in sorted(failures.items())}
    # With SIGTERM the launcher itself ends the others; one whose connection breaks may abort.
    killed = [rank for rank, code in status.items() if code < 0 and code != -signal.SIGTERM]
    killed.sort(key=lambda rank: status[rank] == -signal.SIGABRT)
    consequences = (Cancelled.exit_code, OtherRankLost.exit_code)
    failed = [rank for rank, code in status.items() if code > 0 and code not in consequences]
    if killed:
        return TrainingError(
            f"process {killed[0]} of this training was killed",
            expected="all processes to live until the training is over",
            found=f"signal {failures[killed[0]].signal_name()}",
            cure="if memory was full, use fewer processes or plan for less with `selfseg plan "
            "--memory GB`; the same command goes on from the last checkpoint",
        )
    if failed:
        written = "its message above" if failed[0] == 0 else _last_lines(folder, failed[0])
        return TrainingError(
            f"process {failed[0]} of this training failed",
            expected="all processes to end well",
            found=written or f"exit status {status[failed[0]]} without a message",
            cure="mend what it says; the same command goes on from the last checkpoint",
        )
    if Cancelled.exit_code in status.values():
        return _stopped()
    return TrainingError(
        "the processes of this training lost each other",
        expected="all processes to live until the training is over",
        found=f"exit status {status}",
        cure="give the same command again; it goes on from the last checkpoint",
    )


def _stopped() -> Cancelled:
    return Cancelled(
        "training was stopped", cure="run the same command again, and it goes on from there"
    )


def _last_lines(folder: Path, rank: int) -> str:
    texts = [
        path.read_text("utf-8", "replace") for path in folder.glob(f"*/attempt_*/{rank}/stderr.log")
    ]
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-SHOWN_LINES:])


@contextmanager
def _own_signals() -> Iterator[None]:
    """Gives the signals back that the launcher takes for itself."""
    kinds = [signal.SIGINT, signal.SIGTERM]
    kinds += [kind for name in ("SIGHUP", "SIGQUIT") if (kind := getattr(signal, name, None))]
    former = {kind: signal.getsignal(kind) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)


@contextmanager
def _without_launcher_log() -> Iterator[None]:
    """Keeps the launcher's log, which repeats in its own words what we say, off the screen."""
    former = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(former)
