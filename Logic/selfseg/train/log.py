"""The log of a training: one event per line, appended as the training goes on."""

from __future__ import annotations

import json
from pathlib import Path

from ..domain.errors import ProjectError
from ..domain.events import Event


class TrainingLog:
    """log.jsonl. `position` is the length in bytes up to the last whole line written.

    Args:
        path: the file; made where it is missing.
        position: bytes to keep of an existing file: what a run wrote after its last checkpoint
            is written again when it goes on from there.

    Raises:
        ProjectError: the file cannot be written.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            with path.open("r+b") as stream:
                stream.truncate(position)
        except OSError as error:
            raise self._not_written(error) from error
        self.position = position

    def write(self, event: Event) -> None:
        """Appends one event.

        Raises:
            ProjectError: the file cannot be written.
        """
        line = json.dumps(event.as_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        data = line.encode()
        try:
            with self.path.open("ab") as stream:
                stream.write(data)
        except OSError as error:
            raise self._not_written(error) from error
        self.position += len(data)

    def _not_written(self, error: OSError) -> ProjectError:
        return ProjectError(
            "the training log cannot be written",
            expected="a folder with the right to write and enough free space",
            found=error.strerror or str(error),
            cure="free some space, or choose another project folder",
            path=self.path,
        )
