"""Commands in messages run as they stand; a reader that ends early ends the work quietly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfseg.cli import NOBODY_READS, commands, main


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment's folder with a Python and our program, in a working folder of its own."""
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "selfseg"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(tmp_path)
    return folder


TEXT = 'see `selfseg model list`; pip install "selfseg[onnx]"; selfseg says so'


@pytest.mark.skipif(os.name == "nt", reason="another shell")
def test_commands_are_named_with_their_place(environment: Path) -> None:
    assert commands.runnable(TEXT) == (
        "see `'my env/bin/selfseg' model list`; 'my env/bin/python' -m pip install "
        '"selfseg[onnx]"; selfseg says so'
    )
    (environment / "selfseg").unlink()
    assert commands.program() == "'my env/bin/python' -m selfseg"


def test_on_the_path_the_name_will_do(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(environment / name))
    assert commands.runnable(TEXT) == TEXT
    assert commands.program() == "selfseg"


def test_a_folder_that_is_no_data_set_is_led_to_collect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my scans").mkdir()
    for words in (["check"], ["run", "-p", str(tmp_path / "project")]):
        assert main([words[0], str(tmp_path / "my scans"), *words[1:]]) == 1
        told = capsys.readouterr()
        assert f"collect '{tmp_path / 'my scans'}' --dry-run" in told.out + told.err


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("stream", "status"), [("stdout", NOBODY_READS), ("stderr", 1)])
def test_a_reader_that_has_ended_ends_the_work_quietly(
    stream: str, status: int, unbuffered: str, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ["model", "list"] if stream == "stdout" else ["model", "show", "nothing"]
    other = "stderr" if stream == "stdout" else "stdout"
    done = subprocess.run(
        [sys.executable, "-m", "selfseg", *words, "--library", str(tmp_path)],
        **{stream: writing, other: subprocess.PIPE},
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == status
    assert not getattr(done, other)
