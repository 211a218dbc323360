"""What is known about a folder when it is opened; read beside the interface."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfseg.domain.errors import SelfsegError
from selfseg.review.cases import ReviewCase, ReviewFolder, image_files, read_review_folder
from selfseg.review.decisions import Decision, Tally, tally
from selfseg.review.log import ReviewLog
from selfseg.review.tables import trainable, write_training_table

from ..model_list import ModelList
from .saving import draft_file
from .segments import Description


@dataclass(frozen=True)
class OpenFolder:
    """A folder that is reviewed.

    Args:
        review: its cases, the worst first.
        latest: the last decision of each case.
        images: where its images are; None where they are found without.
        model: key of the model that says what the structures are; "" where none was chosen.
        description: what label values mean; None where nobody says it.
        drafts: cases with edits that this reviewer has not decided about.
        writable: whether decisions can be kept.
    """

    review: ReviewFolder
    latest: Mapping[str, Decision] = field(default_factory=dict)
    images: Path | None = None
    model: str = ""
    description: Description | None = None
    drafts: frozenset[str] = frozenset()
    writable: bool = True

    @property
    def folder(self) -> Path:
        """Of the segmentations."""
        return self.review.folder

    @property
    def tally(self) -> Tally:
        """How the review stands."""
        return tally((case.identifier for case in self.review.cases), self.latest)

    def case(self, identifier: str) -> ReviewCase | None:
        """The case of that name."""
        return next((c for c in self.review.cases if c.identifier == identifier), None)

    def image_files(self, case: ReviewCase) -> tuple[Path, ...]:
        """The images of a case.

        Raises:
            ImageError: they are not there.
        """
        return image_files(case, self.folder, self.images)

    def decided(self, decision: Decision, latest: Mapping[str, Decision]) -> OpenFolder:
        """The same with one decision more, and those that others have added meanwhile."""
        drafts = self.drafts - {decision.case} if decision.verdict != "rejected" else self.drafts
        return replace(self, latest=latest, drafts=drafts)

    def first_open(self, after: str = "") -> str:
        """The worst case without a decision that comes after some case, then before it; or ""."""
        order = [case.identifier for case in self.review.cases]
        start = order.index(after) + 1 if after in order else 0
        rest = (*order[start:], *order[:start])
        return next((name for name in rest if name not in self.latest), "")

    def neighbour(self, current: str, listed: frozenset[str], step: int) -> str:
        """The listed case before (-1) or after (1) one that need not be listed itself; or ""."""
        order = [case.identifier for case in self.review.cases]
        outside = -1 if step > 0 else len(order)
        at = order.index(current) if current in order else outside
        places = range(at + step, len(order) if step > 0 else -1, step)
        return next((order[place] for place in places if order[place] in listed), "")

    def with_draft(self, case: str) -> OpenFolder:
        """The same with the draft of a case."""
        return replace(self, drafts=self.drafts | {case})

    def without_draft(self, case: str) -> OpenFolder:
        """The same without it."""
        return replace(self, drafts=self.drafts - {case})


def open_folder(
    folder: Path, reviewer: str, models: ModelList, images: Path | None = None, model: str = ""
) -> OpenFolder:
    """Reads the list and the log of a folder.

    Args:
        folder: of the segmentations.
        reviewer: whose drafts are looked for.
        models: where descriptions of structures are looked for.
        images: where the images are; None: where they were last, or where they are found.
        model: key of the model that names the structures; "": the one chosen last, or none.

    Raises:
        ProjectError: it cannot be reviewed, or its log cannot be read or written.
        FileFormatError: its notes or its log are damaged or newer than this software.
    """
    review = read_review_folder(folder)
    log = ReviewLog.of(folder)
    log.check()
    writable = is_writable(folder)
    known_images, known_model = log.source()
    if images is None and known_images and Path(known_images).is_dir():
        images = Path(known_images)
    model = model or known_model
    said = ("" if images is None else str(images), model)
    if writable and any(said) and said != (known_images, known_model):
        log.set_source(*said)
    drafts = frozenset(
        case.identifier
        for case in review.cases
        if draft_file(folder, case.identifier, reviewer).is_file()
    )
    described = describe(review, model, models)
    return OpenFolder(review, log.latest(), images, model, described, drafts, writable)


def describe(review: ReviewFolder, model: str, models: ModelList) -> Description | None:
    """What label values mean: the chosen model says it, or the folder, or the model of that name.

    Args:
        review: the folder.
        model: key or path of a model, "" where none was chosen.
        models: where models are looked for.
    """
    if model and (found := _described(model, models)):
        return found
    named = _described(review.model, models) if review.model else None
    if review.labels is not None:
        # The folder is right about the values; the model may know colours and codes as well.
        if named is not None and named.labels == review.labels:
            return named
        return Description(review.labels)
    return named


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder: asking for the right does not tell everywhere."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class TrainingSet:
    """What can be trained on: the table, how many cases it has, and which were left out."""

    table: Path
    cases: int
    without_image: tuple[str, ...] = ()


def training_set(opened: OpenFolder) -> TrainingSet:
    """Writes the table of approved and corrected cases, with the log as it is now.

    Raises:
        ProjectError: there is nothing to train on, or it cannot be written.
    """
    latest = ReviewLog.of(opened.folder).latest()
    images: dict[str, tuple[Path, ...]] = {}
    missing = []
    for decision in trainable(latest):
        case = opened.case(decision.case)
        try:
            images[decision.case] = opened.image_files(case or ReviewCase(decision.case, Path()))
        except SelfsegError:
            missing.append(decision.case)
    channels = () if opened.description is None else opened.description.channel_names
    table = write_training_table(latest, images, opened.folder, channels)
    return TrainingSet(table, len(images), tuple(missing))


def _described(model: str, models: ModelList) -> Description | None:
    try:
        found = models.find(model).model
    except SelfsegError:
        return None
    return (
        None if found is None else Description(found.labels, found.appearances, found.channel_names)
    )
