"""Edits of the case on the desk become a draft beside the interface, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from . import saving
from .desk import OnDesk


class Start(Protocol):
    """Starts a function beside the interface; see `Background.start`."""

    def __call__(
        self,
        doing: str,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[SelfsegError], None] | None = None,
        *,
        writes: bool = False,
    ) -> None:
        """Starts it."""


class DraftKeeper:
    """Writes what was drawn as a draft, and asks before it would be lost.

    Args:
        case: on the desk.
        start: starts the writing.
        ask: asks the user a question; True: go on.
        kept: takes the name of a case whose draft was written.
        fail: shows why one was not.
    """

    def __init__(
        self,
        case: OnDesk,
        start: Start,
        *,
        ask: Callable[[str], bool],
        kept: Callable[[str], None],
        fail: Callable[[SelfsegError], None],
    ) -> None:
        self._case, self._start = case, start
        self._ask, self._kept, self._fail = ask, kept, fail
        self.autosaving = False
        """Whether what is being written was not asked for."""

    def keep(
        self, folder: Path | None, reviewer: str, then: Callable[[], None], *, autosave: bool
    ) -> None:
        """Writes the draft, then goes on; at once where there is nothing to write.

        Args:
            folder: that is reviewed.
            reviewer: whose draft it is.
            then: goes on.
            autosave: nobody has asked for it, and nobody is asked where it fails.
        """
        case, edits, shown = self._case.identifier, self._case.edits, self._case.segments()
        if folder is None or shown is None:
            then()
            return
        self._case.saving()

        def saved(path: Path) -> None:
            self._case.saved(edits)
            self._kept(case)
            then()

        def failed(error: SelfsegError) -> None:
            self._fail(error)
            question = _("The edits of {case} cannot be kept: {reason}. Leave, and lose them?")
            if not autosave and self._ask(question.format(case=case, reason=error.what)):
                then()

        self.autosaving = autosave
        self._start(
            _("Keeping the edits of {case} ...").format(case=case),
            lambda: saving.save_draft(folder, case, shown, reviewer),
            saved,
            failed,
            writes=True,
        )
