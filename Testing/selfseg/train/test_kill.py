from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks its children")


def _run(folder: Path, rounds: int) -> dict[str, object]:
    here = Path(__file__).parent
    result = subprocess.run(
        [sys.executable, str(here / "kill_script.py"), str(folder), str(rounds)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("rounds", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_weights_are_the_same_to_the_last_bit(
    tmp_path: Path, rounds: int
) -> None:
    found = _run(tmp_path, rounds)
    assert found["kills"], "no kill landed"
    assert found["same_weights"] == [True, True]
    assert found["same_log"]
    assert found["left_behind"] == []
