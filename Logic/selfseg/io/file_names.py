"""Names of files: those that cases and plans may become, and those that mean nothing."""

from __future__ import annotations

import re

from ..domain.errors import ProjectError

OF_FILE_BROWSERS = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
"""What file browsers leave behind in folders, in lower case; nobody has put it there."""

_REFUSED = re.compile(r'[/\\:*?"<>|\x00-\x1f]|^\.|[. ]$')
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_LONGEST = 180


def as_file_name(name: str, what: str) -> str:
    """The name itself, where it can be a file's name on every system.

    Args:
        name: the name.
        what: whose name it is, for the message ("case", "plan").

    Raises:
        ProjectError: it is empty, too long, hidden, leads elsewhere or is refused by some system.
    """
    if not name or len(name) > _LONGEST or _REFUSED.search(name) or _DEVICES.fullmatch(name):
        raise ProjectError(
            f"the name of the {what} cannot be a file's name",
            expected=f'at most {_LONGEST} characters, none of / \\ : * ? " < > |, no dot in front, '
            "no dot or blank at the end",
            found=repr(name[: _LONGEST + 20]),
            cure=f"rename the {what}",
        )
    return name
