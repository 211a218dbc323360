"""A queue over the graphics cards of this machine, or over places on its processor."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import UsageError
from ..domain.events import Reporter
from .board import Board
from .child import SELFSEG, Child
from .jobs import Job, JobResult

POLL_SECONDS = 0.1


def graphics_cards(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The NVIDIA cards that may be used, as CUDA_VISIBLE_DEVICES names them.

    Asks the driver's program, because torch would occupy memory on the cards.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    words = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


@dataclass(frozen=True)
class LocalLauncher:
    """Runs jobs on this machine, each in a process of its own.

    Args:
        folder: for the logs.
        gpus: the cards, as CUDA_VISIBLE_DEVICES names them; each is used by one job at a time.
            None: the jobs run on the processor.
        slots: jobs at a time; as many as there are cards, or 1 on the processor, otherwise.
        program: what is started with a job's arguments.
    """

    folder: Path
    gpus: tuple[str, ...] = ()
    slots: int | None = None
    program: tuple[str, ...] = SELFSEG

    def submit_all(
        self, jobs: Sequence[Job], reporter: Reporter, should_stop: Callable[[], bool]
    ) -> tuple[JobResult, ...]:
        """See `Launcher`."""
        self._check(jobs)
        board = Board(jobs, self.folder, reporter)
        running: dict[Job, _Place] = {}
        try:
            while board.is_open and not should_stop():
                for job in board.ready:
                    cards = self._free_cards(job, running)
                    if cards is not None:
                        child = self._start(job, cards, board)
                        running[job] = _Place(child, cards)
                        board.started(job, f"GPU {','.join(cards)}" if cards else "CPU")
                time.sleep(POLL_SECONDS)
                board.read_logs()
                for job, place in tuple(running.items()):
                    status = place.child.poll()
                    if status is not None:
                        del running[job]
                        place.child.end()
                        board.ended(job, status)
        finally:
            # All are asked before one is waited for, so that they save side by side.
            for place in running.values():
                place.child.ask_to_stop()
            statuses = {job: place.child.end() for job, place in running.items()}
        for job, status in statuses.items():
            board.ended(job, status)
        return board.close()

    @property
    def _slots(self) -> int:
        return self.slots or max(1, len(self.gpus))

    def _check(self, jobs: Sequence[Job]) -> None:
        most = max((job.gpus for job in jobs), default=0)
        if self.gpus and most > len(self.gpus):
            raise UsageError(
                "a job takes more graphics cards than there are",
                expected=f"at most {len(self.gpus)} (GPU {', '.join(self.gpus)})",
                found=str(most),
                cure="lower --gpus-per-job",
            )

    def _free_cards(self, job: Job, running: Mapping[Job, _Place]) -> tuple[str, ...] | None:
        if len(running) >= self._slots:
            return None
        taken = {card for place in running.values() for card in place.cards}
        free = tuple(card for card in self.gpus if card not in taken)
        wanted = job.gpus if self.gpus else 0
        return free[:wanted] if wanted <= len(free) else None

    def _start(self, job: Job, cards: tuple[str, ...], board: Board) -> Child:
        environment = {}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(cards)
        elif self._slots > 1 and "OMP_NUM_THREADS" not in os.environ:
            # Processes that each take every core hinder each other.
            cores = os.cpu_count() or 1
            environment["OMP_NUM_THREADS"] = str(max(1, cores // self._slots))
        return Child(
            job.arguments, board.clear_log(job), environment=environment, program=self.program
        )


@dataclass(frozen=True)
class _Place:
    child: Child
    cards: tuple[str, ...]
