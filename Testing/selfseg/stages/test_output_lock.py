"""Two predictions into one folder: the second is refused, and a killed one is in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_examples import a_bundle, made_weights
from selfseg import pipeline
from selfseg.domain.errors import ProjectError
from selfseg.domain.events import Event, Notice
from selfseg.io import locks
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import write_label_map
from synthetic_preprocessing import GOLDEN, made_case

QUICK: dict[str, Any] = {"device": "cpu", "mirror": False, "step": 1.0}

_HOLDER = """
import sys
from pathlib import Path
from selfseg.io.locks import folder_lock
with folder_lock(Path(sys.argv[1]), what="output folder"):
    print("held", flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = a_bundle("liver", "1.2")
    return write_bundle(tmp_path_factory.mktemp("m") / "x.selfseg", bundle, made_weights(bundle))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = made_case(GOLDEN["thick_target"])
    path = tmp_path_factory.mktemp("images") / "case_0000.nii.gz"
    write_label_map(path, raw.channels[0].astype("uint8"), raw.geometry)
    return path


def test_the_second_is_refused_until_the_first_is_dead(
    model: Path, image: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ProjectError, match="output folder is in use") as refused:
            pipeline.predict(model, [image], tmp_path, **QUICK)
        assert f"process {holder.pid} on " in refused.value.found
        assert not list(tmp_path.glob("*.nii.gz"))
        holder.kill()
    (written,) = pipeline.predict(model, [image], tmp_path, **QUICK)
    assert written.is_file()
    pipeline.predict(model, [image], tmp_path, go_on=True, **QUICK)


def test_a_file_system_without_locks_is_told_of(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(locks, "_acquire", none)
    told: list[Event] = []
    pipeline.predict(model, [image], tmp_path, reporter=told.append, **QUICK)
    warnings = [e.text for e in told if isinstance(e, Notice) and e.level == "warning"]
    assert any("cannot be locked (no locks here)" in text for text in warnings)
    with pytest.raises(ProjectError, match="cannot be locked"), locks.folder_lock(tmp_path):
        pass
