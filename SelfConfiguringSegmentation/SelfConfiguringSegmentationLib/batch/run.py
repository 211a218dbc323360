"""A folder of scans through a model, in a child process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..child_run import ChildRun, EventTaker, LineTaker
from ..jobs import JobFailed, ProcessStarter

VOLUMES_FILE = "volumes.csv"


@dataclass(frozen=True)
class BatchSettings:
    """How to segment.

    Args:
        device: where to compute.
        mirror: averages over mirrored images: better, and up to eight times slower.
        structures: names of those to find; all otherwise.
        go_on: leaves cases alone that an earlier run with the same choices has finished.
    """

    device: str = "auto"
    mirror: bool = True
    structures: tuple[str, ...] = ()
    go_on: bool = True


@dataclass(frozen=True)
class BatchResult:
    """What came of it.

    Args:
        folder: of the segmentations; Review opens it.
        volumes: the table.
        finished: cases that were segmented now, in their order.
        failed: why others were not, by case.
    """

    folder: Path
    volumes: Path
    finished: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)


class BatchRun(ChildRun):
    """`selfseg predict` on a folder.

    Args:
        inputs: folders and files.
        model: a path, or the name of a model in the library.
        output: folder of the segmentations.
        start: starts the child process.
        settings: how.
        library: folder of the library, where it is not the user's.
        on_event: takes events of the child.
        on_log: takes its other lines.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        model: str | Path,
        output: Path,
        *,
        start: ProcessStarter,
        settings: BatchSettings | None = None,
        library: Path | None = None,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        settings = settings or BatchSettings()
        self._output, self._on_event = Path(output), on_event
        self._finished: list[str] = []
        self._failed: dict[str, str] = {}
        self._through = False
        arguments = ["predict", "-m", str(model), "-o", str(output)]
        arguments += ["--device", settings.device, "--tta" if settings.mirror else "--no-tta"]
        if settings.structures:
            arguments += ["--structures", ",".join(settings.structures)]
        if settings.go_on:
            arguments.append("--continue")
        if library is not None:
            arguments += ["--library", str(library)]
        arguments += ["-i", *map(str, inputs)]
        super().__init__(arguments, start=start, on_event=self._take, on_log=on_log)

    def finish(self) -> BatchResult:
        """What was made; failed cases are in it, as long as others could be worked on.

        Raises:
            Cancelled: it was cancelled; finished cases stay, and the next run goes on.
            JobFailed: nothing could be done.
        """
        try:
            super().finish()
        except JobFailed:
            if not (self._through and self._failed):
                raise
        return BatchResult(
            self._output, self._output / VOLUMES_FILE, tuple(self._finished), dict(self._failed)
        )

    def _take(self, event: dict[str, Any]) -> None:
        kind, name = event.get("event"), str(event.get("identifier", ""))
        if kind == "case_finished":
            self._finished.append(name)
        elif kind == "case_failed":
            self._failed[name] = reason_of(event)
        elif kind == "stage_finished" and event.get("stage") == "predict":
            self._through = True
        self._on_event(event)


def reason_of(event: dict[str, Any]) -> str:
    """What a case failed of, and the cure."""
    found, cure = event.get("found") or "", event.get("cure") or ""
    text = str(event.get("what", ""))
    if found:
        text += f" ({found})"
    return f"{text}: {cure}" if cure else text


def start_batch(
    folder: str | Path | Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    start: ProcessStarter,
    *,
    settings: BatchSettings | None = None,
    library: Path | None = None,
    onEvent: EventTaker = lambda event: None,
    onLog: LineTaker = lambda line: None,
) -> BatchRun:
    """What the module's logic calls."""
    inputs = [folder] if isinstance(folder, str | Path) else folder
    return BatchRun(
        [Path(part) for part in inputs],
        model,
        Path(output),
        start=start,
        settings=settings,
        library=library,
        on_event=onEvent,
        on_log=onLog,
    )
