"""What cross-validation chose: which configurations vote, and what is done to their label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .bundle import Member, PostprocessingStep
from .errors import ModelError

Interval = tuple[float, float]


@dataclass(frozen=True)
class ScoredCandidate:
    """One configuration, or several whose probabilities are averaged, on held-out cases.

    Args:
        members: who votes.
        dice: mean over structures of their means over cases; None where nothing is defined.
        dice_by_structure: means over cases by name; None where a structure is in no map.
        interval: of `dice`, 95% bootstrap over cases; None where there are too few.
    """

    members: tuple[Member, ...]
    dice: float | None
    dice_by_structure: Mapping[str, float | None]
    interval: Interval | None = None

    @property
    def name(self) -> str:
        """What people call it: "plain 2d + plain 3d_fullres"."""
        return " + ".join(f"{member.plan} {member.configuration}" for member in self.members)


@dataclass(frozen=True)
class TriedStep:
    """A postprocessing step that was tried on the held-out predictions.

    Args:
        step: what was tried, after the steps kept before it.
        kept: whether it stays.
        before: mean foreground Dice without it; None where it is not defined.
        after: with it. Where its numbers were learned, each fold's cases are scored with those
            learned on the other folds.
        changed: Dice by structure, (before, after), of those it changes.
        reason: why it stays or not, in words.
    """

    step: PostprocessingStep
    kept: bool
    before: float | None
    after: float | None
    changed: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class AtlasFusion:
    """Training cases as atlases: their label maps, registered to an image, vote with the networks.

    Args:
        cases: the training cases that serve as atlases for new images.
        share: weight of the atlases' vote; that of the networks is the rest.
        per_image: how many of them vote on one image: those that look most like it.
        fusion: "weighted": by how alike the images are around each voxel; "staple": the
            consensus of STAPLE.
    """

    cases: tuple[str, ...]
    share: float
    per_image: int
    fusion: str = "weighted"

    def __post_init__(self) -> None:
        if not self.cases or not 0 < self.share < 1 or self.per_image < 1:
            raise ModelError(
                "the multi-atlas label fusion is not valid",
                expected="at least one atlas, a share between 0 and 1",
                found=f"{len(self.cases)} atlases, share {self.share}, {self.per_image} per image",
                cure="run `selfseg select` again",
            )
        if self.fusion not in ("weighted", "staple"):
            raise ModelError(
                "this label fusion is not known",
                expected="weighted or staple",
                found=self.fusion,
                cure="run `selfseg select` again with this version of selfseg",
            )


@dataclass(frozen=True)
class Selection:
    """The model that cross-validation chose, with all that competed.

    Args:
        members: of the best candidate.
        checkpoint: the weights that were judged, "final" or "best".
        candidates: all, simplest first.
        cases: how many held-out cases decided.
        postprocessing: the steps that stay, in order.
        tested: every step that was tried.
        dice: of the chosen members with the postprocessing, on the held-out cases.
        dice_by_structure: likewise.
        interval: of `dice`.
        atlas: where asked for and better than without.
        atlas_dice: of the best fusion with atlases that was tried; None where none was.

    Raises:
        ModelError: the chosen members did not compete, or the steps are not those kept.
    """

    members: tuple[Member, ...]
    checkpoint: str
    candidates: tuple[ScoredCandidate, ...]
    cases: int
    postprocessing: tuple[PostprocessingStep, ...] = ()
    tested: tuple[TriedStep, ...] = ()
    dice: float | None = None
    dice_by_structure: Mapping[str, float | None] = field(default_factory=dict)
    interval: Interval | None = None
    atlas: AtlasFusion | None = None
    atlas_dice: float | None = None

    def __post_init__(self) -> None:
        if self.members not in [candidate.members for candidate in self.candidates]:
            raise ModelError(
                "the selection names a model that did not compete",
                expected="; ".join(candidate.name for candidate in self.candidates) or "some",
                found="; ".join(f"{m.plan} {m.configuration}" for m in self.members) or "none",
                cure="run `selfseg select` again",
            )
        kept = [trial.step for trial in self.tested if trial.kept]
        if any(step not in kept for step in self.postprocessing):
            raise ModelError(
                "the selection holds a postprocessing that was not tested",
                expected=", ".join(step.kind for step in kept) or "no step",
                found=", ".join(step.kind for step in self.postprocessing),
                cure="run `selfseg select` again",
            )

    @property
    def chosen(self) -> ScoredCandidate:
        """The best candidate, before postprocessing."""
        return next(c for c in self.candidates if c.members == self.members)
