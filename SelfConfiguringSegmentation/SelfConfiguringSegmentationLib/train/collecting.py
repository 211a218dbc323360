"""Looking at cases, and making a data set and a plan of them, in child processes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfseg.domain.errors import SelfsegError

from ..child_run import ChildRun, EventTaker, LineTaker
from ..jobs import JobFailed, ProcessStarter
from .pairing import Pair, Problem, find_pairs
from .scene_collection import (
    COLLECTION_FILE,
    SceneCase,
    check_case,
    claimed_once,
    default_channels,
    export_steps,
    write_description,
)
from .survey import Choices, Row, Survey, row_of_event, survey_of_event


@dataclass(frozen=True)
class Source:
    """Where cases come from.

    Args:
        title: for people.
        path: a folder or file; None for the scene.
        folder_item: of the subject hierarchy; 0 for the whole scene.
    """

    title: str
    path: Path | None = None
    folder_item: int = 0

    @property
    def is_scene(self) -> bool:
        """Whether the cases are open in the application."""
        return self.path is None


@dataclass(frozen=True)
class Found:
    """A survey, and the nodes behind the rows that came from the scene."""

    survey: Survey
    scene_cases: tuple[SceneCase, ...] = ()
    channels: tuple[str, ...] = ()

    def pair_of(self, case: str) -> Pair | None:
        """The nodes of a row; None where it came from files."""
        pairs = [found.pair for found in self.scene_cases]
        return next((pair for pair in pairs if pair.case == case), None)


class SurveyRun(ChildRun):
    """Looks at all sources: `selfseg collect ... --dry-run`.

    Args:
        sources: of the cases.
        choices: what the user decided.
        scene: the MRML scene.
        start: starts the child process.
        on_event: takes its events.
        on_log: takes its other lines.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        choices: Choices,
        *,
        scene: Any,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="selfseg-"))
        self._rows: list[Row] = []
        self._survey: Survey | None = None
        self._on_event = on_event
        arguments: list[str] = []
        try:
            self._cases = _scene_cases(sources, scene, choices)
            pairs = [case.pair for case in self._cases if case.problem is None]
            self._channels = choices.channels or default_channels(pairs)
            words = _source_words(sources, self._cases, self._channels, self._folder)
            if words:
                sent = _without_own(choices, self._cases)
                arguments = ["collect", *words, "--dry-run", *sent.words()]
            super().__init__(arguments, start=start, on_event=self._take, on_log=on_log)
        except BaseException:
            self._clean_up()
            raise

    def finish(self) -> Found:
        """What was found.

        Raises:
            Cancelled: the run was cancelled.
            JobFailed: a source cannot be used.
        """
        try:
            super().finish()
        except JobFailed:
            # A case with a problem is a failure of the command, and a row here.
            if self._survey is None:
                raise
        survey = self._survey or Survey(channels=self._channels)
        own = tuple(_problem_row(case) for case in self._cases if case.problem is not None)
        shown = tuple(_of_scene(row, self._cases) for row in survey.rows)
        return Found(replace(survey, rows=(*shown, *own)), self._cases, self._channels)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "case_surveyed":
            self._rows.append(row_of_event(event))
        elif event["event"] == "collection_surveyed":
            self._survey = survey_of_event(event, self._rows)
        self._on_event(event)

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class CollectRun(ChildRun):
    """Makes a data set: voxels of the scene are copied, then `selfseg collect -o` runs.

    Args:
        sources: of the cases.
        found: what `SurveyRun` gave for them: what the user has seen is what is taken.
        choices: what the user decided.
        dataset: folder to write.
        scratch: folder for the scene's voxels; removed afterwards.
        start: starts the child process.
        on_event: takes events, those of copying included.
        on_log: takes other lines of the child.
        clock: seconds.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        found: Found,
        choices: Choices,
        dataset: Path,
        *,
        scratch: Path,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found = found
        self._dataset = dataset
        self._on_event = on_event
        self._scratch = scratch
        self._cases = tuple(
            case
            for case in found.scene_cases
            if case.problem is None and case.pair.case not in choices.excluded
        )
        words = [str(source.path) for source in sources if source.path is not None]
        if self._cases:
            words.append(str(scratch / COLLECTION_FILE))
        kept = _without_own(choices, found.scene_cases, choices.excluded)
        kept = _still_there(kept, found.survey)
        super().__init__(
            ["collect", *words, "-o", str(dataset), "--skip-problems", *kept.words()],
            start=start,
            on_event=on_event,
            on_log=on_log,
            copying=self._export() if self._cases else None,
            on_copied=self._tell_copied,
            clock=clock,
        )

    def finish(self) -> Path:
        """The data set's folder.

        Raises:
            Cancelled: the run was cancelled.
            JobFailed: the child failed.
        """
        super().finish()
        return self._dataset

    def _export(self) -> Iterator[float]:
        for case in self._cases:
            for node in (case.pair.segmentation, *case.pair.images):
                if node.GetScene() is None:
                    raise SelfsegError(
                        f"{case.pair.case}: {node.GetName()} is no longer in the scene",
                        expected="scans and segmentations to stay until they are copied",
                        found="it was removed, or the scene was closed",
                        cure="look at the cases again",
                    )
            self._scratch.mkdir(parents=True, exist_ok=True)
        yield from export_steps(self._cases, self._found.channels, self._scratch)

    def _tell_copied(self, share: float) -> None:
        self._on_event(
            {
                "event": "progress",
                "stage": "copy from the scene",
                "done": share,
                "total": 1.0,
                "eta_seconds": None,
                "detail": "",
            }
        )

    def _clean_up(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)


def _scene_cases(sources: Sequence[Source], scene: Any, choices: Choices) -> tuple[SceneCase, ...]:
    cases: dict[str, SceneCase] = {}
    for source in sources:
        if source.is_scene:
            item, channels = source.folder_item, choices.channels
            for pair in find_pairs(scene, folder_item=item, channels=channels):
                cases.setdefault(pair.segmentation.GetID(), check_case(pair))
    return claimed_once(tuple(cases.values()), choices.excluded)


def _source_words(
    sources: Sequence[Source],
    cases: Sequence[SceneCase],
    channels: Sequence[str],
    folder: Path,
) -> list[str]:
    words = [str(source.path) for source in sources if source.path is not None]
    good = [case for case in cases if case.problem is None]
    if good:
        words.append(str(write_description(good, channels, folder)))
    return words


def _without_own(
    choices: Choices, cases: Sequence[SceneCase], left_out: frozenset[str] = frozenset()
) -> Choices:
    """The choices without the names of cases that are not handed over: nobody would know them."""
    own = {c.pair.case for c in cases if c.problem is not None or c.pair.case in left_out}
    return replace(choices, excluded=choices.excluded - own)


def _still_there(choices: Choices, survey: Survey) -> Choices:
    """The choices without names that went with a source: to write, `collect` wants known ones."""
    cases = {row.case for row in survey.rows}
    structures = {structure.name for structure in survey.structures}
    wanted = tuple(name for name in choices.structures if name in structures)
    # None at all would mean every structure.
    return replace(
        choices,
        excluded=choices.excluded & cases,
        structures=wanted or choices.structures,
    )


def _problem_row(case: SceneCase) -> Row:
    pair = case.pair
    assert case.problem is not None  # noqa: S101 - the caller looked
    problem: Problem = case.problem
    return Row(
        case=pair.case,
        images=tuple(node.GetName() for node in pair.images),
        segmentation=pair.segmentation.GetName(),
        problems=(problem,),
        notes=pair.notes,
        state="problem",
    )


def _of_scene(row: Row, cases: Sequence[SceneCase]) -> Row:
    """The row with the names of nodes where it came from the scene."""
    for case in cases:
        if case.pair.case == row.case and row.source.endswith("collection.json"):
            return replace(
                row,
                source="",
                images=tuple(node.GetName() for node in case.pair.images),
                segmentation=case.pair.segmentation.GetName(),
                notes=(*case.pair.notes, *row.notes),
            )
    return row
