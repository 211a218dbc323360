"""Tasks that need each other on a number of GPUs, event by event.

There is no clock and no randomness but the seed's. Scheduling is that of a queue without
priorities: whenever GPUs are free, the first tasks of the list that wait for nothing begin. Tasks
without GPU run at once, on nodes of their own.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Part = tuple[float, float]
"""Seconds that an attempt runs, and those of them that are lost."""


@dataclass(frozen=True)
class Task:
    """Something that takes a while.

    Args:
        name: no two tasks have the same.
        seconds: it takes if nothing fails.
        needs: names of the tasks that must be done before.
        gpus: it holds while it runs.
        saves: goes on where it last saved when it was interrupted; others begin again.
    """

    name: str
    seconds: float
    needs: tuple[str, ...] = ()
    gpus: int = 1
    saves: bool = False


@dataclass(frozen=True)
class Failures:
    """Interruptions that come at any moment with the same probability.

    Args:
        per_hour: of a task that runs.
        saved_every: seconds of work between two checkpoints.
        delay: seconds until an interrupted task is back in the queue.
    """

    per_hour: float = 0.0
    saved_every: float = 60.0
    delay: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """What happened.

    Args:
        makespan: seconds from the start of the first task to the end of the last.
        gpu_seconds: that GPUs were held.
        lost_seconds: of these, done again later.
        failures: how many.
        ends: of every task.
    """

    makespan: float
    gpu_seconds: float
    lost_seconds: float
    failures: int
    ends: Mapping[str, float] = field(default_factory=dict)


def simulate(
    tasks: Sequence[Task], gpus: int, *, failures: Failures | None = None, seed: int = 0
) -> Outcome:
    """Runs every task after those it needs.

    A task's failures depend on the seed and its name alone, so that the same ones come on any
    number of GPUs.

    Raises:
        ValueError: a task needs more GPUs than there are, one that is not there, or they need each
            other in a circle.
    """
    by_name = {task.name: task for task in tasks}
    order = {task.name: i for i, task in enumerate(tasks)}
    missing = {name: set(task.needs) for name, task in by_name.items()}
    followers: dict[str, list[str]] = {name: [] for name in by_name}
    for task in tasks:
        if task.gpus > gpus:
            raise ValueError(f"{task.name} takes {task.gpus} GPUs of {gpus}")
        for name in task.needs:
            if name not in followers:
                raise ValueError(f"{task.name} needs {name}, which is not there")
            followers[name].append(task.name)
    attempts = {t.name: _attempts(t, failures or Failures(), seed) for t in tasks}
    tried = dict.fromkeys(by_name, 0)
    ready = [(order[name], name) for name, needs in missing.items() if not needs]
    heapq.heapify(ready)
    events: list[tuple[float, int, str, bool]] = []  # moment, order, name, it runs
    ends: dict[str, float] = {}
    now, free = 0.0, gpus
    while ready or events:
        waiting = []
        while ready:
            place, name = heapq.heappop(ready)
            task = by_name[name]
            if task.gpus > free:
                waiting.append((place, name))
                if free == 0 and all(by_name[n].gpus for _, n in ready):
                    break
                continue
            free -= task.gpus
            seconds, _ = attempts[name][tried[name]]
            tried[name] += 1
            heapq.heappush(events, (now + seconds, place, name, True))
        for entry in waiting:
            heapq.heappush(ready, entry)
        now, place, name, ran = heapq.heappop(events)
        if not ran:  # back in the queue
            heapq.heappush(ready, (place, name))
            continue
        free += by_name[name].gpus
        if tried[name] < len(attempts[name]):
            delay = (failures or Failures()).delay
            heapq.heappush(events, (now + delay, place, name, False))
            continue
        ends[name] = now
        for other in followers[name]:
            missing[other].discard(name)
            if not missing[other]:
                heapq.heappush(ready, (order[other], other))
    if len(ends) < len(tasks):
        raise ValueError("tasks need each other in a circle")
    used = [(by_name[name].gpus, part) for name, parts in attempts.items() for part in parts]
    return Outcome(
        makespan=max(ends.values(), default=0.0),
        gpu_seconds=sum(count * seconds for count, (seconds, _) in used),
        lost_seconds=sum(count * lost for count, (_, lost) in used),
        failures=sum(len(parts) - 1 for parts in attempts.values()),
        ends=ends,
    )


def critical_path(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks that would take longest one after the other, however many GPUs there were."""
    by_name = {task.name: task for task in tasks}
    longest: dict[str, float] = {}
    before: dict[str, str | None] = {}
    left = list(tasks)
    while left:
        possible = [task for task in left if all(name in longest for name in task.needs)]
        if not possible:
            raise ValueError("tasks need each other in a circle, or one that is not there")
        for task in possible:
            last = max(task.needs, key=lambda name: longest[name], default=None)
            before[task.name] = last
            longest[task.name] = task.seconds + (longest[last] if last is not None else 0.0)
        left = [task for task in left if task.name not in longest]
    step: str | None = max(longest, key=lambda name: longest[name], default=None)
    path = []
    while step is not None:
        path.append(by_name[step])
        step = before[step]
    return tuple(reversed(path))


def _attempts(task: Task, failures: Failures, seed: int) -> tuple[Part, ...]:
    """How long each attempt runs; the last one ends the task."""
    if failures.per_hour <= 0:
        return ((task.seconds, 0.0),)
    chance = random.Random(f"{seed} {task.name}")  # noqa: S311 - a simulation
    parts = []
    left = task.seconds
    while True:
        until = chance.expovariate(failures.per_hour / 3600)
        if until >= left:
            parts.append((left, 0.0))
            return tuple(parts)
        saved = until // failures.saved_every * failures.saved_every if task.saves else 0.0
        parts.append((until, until - saved))
        left -= saved
