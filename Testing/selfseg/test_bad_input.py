"""Bad input through whole commands: the message, the exit status, and nothing half-written."""

from __future__ import annotations

import fnmatch
import os
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_input.kit import make_kit, take
from bad_input.limits import limited
from bad_input.page import PAGE, page
from bad_input.rows import Row
from bad_input.table import ROWS
from selfseg.cli import main
from selfseg.io.locks import LOCK_NAME

PATIENCE = 6
"""Times as long may a command take where other tests keep the machine busy."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and limits of Unix")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield make_kit(tmp_path_factory.mktemp("kit"))
    for number, what in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, what)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command runs, with nothing else beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "home"))
    # The first chart of a process makes a list of fonts there.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path.parent / "matplotlib"))
    return folder


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_told_and_nothing_is_left(
    row: Row,
    kit: Path,
    place: Path,
    one_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    take(kit, place, row.command)
    row.change(place)
    before, beside = _files(place), sorted(os.listdir(place.parent))
    status, seconds, passed = _run(row)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert status == row.status, said
    missing = [text for text in row.says if text.lower() not in said.lower()]
    assert not missing, f"{missing} not in:\n{said}"
    assert "Traceback" not in said
    assert "\x1b" not in captured.err
    if status and "usage: selfseg" not in said:
        for title in ("expected:", "found:", "what to do:"):
            assert title in said, said
    assert seconds < row.seconds, said
    assert passed < PATIENCE * row.seconds, said
    _nothing_is_half_written(row, before, _files(place))
    assert sorted(os.listdir(place.parent)) == beside


def test_the_table_is_large_enough_and_names_are_unique() -> None:
    assert len(ROWS) >= 80
    assert len({row.name for row in ROWS}) == len(ROWS)


def _run(row: Row) -> tuple[int, float, float]:
    """The exit status, the seconds of computing, and those that went by."""
    computed, started = time.process_time(), time.monotonic()
    try:
        with limited(row.limit):
            status = main(shlex.split(row.command))
    except SystemExit as end:
        status = int(end.code or 0)
    return status, time.process_time() - computed, time.monotonic() - started


State = tuple[int, int, int]


def _files(folder: Path) -> dict[str, State]:
    """Mode, size and time of every file and link below a folder; of folders their mode alone.

    Lock files are left out: they stay, and say nothing by being there.
    """
    found: dict[str, State] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + [name for name in files if name != LOCK_NAME]:
            path = os.path.join(place, name)
            status = os.lstat(path)
            whole = name in files or os.path.islink(path)
            found[os.path.relpath(path, folder)] = (
                status.st_mode,
                status.st_size if whole else 0,
                status.st_mtime_ns if whole else 0,
            )
    return found


def _nothing_is_half_written(row: Row, before: dict[str, State], after: dict[str, State]) -> None:
    assert not [name for name in after if ".part" in name]
    new = [name for name in after if name not in before]
    allowed = row.leaves
    beyond = [n for n in new if not any(fnmatch.fnmatch(n, pattern) for pattern in allowed)]
    assert not beyond
    changed = [name for name, state in before.items() if after.get(name) != state]
    assert not [n for n in changed if not any(fnmatch.fnmatch(n, p) for p in allowed)]


def test_the_page_shows_the_table() -> None:
    """`python -m bad_input.page` in the folder Testing writes it anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
