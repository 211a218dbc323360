"""`start.py` says in few lines what pip says in many."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def start() -> ModuleType:
    path = Path(__file__).parent.parent / "start.py"
    spec = importlib.util.spec_from_file_location("start", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  Downloading torch-2.13.0-cp311.whl (180.4 MB)", "fetching torch-2.13.0-cp311.whl"),
        ("Downloading https://x.org/a/cuda-1.whl (1.5 GB)", "fetching cuda-1.whl (1500 MB)"),
        ("  Downloading tqdm-4.whl (78 kB)", ""),
        ("Requirement already satisfied: pip", ""),
        ("Installing collected packages: a, b, c", "installing 3 packages"),
    ],
)
def test_large_steps_are_told(start: ModuleType, line: str, shown: str) -> None:
    told = start.large_step(line)
    assert told.startswith(shown)
    assert bool(told) == bool(shown)


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize("status", [0, 1])
def test_all_that_pip_says_is_shown_where_it_fails(
    start: ModuleType,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pip = tmp_path / "python"
    pip.write_text(
        "#!/bin/sh\necho Collecting a\necho Installing collected packages: a, b\n"
        f"echo some reason >&2\nexit {status}\n"
    )
    pip.chmod(0o755)
    monkeypatch.setattr(start, "PYTHON", pip)
    assert start.install(".") == status
    out = capsys.readouterr().out
    assert "installing 2 packages" in out
    assert ("Collecting a" in out and "some reason" in out) == bool(status)


def test_a_python_without_its_environments_is_told_how_to_get_them(
    start: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(folder: Path, **_: object) -> None:
        (folder / "bin").mkdir(parents=True)
        raise subprocess.CalledProcessError(1, ["python3", "-m", "ensurepip"])

    monkeypatch.setattr(start, "VENV", tmp_path / "environment")
    monkeypatch.setattr(start.venv, "create", fail)
    with pytest.raises(SystemExit) as end:
        start.make_environment()
    assert end.value.code == 1
    assert "python3-venv" in capsys.readouterr().out
    assert not (tmp_path / "environment").exists()  # a half one would be taken for a whole one


def test_it_says_how_to_go_on(start: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(start.HERE)
    assert start.how_to_call().startswith("ready; go on with: .venv")
