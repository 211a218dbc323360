"""The pages on a screen scaled by 1.5: their stories again, in a process of their own.

Qt reads the scale before its application is made, so one process has one scale.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["segment", "train", "review", "batch", "export"])
def test_the_stories_at_one_and_a_half(page: str, tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    environment = {**os.environ, "QT_SCALE_FACTOR": "1.5", "SELFSEG_PICTURES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", str(HERE / f"test_{page}_panel.py")],
        env=environment,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    pictures = list(tmp_path.glob("*@1.5.png"))
    assert pictures
    assert all(QImage(str(path)).width() >= 700 for path in pictures)
