"""What a reviewer decided about one segmentation, and how many decided what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..domain.errors import UsageError

Verdict = Literal["approved", "edited", "rejected"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MANY_CORRECTED = 0.30
"""From this share of corrected cases on it is worth training again; our choice."""


@dataclass(frozen=True)
class Decision:
    """One row of the log.

    Args:
        case: its identifier.
        verdict: "approved" as it was predicted, "edited" and then approved, or "rejected".
        reviewer: who.
        time: when, in ISO 8601 with time zone (UTC).
        comment: why, in the reviewer's words.
        sha256_before: of the predicted segmentation's file.
        sha256_after: of the reviewed segmentation's file; None where it was rejected.
        file: the reviewed segmentation, relative to the reviewed folder, with forward slashes.
        changes: Dice with the prediction of each structure that was changed, by name.
        software: name and version of what wrote the row.
        number: of the row in the log; None before it is written.

    Raises:
        UsageError: no case, no reviewer, or no such verdict.
    """

    case: str
    verdict: Verdict
    reviewer: str
    time: str
    comment: str = ""
    sha256_before: str = ""
    sha256_after: str | None = None
    file: str | None = None
    changes: Mapping[str, float] = field(default_factory=dict)
    software: str = ""
    number: int | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS or not self.case or not self.reviewer.strip():
            raise UsageError(
                "this is no decision",
                expected=f"a case, a reviewer, and one of {', '.join(VERDICTS)}",
                found=f"{self.case!r}, {self.reviewer!r}, {self.verdict!r}",
                cure="enter your name as the reviewer",
            )


@dataclass(frozen=True)
class Tally:
    """How many cases stand how. A case counts once, with the last decision about it."""

    cases: int = 0
    approved: int = 0
    edited: int = 0
    rejected: int = 0

    @property
    def decided(self) -> int:
        """Cases with a decision."""
        return self.approved + self.edited + self.rejected

    @property
    def open(self) -> int:
        """Cases without one."""
        return self.cases - self.decided

    @property
    def corrected_share(self) -> float | None:
        """Edited cases as a share of those decided; None before the first decision."""
        return self.edited / self.decided if self.decided else None

    @property
    def many_corrected(self) -> bool:
        """Whether so many were corrected that training again is worth it."""
        return (self.corrected_share or 0.0) >= MANY_CORRECTED


def tally(cases: Iterable[str], latest: Mapping[str, Decision]) -> Tally:
    """Counts the cases of a folder by their last decisions.

    Args:
        cases: identifiers of the cases that are there.
        latest: the last decision of each case that has one; others are not counted.
    """
    there = set(cases)
    counts = dict.fromkeys(VERDICTS, 0)
    for case in there & latest.keys():
        counts[latest[case].verdict] += 1
    return Tally(len(there), counts["approved"], counts["edited"], counts["rejected"])
