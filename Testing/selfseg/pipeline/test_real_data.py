"""The promises on real data. Minutes each: `pytest -m slow Testing/selfseg/pipeline`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

from selfseg.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.reference, pytest.mark.timeout(1500)]


def _mean_dice(project: Path, configuration: str) -> float:
    path = project / "runs" / "plain" / configuration / "fold_0" / "validation.json"
    return float(json.loads(path.read_text())["foreground_mean"]["Dice"])


def test_hippocampus_in_ten_minutes(shared_folder: Path, tmp_path: Path) -> None:
    data = shared_folder / "data" / "Dataset004_Hippocampus"
    project = tmp_path / "p"
    start = time.monotonic()
    words = ["run", str(data), "-p", str(project), "-c", "3d_fullres", "-f", "0"]
    assert main([*words, "--time-budget", "10m", "--device", "cpu"]) == 0
    assert time.monotonic() - start < 630
    assert _mean_dice(project, "3d_fullres") >= 0.86


@pytest.mark.parametrize(
    ("name", "configuration", "least"),
    [
        ("Dataset201_SunnybrookLV", "3d_fullres", 0.7),
        ("Dataset201_SunnybrookLV", "2d", 0.7),
        ("Dataset203_NucleiGrey", "2d", 0.75),
        ("Dataset204_NucleiRGB", "2d", 0.6),
    ],
)
def test_other_kinds_of_data(
    name: str, configuration: str, least: float, shared_folder: Path, tmp_path: Path
) -> None:
    data = shared_folder / "data" / name
    project, out = tmp_path / "p", tmp_path / "out"
    words = ["run", str(data), "-p", str(project), "-c", configuration, "-f", "0"]
    assert main([*words, "--time-budget", "4m", "--device", "cpu"]) == 0
    assert _mean_dice(project, configuration) >= least

    image = sorted((data / "imagesTr").iterdir())[0]
    assert main(["predict", "-m", str(project), "-i", str(image), "-o", str(out)]) == 0
    (written,) = out.iterdir()
    assert sitk.ReadImage(str(written)).GetSize()[:2] == sitk.ReadImage(str(image)).GetSize()[:2]
