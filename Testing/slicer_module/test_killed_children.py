"""Children of the module that are killed from outside: said in words, and the next run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from SelfConfiguringSegmentationLib.batch.run import BatchSettings, start_batch
from SelfConfiguringSegmentationLib.jobs import JobFailed
from SelfConfiguringSegmentationLib.train import training_folder
from SelfConfiguringSegmentationLib.train.training import Training, TrainingFailed
from SelfConfiguringSegmentationLib.train.training_folder import Description, TrainingFolder

from slicer_module.children import real_starter

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

SECONDS = 120.0


def launch(arguments: Sequence[str], output: Path) -> Any:
    return training_folder.launch_process(
        arguments, output, python=sys.executable, environment={"OMP_NUM_THREADS": "1"}
    )


def until(step: Callable[[], object], reached: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not reached():
        step()
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_batch_that_is_killed_goes_on_after_the_cases_it_has_finished(
    dataset: Path, project: Path, tmp_path: Path
) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    (source,) = (dataset / "imagesTs").iterdir()
    for number in range(12):
        shutil.copy(source, scans / f"scan_{number:02d}_0000.nii.gz")
    settings = BatchSettings(device="cpu", mirror=False)
    batch = start_batch(scans, project, output, real_starter, settings=settings)
    until(batch.poll, lambda: bool(batch._finished))
    os.killpg(batch._job.process_id, signal.SIGKILL)
    batch.wait()
    with pytest.raises(JobFailed, match="ended unexpectedly") as error:
        batch.finish()
    assert "exit code -9" in error.value.found
    assert "out of memory" in error.value.cure
    assert not psutil.pid_exists(batch._job.process_id)
    (output / ".part-map-0").mkdir(exist_ok=True)  # if the kill left none itself

    again = start_batch(scans, project, output, real_starter, settings=settings)
    again.wait()
    result = again.finish()
    assert len(list(output.glob("scan_*.nii.gz"))) == 12
    assert result.volumes.is_file()
    assert [path.name for path in output.iterdir() if path.name.startswith(".part-")] == []


@pytest.mark.slow
def test_a_training_that_is_killed_says_so_and_goes_on(dataset: Path, tmp_path: Path) -> None:
    place = TrainingFolder(tmp_path / "training")
    words = ["run", str(dataset), "-p", str(place.project), "-c", "3d_fullres", "-f", "0"]
    words += ["--device", "cpu", "--epochs", "6", "--iterations", "4", "--workers", "1"]
    words += ["--install", "--library", str(tmp_path / "library"), "--model-name", "Balls"]
    training_folder.write_description(place, Description("Balls", tuple(words)))
    training = Training(place.folder, launch=lambda: launch)
    training.start()
    until(training.poll, lambda: len(training.progress.epochs) >= 2)
    process = int(training.progress.began["process"])
    os.killpg(process, signal.SIGKILL)
    until(training.poll, lambda: not training.is_running)
    while not training.poll():
        pass
    assert "ended from outside" in training.failure
    with pytest.raises(TrainingFailed, match="start the training again"):
        training.result()
    # Another Slicer sees the same.
    later = Training(place.folder, launch=lambda: launch)
    later.read_all()
    assert not later.is_running
    assert "ended from outside" in later.failure

    later.start()
    later.wait(sleep=time.sleep)
    assert later.result().name == "Balls"
    log = (place.project / "runs" / "plain" / "3d_fullres" / "fold_0" / "log.jsonl").read_text()
    assert log.count('"event":"epoch_finished"') == 6
    assert list(place.project.rglob(".part-*")) == []
