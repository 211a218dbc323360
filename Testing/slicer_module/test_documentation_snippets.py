"""The code of docs/reference/slicer-api.md is run as it stands, with real child processes.

Only paths are exchanged, and the training is made short.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic
from SelfConfiguringSegmentationLib.train import training_folder

from slicer_module.children import real_starter
from slicer_module.windows import qt_application, spin
from slicer_module.workers import ENVIRONMENT, library, real_segmenting

__all__ = ["library", "qt_application"]

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/slicer-api.md"

BEFORE = "SelfConfiguringSegmentationLogic()"
"""Stands in the page; the tests' logic starts children in their own interpreter."""

SHORT = (
    'device="cpu", library=library, '
    'options=("-c", "3d_fullres", "--epochs", "1", "--iterations", "3", "--workers", "1")'
)


def snippets() -> dict[str, list[str]]:
    """Blocks of code by the heading they stand under."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^#+ ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        found[title] = re.findall(r"^```python\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
    return found


class Console:
    """Slicer's Python console, with the page's paths in a folder of the test."""

    def __init__(self, folder: Path, logic: Any, library: Path) -> None:
        self.folder = folder
        self.names = {"slicer": slicer, "made_logic": logic, "library": library}

    def run(self, title: str) -> None:
        blocks = snippets()[title]
        assert blocks, title
        for block in blocks:
            code = block.replace('"/data', f'"{self.folder.as_posix()}').replace(
                BEFORE, "made_logic"
            )
            code = code.replace("timeBudget=1800", f"timeBudget=60, {SHORT}")
            exec(compile(code, f"{PAGE.name}: {title}", "exec"), self.names)  # noqa: S102 (our own page)


@pytest.fixture
def console(
    tmp_path: Path,
    library: Path,
    project: Path,
    dataset: Path,
    scene: Any,
    qt_application: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Console:
    (image,) = (dataset / "imagesTs").iterdir()
    shutil.copytree(project, tmp_path / "project")
    (tmp_path / "scans").mkdir()
    shutil.copy(image, tmp_path / "scans")
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
    slicer.util.addVolumeFromArray(values, np.diag([-1.0, -1.0, 1.6, 1.0]), "CT")
    monkeypatch.setattr(
        "SelfConfiguringSegmentationLib.train.logic.default_path",
        lambda: tmp_path / "settings" / "trainings.json",
    )

    def launch(arguments: Any, output: Path) -> Any:
        return training_folder.launch_process(
            arguments, output, python=sys.executable, environment=ENVIRONMENT
        )

    logic = SelfConfiguringSegmentationLogic(real_starter, launch, real_segmenting(library))
    made = Console(tmp_path, logic, library)
    made.run("Python API of the Slicer module")
    assert made.names["logic"] is logic
    yield made
    logic.close()


def test_every_method_is_on_the_page_and_every_word_of_the_page_is_a_method() -> None:
    text = PAGE.read_text(encoding="utf-8")
    methods = {
        name
        for name, _ in inspect.getmembers(SelfConfiguringSegmentationLogic, inspect.isfunction)
        if not name.startswith("_") and name != "getParameterNode"
    }
    table = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    starts = set(re.findall(r"`(start[A-Z]\w+)`", text))
    assert table | starts == methods


def test_the_snippets_run(
    console: Console, qt_application: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = console.names
    console.run("Packages")
    console.run("Models")
    console.run("Segment a volume")
    assert names["segmentation"].GetSegmentation().GetNthSegment(0).GetName() == "ball"
    assert "of" in capsys.readouterr().out
    console.run("In the background")
    ended: Callable[[], bool] = lambda: not names["timer"].active  # noqa: E731
    spin(qt_application, ended, 60)
    assert "CT segmentation" in capsys.readouterr().out
    console.run("A folder of scans")
    assert names["result"].failed == {}
    (segmented,) = names["result"].finished
    approve(console, segmented)
    console.run("Export")
    exported = {path.name for path in (console.folder / "exported").rglob("*") if path.is_file()}
    assert "liver.seg.nrrd" in exported
    assert any(name.endswith(".stl") for name in exported)
    assert any(name.endswith(".nii.gz") for name in exported)
    console.run("Errors")


def approve(console: Console, case: str) -> None:
    """A reviewer approves the case, as the page Review records it."""
    from selfseg.review.decisions import Decision
    from selfseg.review.log import ReviewLog

    folder = console.folder / "segmented"
    names = console.names
    (folder / "reviewed").mkdir()
    path = folder / "reviewed" / f"{case}.seg.nrrd"
    names["logic"].exportSegmentation(names["segmentation"], path)
    log = ReviewLog.of(folder)
    log.set_source(str(console.folder / "scans"), str(console.folder / "project"))
    log.add(
        Decision(
            case,
            "approved",
            "Ada",
            "2026-11-21T12:00:00+00:00",
            sha256_after=hashlib.sha256(path.read_bytes()).hexdigest(),
            file=path.name,
        )
    )


@pytest.mark.slow
def test_the_training_runs(console: Console) -> None:
    from slicer_module.train_scenes import add_scan, add_segmentation

    for number in range(3):
        volume, masks = add_scan(f"scan{number}", number)
        add_segmentation(volume, masks)
    console.names["volume"] = volume
    console.run("Train")
    assert Path(console.names["finished"].folder).is_dir()
    assert console.names["segmentation"].GetSegmentation().GetNumberOfSegments() == 2
