"""The command line as a user or a script sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfseg.cli import main, seconds
from selfseg.console import duration
from selfseg.demo.synthetic import make_small_dataset


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)],
)
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "10x", "-5m", "0", "10 minutes"])
def test_what_is_no_duration_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "data", "-p", "project", f"--time-budget={text}"])
    assert stop.value.code == 2
    assert "duration" in capsys.readouterr().err


def test_durations_are_written() -> None:
    assert [duration(s) for s in (5, 65, 7260)] == ["5 s", "1 min 05 s", "2 h 01 min"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, selfseg.cli\n"
        "try: selfseg.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'SimpleITK', 'skimage', 'matplotlib'}\n"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_help_answers_quickly() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "selfseg", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    # 0.3 s is the promise on an idle machine; tests share theirs.
    assert min(times) < 1.0


def test_check_prints_faults_and_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_small_dataset(tmp_path / "data")
    assert main(["check", str(folder)]) == 0
    next((folder / "labelsTr").iterdir()).unlink()
    assert main(["check", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "missing-label" in out
    assert "what to do" in out


def test_errors_go_to_standard_error_with_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "-m", str(tmp_path), "-i", "x.nii.gz", "-o", str(tmp_path / "o")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "what to do" in captured.err


def test_plan_without_images_writes_the_form_of_nnunet(tmp_path: Path) -> None:
    fingerprint = {
        "spacings": [[2.5, 1.0, 1.0]] * 4,
        "shapes_after_crop": [[40, 200, 180]] * 4,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {
            "0": {
                "max": 300.0, "mean": 50.0, "median": 45.0, "min": -200.0,
                "percentile_00_5": -100.0, "percentile_99_5": 200.0, "std": 40.0,
            }
        },
    }  # fmt: skip
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "f.json").write_text(json.dumps(fingerprint))
    (tmp_path / "d.json").write_text(json.dumps(description))
    out = tmp_path / "plans.json"
    command = ["plan", "--fingerprint", str(tmp_path / "f.json"), "--dataset-json"]
    command += [str(tmp_path / "d.json"), "--planner", "plain", "--memory", "8"]
    assert main([*command, "--format", "nnunet", "-o", str(out)]) == 0
    plans = json.loads(out.read_text())
    assert plans["configurations"]["3d_fullres"]["batch_size"] == 2
    assert plans["configurations"]["3d_fullres"]["normalization_schemes"] == ["CTNormalization"]


def test_plan_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan"]) == 2
    assert "DATASET -p PROJECT" in capsys.readouterr().err
