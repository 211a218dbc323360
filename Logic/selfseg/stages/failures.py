"""One case of many that fails, while the others go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..domain.dataset import CaseFiles
from ..domain.errors import DatasetError, ModelError, SelfsegError
from ..domain.events import CaseFailed, Reporter

CASE_FAULTS = (DatasetError, ModelError, OSError, MemoryError)
"""What is wrong with a case rather than with the machine or the whole: its file is damaged, it
has other channels than the model, it does not fit in memory."""

_NAMED = 20


class CasesFailed(SelfsegError):
    """Some of several cases could not be worked on; the others are done."""


@dataclass(frozen=True)
class Failed:
    """A case that could not be worked on, on its way past the later steps."""

    files: CaseFiles
    error: Exception


@dataclass
class Failures:
    """Collects them, and says at the end what went wrong.

    Args:
        reporter: is told of each as it happens.
        found: by case.
    """

    reporter: Reporter
    found: dict[str, SelfsegError] = field(default_factory=dict)

    def add(self, identifier: str, error: Exception) -> None:
        """Notes a case."""
        known = as_fault(identifier, error)
        self.found[identifier] = known
        self.reporter(
            CaseFailed(
                identifier,
                known.what,
                expected=known.expected,
                found=known.found,
                cure=known.cure,
                path=str(known.path or ""),
            )
        )

    def raise_any(self, case_count: int, cure: str) -> None:
        """Raises what was collected: of a single case its own error.

        Args:
            case_count: of all cases.
            cure: what to do once the failed ones are mended.

        Raises:
            CasesFailed: some of several cases.
            SelfsegError: the only case.
        """
        if not self.found:
            return
        if case_count == 1:
            raise next(iter(self.found.values()))
        raise cases_failed(self.found, case_count, cure)


def cases_failed(found: Mapping[str, SelfsegError], case_count: int, cure: str) -> CasesFailed:
    """The error that names every case that failed, with its cure."""
    lines = [
        f"{name}: {error.what if error.path is None else f'{error.path}: {error.what}'}"
        + (f" (found: {error.found})" if error.found else "")
        for name, error in list(found.items())[:_NAMED]
    ]
    if len(found) > _NAMED:
        lines.append(f"and {len(found) - _NAMED} more")
    return CasesFailed(
        f"{len(found)} of {case_count} cases failed; the others are done",
        expected="files that can be read and used, for every case",
        found="\n    ".join(lines),
        cure=cure,
    )


def as_fault(identifier: str, error: Exception) -> SelfsegError:
    """The error in the form of ours."""
    if isinstance(error, SelfsegError):
        return error
    if isinstance(error, MemoryError):
        return SelfsegError(
            f"case {identifier} does not fit in memory",
            expected="enough free memory for the image and its segmentation",
            found=str(error) or "no more memory",
            cure="close other programs, or give --memory",
        )
    return SelfsegError(
        f"case {identifier} cannot be read or written",
        expected="files that are there and may be used",
        found=f"{type(error).__name__}: {error}",
        cure="check the path and the rights of the file",
    )
