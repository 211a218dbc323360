"""Commands in messages, written so that they run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "selfseg"

_INSTALL = re.compile(rf"""pip install ["']?{PROGRAM}\[""")


def runnable(text: str) -> str:
    """The text with its commands as this computer's shell understands them.

    Messages say `selfseg ...` and pip install "selfseg[...]"; where the environment's folder is
    not on the PATH, both are named with their place.
    """
    if _is_on_path(PROGRAM):
        return text
    text = text.replace(f"`{PROGRAM} ", f"`{program()} ")
    return _INSTALL.sub(lambda found: f"{_python()} -m {found[0]}", text)


def program() -> str:
    """What to type for this program."""
    if _is_on_path(PROGRAM):
        return PROGRAM
    script = _script(PROGRAM)
    return _typed([_shown(script)]) if script.is_file() else f"{_python()} -m {PROGRAM}"


def _python() -> str:
    return _typed([_shown(Path(sys.executable))])


def _script(name: str) -> Path:
    return Path(sys.executable).with_name(f"{name}.exe" if os.name == "nt" else name)


def _is_on_path(name: str) -> bool:
    found, own = shutil.which(name), _script(name)
    # Not resolved: an environment's interpreter may be a link out of it.
    return found is not None and Path(found).absolute() == own.absolute()


def _shown(path: Path) -> str:
    """Relative where it lies below the working folder, as people would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _typed(words: Sequence[str]) -> str:
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
