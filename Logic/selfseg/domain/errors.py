"""The one exception tree of selfseg.

Every error says what was expected, what was found and what to do about it, so that the
command line, Slicer and notebooks can show the same three lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self


class SelfsegError(Exception):
    """Something went wrong that the user can understand and mend.

    Args:
        what: one sentence that says what is wrong.
        expected: what would have been right.
        found: what was there instead.
        cure: what the user can do.
        path: the file or folder concerned.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        expected: str = "",
        found: str = "",
        cure: str = "",
        path: Path | str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.cure = cure
        self.path = Path(path) if path is not None else None
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.what if self.path is None else f"{self.path}: {self.what}"]
        for title, text in (
            ("expected", self.expected),
            ("found", self.found),
            ("what to do", self.cure),
        ):
            if text:
                lines.append(f"  {title}: {text}")
        return "\n".join(lines)

    def retold(self, *, what: str | None = None, path: Path | None = None) -> Self:
        """The same error in other words, or of another place; to be raised from this one.

        Args:
            what: in place of its own.
            path: in place of its own.
        """
        return type(self)(
            self.what if what is None else what,
            expected=self.expected,
            found=self.found,
            cure=self.cure,
            path=self.path if path is None else path,
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default reduction, and worker processes
        # hand their errors to the parent this way.
        return (_rebuild, (type(self), self.what, self.expected, self.found, self.cure, self.path))


def _rebuild(
    kind: type[SelfsegError], what: str, expected: str, found: str, cure: str, path: Path | None
) -> SelfsegError:
    return kind(what, expected=expected, found=found, cure=cure, path=path)


class UsageError(SelfsegError):
    """The command or call cannot mean anything: wrong option, wrong combination."""

    exit_code = 2


class DatasetError(SelfsegError):
    """A data set or one of its files is not what the format asks for."""


class ImageError(DatasetError):
    """An image or label map cannot be read, written or used."""


class PlanError(SelfsegError):
    """No plan can be made from this fingerprint, or a plan file is not valid."""


class ProjectError(SelfsegError):
    """A project folder is missing something, or belongs to something else."""


class TrainingError(SelfsegError):
    """Training cannot start or cannot go on."""


class ModelError(SelfsegError):
    """A model cannot be read, or does not fit what it is asked to do."""


class FileFormatError(SelfsegError):
    """A JSON or array file of ours is damaged or of an unknown version."""


class Cancelled(SelfsegError):
    """The user stopped the work; what is done is kept."""

    exit_code = 130
