"""Reading along while jobs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfseg.domain.events import as_event
from selfseg.launch.logs import LogReader, end_of_log, log_path


def test_lines_are_read_once_and_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    reader = LogReader(path)
    assert list(reader.events()) == []
    with path.open("ab", buffering=0) as log:
        log.write('{"event": "notice", "text": "gr\u00fc'.encode()[:-1])
        assert list(reader.events()) == []
        log.write("\u00fc".encode()[-1:] + b'n"}\nsome library says hello\n{"event"')
        assert list(reader.events()) == [{"event": "notice", "text": "gr\u00fcn"}]
        assert list(reader.events()) == []
        log.write(b': "progress"}\n')
        assert list(reader.events()) == [{"event": "progress"}]


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"a": 1}', '{"event": 3}', "{event: x}", "x{}"])
def test_other_text_is_no_event(line: str) -> None:
    assert as_event(line) is None


def test_the_end_of_a_log_is_shown_without_events(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert end_of_log(path) == ""
    lines = [f"line {k}\n" + '{"event": "progress"}\n' for k in range(40)]
    path.write_text("".join(lines))
    assert end_of_log(path, 3) == "line 37\nline 38\nline 39"


def test_every_job_has_a_log_of_its_own(tmp_path: Path) -> None:
    names = ["3d_fullres fold 0", "3d_fullres fold all", "preprocess 2d 3d_fullres"]
    paths = {log_path(tmp_path, name) for name in names}
    assert len(paths) == 3
    assert all(" " not in path.name and path.parent == tmp_path for path in paths)
