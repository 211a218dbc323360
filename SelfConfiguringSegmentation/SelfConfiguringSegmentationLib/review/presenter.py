"""State and decisions of the page that reviews; knows neither Qt nor the scene.

One thing at a time happens beside the interface: reading a folder or a case, writing a draft, a
decision or a table. While it does, the page waits, and `tick` goes on where it ends. Edits are
written as a draft before their case is left, so that nothing is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError
from selfseg.review.log import ReviewLog
from selfseg.review.tables import write_log_table

from ..model_list import ModelList
from . import saving
from .background import Background
from .case_files import LoadedCase, load_case
from .desk import Desk, OnDesk, SceneCase
from .draft_keeper import DraftKeeper
from .folder import OpenFolder, TrainingSet, open_folder, training_set
from .view import Filter, Listing, State, View, details_text, view_of

SETTLE_SECONDS = 10.0
"""How long closing waits for what is being written."""


class ReviewPresenter:
    """Decides what the page shows and what its buttons do.

    Args:
        desk: where cases are shown.
        software: name and version, for the log.
        clock: seconds.
        ask: asks the user a question; True: go on.
        models: where descriptions of structures are looked for.
        on_change: is called after each change of the view.
        on_trainable: takes the table of cases to train on.
        make_reviewer: from name and software; brings the log's clock.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        software: str,
        clock: Callable[[], float],
        ask: Callable[[str], bool] = lambda question: True,
        models: ModelList | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_trainable: Callable[[Path], None] = lambda table: None,
        make_reviewer: Callable[[str, str], saving.Reviewer] = saving.Reviewer,
    ) -> None:
        self._desk = desk
        self._case = OnDesk(desk, clock)
        self._software = software
        self._ask = ask
        self._drafts = DraftKeeper(
            self._case, self._start, ask=ask, kept=self._draft_kept, fail=self._fail
        )
        self._models = models or ModelList()
        self._on_change = on_change
        self._on_trainable = on_trainable
        self._make_reviewer = make_reviewer
        self._reviewer = ""
        self._opened: OpenFolder | None = None
        self._listing = Listing()
        self._work = Background()
        self._closing = False
        self._notice, self._failed = _("Choose a folder of segmentations and open it."), False

    @property
    def opened(self) -> OpenFolder | None:
        """The folder that is reviewed."""
        return self._opened

    @property
    def busy(self) -> bool:
        """Whether something is read or written."""
        return self._work.busy

    @property
    def loaded(self) -> LoadedCase | None:
        """The case that is shown."""
        return self._case.loaded

    def view(self) -> View:
        """What to show now."""
        opened = self._opened
        return view_of(
            State(
                opened=opened,
                rows=self._listing.rows(opened),
                current=self._case.identifier,
                loaded=self._case.loaded,
                drawn=self._case.edits > 0,
                edited=self._case.edited,
                reviewer=self._reviewer,
                doing=self._work.doing,
                autosaving=self._drafts.autosaving,
                notice=self._notice,
                failed=self._failed,
                previous=self._listing.neighbour(opened, self._case.identifier, -1),
                following=self._listing.neighbour(opened, self._case.identifier, 1),
            )
        )

    def details(self, case: str) -> str:
        """What is known about a case of the list, in a few lines."""
        found = None if self._opened is None else self._opened.case(case)
        if found is None or self._opened is None:
            return ""
        return details_text(found, self._opened.latest.get(case))

    def name_reviewer(self, name: str) -> None:
        """Takes the name that stands in the log."""
        self._reviewer = name.strip()
        self._on_change()

    def open(self, folder: Path, images: Path | None = None, model: str = "") -> None:
        """Opens a folder or reads it again, and shows the worst case that is still open.

        Args:
            folder: of the segmentations.
            images: where the images are; None: as found.
            model: key of the model that names the structures; "": as found.
        """
        if self._begin():
            self._leave(lambda: self._open(folder, images, model))

    def choose_filter(self, chosen: Filter) -> None:
        """Lists only some cases; the one that is shown stays."""
        self._listing.filter = chosen
        self._on_change()

    def choose(self, case: str) -> None:
        """Shows a case."""
        if case and (case != self._case.identifier or self._case.loaded is None) and self._begin():
            self._leave(lambda: self._load(case))

    def go(self, step: int) -> None:
        """Shows the next (1) or the previous (-1) case of the list."""
        self.choose(self._listing.neighbour(self._opened, self._case.identifier, step))

    def approve(self, comment: str = "") -> None:
        """Writes the segmentation as it is now, notes the decision, and goes on."""
        opened, loaded = self._opened, self._case.loaded
        if not self.view().approve_enabled or opened is None or loaded is None or not self._begin():
            return
        shown = self._case.segments()
        if shown is None:
            self._case.put_away()
            self._say(_("The case was removed from the scene: choose it again."), failed=True)
            return
        known = opened.latest.get(self._case.identifier)
        who = self._make_reviewer(self._reviewer, self._software)
        self._start(
            _("Saving {case} ...").format(case=self._case.identifier),
            lambda: saving.approve(opened.folder, loaded, shown, comment.strip(), who, known),
            self._decided,
            writes=True,
        )

    def reject(self, comment: str = "") -> None:
        """Notes that the segmentation is of no use, keeps edits as a draft, and goes on."""
        opened = self._opened
        case = None if opened is None else opened.case(self._case.identifier)
        if not self.view().reject_enabled or opened is None or case is None or not self._begin():
            return
        known = opened.latest.get(self._case.identifier)
        digest = self._case.loaded.sha256 if self._case.loaded is not None else case.sha256
        who = self._make_reviewer(self._reviewer, self._software)
        self._leave(
            lambda: self._start(
                _("Saving {case} ...").format(case=case.identifier),
                lambda: saving.reject(opened.folder, case, digest, comment.strip(), who, known),
                self._decided,
                writes=True,
            )
        )

    def discard(self) -> None:
        """Shows the case as it was predicted or decided about; asks first."""
        opened, case, who = self._opened, self._case.identifier, self._reviewer
        if opened is None or not self.view().discard_enabled:
            return
        if not self._ask(_("Forget the edits of {case}?").format(case=case)):
            return
        self._begin()

        def removed(nothing: None) -> None:
            self._opened = opened.without_draft(case)
            self._load(case)

        self._start(
            _("Reading {case} ...").format(case=case),
            lambda: saving.remove_draft(opened.folder, case, who),
            removed,
        )

    def train(self) -> None:
        """Writes the table of cases to train on, and hands it on."""
        opened = self._opened
        if opened is None or not self.view().train_enabled or not self._begin():
            return

        def written(found: TrainingSet) -> None:
            text = _("{count} cases to train on.").format(count=found.cases)
            if found.without_image:
                left_out = ", ".join(found.without_image)
                text += " " + _("Left out, no image: {cases}").format(cases=left_out)
            self._say(text)
            self._on_trainable(found.table)

        self._start(_("Listing the cases ..."), lambda: training_set(opened), written)

    def export(self, path: Path) -> None:
        """Writes the log as a table."""
        opened = self._opened
        if opened is None or not self._begin():
            return
        self._start(
            _("Writing the log ..."),
            lambda: write_log_table(path, ReviewLog.of(opened.folder).decisions()),
            lambda nothing: self._say(_("The log was written to {path}.").format(path=path)),
            writes=True,
        )

    def take_scene(self, folder: Path) -> None:
        """Writes the scene's segmentations and their images into a folder, and opens it."""
        if not self._begin():
            return
        cases = list(self._desk.scene_cases())
        if cases:
            self._leave(lambda: self._write_scene(folder, cases))
        else:
            self._say(_("No segmentation of the scene has a source volume."), failed=True)

    def tick(self) -> None:
        """Called by a timer: goes on where something was finished, saves edits now and then."""
        drawn = self._case.look()
        if self._work.poll() or drawn:
            self._on_change()
        elif self._case.autosave_due and not self.busy:
            self._save_draft(lambda: None, autosave=True)

    def close(self) -> None:
        """Keeps what was edited and takes the case away: scene or module are closed."""
        self._closing = True
        self._case.look()
        try:
            self._work.settle(SETTLE_SECONDS)
            if self._case.unsaved:
                self._closing = False
                self._save_draft(lambda: None, autosave=True)
                self._closing = True
                self._work.settle(SETTLE_SECONDS)
            self._case.put_away()
        finally:
            self._closing = False
        self._on_change()

    def _begin(self) -> bool:
        """Whether something new may begin; what was said about the last thing goes."""
        self._case.look()
        if self.busy:
            return False
        self._notice, self._failed, self._drafts.autosaving = "", False, False
        return True

    def _open(self, folder: Path, images: Path | None, model: str) -> None:
        before = self._case.identifier if self._opened and self._opened.folder == folder else ""
        self._case.put_away()
        self._opened = None

        def opened(found: OpenFolder) -> None:
            self._opened = found
            if not found.writable:
                self._say(_("This folder cannot be written to: decisions are not possible."))
            if first := before if found.case(before) else found.first_open():
                self._load(first)

        self._start(
            _("Reading the folder ..."),
            lambda: open_folder(folder, self._reviewer, self._models, images, model),
            opened,
        )

    def _load(self, case: str) -> None:
        """Reads a case and shows it; where it cannot be read, says why and stays on it."""
        opened = self._opened
        found = None if opened is None else opened.case(case)
        self._case.put_away()
        if opened is None or found is None:
            return
        self._case.identifier = case
        draft = saving.draft_file(opened.folder, case, self._reviewer)
        reviewed = saving.reviewed_file(opened.folder, opened.latest.get(case))

        def read() -> tuple[LoadedCase, Any]:
            images = opened.image_files(found)
            loaded = load_case(found, images, opened.description, draft=draft, reviewed=reviewed)
            prepared = self._desk.prepare(loaded)
            return loaded.without_voxels(), prepared

        self._start(_("Reading {case} ...").format(case=case), read, self._show)

    def _show(self, read: tuple[LoadedCase, Any]) -> None:
        loaded, prepared = read
        self._case.show(loaded, prepared)
        if not loaded.prediction.named and not self._notice:
            self._say(_("The structures have no names: choose the model that made them."))

    def _decided(self, saved: saving.Saved) -> None:
        opened, case = self._opened, saved.decision.case
        if opened is None:
            return
        self._opened = opened.decided(saved.decision, saved.latest)
        following = self._opened.first_open(after=case)
        if saved.meanwhile is not None:
            text = _("{who} had decided about {case} meanwhile. Both decisions are in the log.")
            self._say(text.format(who=saved.meanwhile.reviewer, case=case))
        elif not following:
            self._say(_("Every case is reviewed."))
        self._load(following or case)

    def _leave(self, then: Callable[[], None]) -> None:
        """Keeps edits as a draft, then goes on; asks before edits are lost."""
        if self._case.unsaved:
            self._save_draft(then)
        else:
            then()

    def _save_draft(self, then: Callable[[], None], *, autosave: bool = False) -> None:
        folder = None if self._opened is None else self._opened.folder
        self._drafts.keep(folder, self._reviewer, then, autosave=autosave)

    def _draft_kept(self, case: str) -> None:
        if self._opened is not None:
            self._opened = self._opened.with_draft(case)

    def _write_scene(self, folder: Path, left: list[Callable[[], SceneCase]]) -> None:
        """Writes one case after the other, so that only one is in memory twice."""
        self._case.put_away()
        if not left:
            self._open(folder, None, "")
            return
        case = left.pop(0)()
        self._start(
            _("Writing {case} ...").format(case=case[0]),
            lambda: saving.save_scene_case(folder, *case),
            lambda nothing: self._write_scene(folder, left),
        )

    def _start(
        self,
        doing: str,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[SelfsegError], None] | None = None,
        *,
        writes: bool = False,
    ) -> None:
        if not self._closing:
            self._work.start(doing, function, done, failed or self._fail, writes=writes)
            self._on_change()

    def _say(self, text: str, *, failed: bool = False) -> None:
        self._notice, self._failed = text, failed
        self._on_change()

    def _fail(self, error: SelfsegError) -> None:
        self._say(str(error), failed=True)
