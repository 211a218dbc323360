"""Changes to the source that a page shows as diffs, applied to a copy of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from documentation_pages import DOCS, PROJECT

_FENCE = re.compile(r"^( *)```diff\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COPIED = ("Logic/selfseg", "docs/reference", "Testing", "pyproject.toml")


class ChangedCopy:
    """A copy of the checkout with the changes that a page of `docs` shows."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        for name in _COPIED:
            source, target = PROJECT / name, folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            else:
                leave_out = shutil.ignore_patterns("__pycache__", "slicer_module", "*.png")
                shutil.copytree(source, target, ignore=leave_out)
        self.files = [
            self._apply(name, diff)
            for _, block in _FENCE.findall((DOCS / page).read_text(encoding="utf-8"))
            for name, diff in _by_file(textwrap.dedent(block))
        ]

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """What Python prints with those arguments, on the copy.

        Raises:
            AssertionError: it failed.
        """
        environment = os.environ | {
            "PYTHONPATH": str(self.folder / "Logic"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, *words],
            cwd=cwd or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _apply(self, name: str, diff: str) -> str:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", diff, flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            found = text.count(before)
            assert found == 1, f"{name} holds these lines {found} times:\n{before}"
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
        return name


def _by_file(block: str) -> list[tuple[str, str]]:
    parts = re.split(r"^--- (.+)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))
