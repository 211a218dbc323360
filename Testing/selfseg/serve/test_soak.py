"""Many requests through one worker, with cancels and kills: benchmarks/soak.py, in short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[3] / "benchmarks" / "soak.py"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_forty_requests_leave_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(SOAK), str(tmp_path / "soak"), "--requests", "40"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.stdout, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["finished"] > 10
    assert found["cancelled"] > 5
    assert found["killed"] > 0
    assert found["workers"] > 1
    first, last = found["worker_mb"]
    assert last < first + 30
