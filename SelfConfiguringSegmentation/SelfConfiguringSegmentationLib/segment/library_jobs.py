"""What changes or checks the library of models, in a child process: `selfseg model ...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ModelError

from ..child_run import ChildRun, EventTaker, LineTaker
from ..jobs import ProcessStarter
from ..model_list import ModelEntry, ModelList


class LibraryJob(ChildRun):
    """One call of `selfseg model`.

    Args:
        words: what follows `model`, the verb first.
        library: its folder.
        start: starts the child process.
        on_event: takes events, as dicts.
        on_log: takes lines for the log.
    """

    def __init__(
        self,
        words: Sequence[str],
        library: Path,
        *,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        self.lines: list[str] = []
        """What it has printed, errors included."""
        self._on_log = on_log
        self.working = False
        """It is another process that works; see `steps.SteppedRun`."""
        super().__init__(
            ["model", *words, "--library", str(library)],
            start=start,
            on_event=on_event,
            on_log=self._take,
        )

    def _take(self, line: str) -> None:
        self.lines.append(line)
        self._on_log(line)


class ImportRun(LibraryJob):
    """Takes a model into the library; `finish` gives its `ModelEntry`.

    Args:
        source: a bundle, a project, or a trained nnU-Net v2 model (folder or zip).
        models: the list of models.
        start: starts the child process.
        replace: a model of the same name and version.
        trust_trainer: takes nnU-Net's standard network for that of a trainer not known.
        on: see `LibraryJob`.
    """

    def __init__(
        self,
        source: Path,
        models: ModelList,
        *,
        start: ProcessStarter,
        replace: bool = False,
        trust_trainer: bool = False,
        **on: Any,
    ) -> None:
        options = ["--replace"] if replace else []
        options += ["--standard-network"] if trust_trainer else []
        self._models = models
        super().__init__(["import", str(source), *options], models.library, start=start, **on)

    def finish(self) -> ModelEntry:
        """The model in the library.

        Raises:
            Cancelled, JobFailed: the library is as it was.
            ModelError: the child did not say what it has taken in.
        """
        super().finish()
        known = {entry.key: entry for entry in self._models.entries()}
        for line in reversed(self.lines):
            if line.strip() in known:
                return known[line.strip()]
        raise ModelError(
            "the imported model is not in the library",
            expected="its name and version, printed by `selfseg model import`",
            found=self.lines[-1] if self.lines else "nothing",
            cure="read the log",
            path=self._models.library,
        )
