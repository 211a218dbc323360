"""Where jobs can run: an explicit list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .jobs import Launcher
from .local import LocalLauncher, graphics_cards
from .ray_cluster import RayLauncher
from .slurm import SlurmLauncher


@dataclass(frozen=True)
class Place:
    """What a launcher may want to know.

    Args:
        folder: for logs, seen by every node.
        use_gpus: False where the jobs run on the processor.
        slots: jobs at a time on this machine; None: by its graphics cards.
        slurm: options of sbatch.
        wait: for the jobs of a cluster to end.
        ray_address: of a Ray cluster.
        cpus: processor cores for one Ray task.
    """

    folder: Path
    use_gpus: bool = True
    slots: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)
    wait: bool = True
    ray_address: str | None = None
    cpus: int = 1


def _local(place: Place) -> Launcher:
    cards = graphics_cards() if place.use_gpus else ()
    return LocalLauncher(place.folder, cards, place.slots)


def _slurm(place: Place) -> Launcher:
    return SlurmLauncher(place.folder, place.slurm, place.wait)


def _ray(place: Place) -> Launcher:
    return RayLauncher(place.folder, place.ray_address, place.cpus)


LAUNCHERS: Mapping[str, Callable[[Place], Launcher]] = {
    "local": _local,
    "slurm": _slurm,
    "ray": _ray,
}
