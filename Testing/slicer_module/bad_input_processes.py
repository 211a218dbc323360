"""What the module keeps between sessions, and the processes, packages and downloads it needs."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from slicer_module.bad_input_rows import DEEP, Desk, Row
from slicer_module.bad_input_volumes import plain, segment
from slicer_module.children import fake_starter


def nothing(desk: Desk) -> None:
    """Nothing has to be made."""


def training(**files: str | bytes) -> Callable[[Desk], Path]:
    """The folder of a training with these files; `training` is sound unless it is given."""

    def given(desk: Desk) -> Path:
        folder = desk.place / "training"
        folder.mkdir()
        sound = {"schema": "selfseg.slicer-training/1", "name": "x", "arguments": ["run"],
                 "seconds": 60.0}  # fmt: skip
        made = {"training_json": json.dumps(sound), **files}
        for name, text in made.items():
            data = text.encode() if isinstance(text, str) else text
            (folder / name.replace("_", ".")).write_bytes(data)
        return folder

    return given


def follow(desk: Desk, folder: Path) -> str:
    """Reads all that is known of a training."""
    from SelfConfiguringSegmentationLib.train.training import Training

    found = Training(folder, launch=lambda: None, on_log=desk.log.append)
    found.read_all()
    view = f"{found.progress.in_words()}; {found.failure}; {found.used_seconds:.0f} s used"
    return f"{len(found.progress.epochs)} epochs; running {found.is_running}; {view}"


EPOCH = '{"event": "epoch_finished", "configuration": "2d", "fold": "0", "epoch": 0, "epochs": 5}\n'
WRONG = (
    '{"event": "run_started", "time": "noon"}\n{"event": "epoch_finished"}\n'
    '{"event": "progress", "done": [], "total": 3, "stage": "x"}\n'
    '{"event": "run_ended", "status": "well"}\n{"event": ["?"]}\n[1, 2]\n'
)


def with_library(name: str, text: str) -> Callable[[Desk], Path]:
    def given(desk: Desk) -> Path:
        library = desk.logic.segmenting.models.library
        library.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(text, encoding="utf-8")
        return library

    return given


def list_models(desk: Desk, given: Any) -> str:
    return f"{len(desk.logic.models())} models"


def known(text: str) -> Callable[[Desk, Any], str]:
    def use(desk: Desk, given: Any) -> str:
        from SelfConfiguringSegmentationLib.train.known_trainings import KnownTrainings

        path = desk.place.parent / "trainings.json"
        path.write_text(text, encoding="utf-8")
        return f"{len(KnownTrainings(path).read())} trainings"

    return use


def setting(value: Any) -> Callable[[Desk, Any], str]:
    def use(desk: Desk, given: Any) -> str:
        from SelfConfiguringSegmentationLib import settings

        def stored(key: str, default: Any, converter: Any = None) -> Any:
            return converter(value)

        desk.patch.setattr(slicer.util, "settingsValue", stored, raising=False)
        return f"{settings.read('Batch/step', 0.5)} {settings.read('Batch/mirror', True)}"

    return use


KEPT: tuple[Row, ...] = (
    Row("a folder without a training", "Train", ("there is no training here", "choose another"),
        lambda desk: desk.place, follow),
    Row("training.json cut off", "Train", ("there is no training here", "a damaged one"),
        training(training_json='{"schema": "selfs'), follow),
    Row("training.json of lists", "Train", ("there is no training here",),
        training(training_json="[[1], 2]"), follow),
    Row("training.json nested 100 000 deep", "Train", ("there is no training here",),
        training(training_json=DEEP), follow),
    Row("a progress file of zeros", "Train", ("0 epochs; running False",),
        training(progress_jsonl=bytes(5000)), follow, works=True),
    Row("a progress file with a line cut off", "Train", ("1 epochs", "epoch 2 of 5"),
        training(progress_jsonl=EPOCH + '{"event": "epoch_fin'), follow, works=True),
    Row("a progress file with wrong values", "Train",
        ("1 epochs", "is damaged: some of its lines are left out"),
        training(progress_jsonl=WRONG + EPOCH), follow, works=True),
    Row("a progress file nested 100 000 deep", "Train", ("1 epochs",),
        training(progress_jsonl=DEEP + "\n" + EPOCH), follow, works=True),
    Row("the list of trainings is damaged", "Train", ("0 trainings",), nothing,
        known('{"schema": "selfseg.slicer-trainings/1", "trainings": [7, {"folder": []}]}'),
        works=True),
    Row("the list of trainings is nested 100 000 deep", "Train", ("0 trainings",), nothing,
        known(DEEP), works=True),
    Row("the list of other models is damaged", "Segment", ("0 models",),
        with_library("other_models.json", '{"places": [1, null, "'), list_models, works=True),
    Row("the list of other models is nested 100 000 deep", "Segment", ("0 models",),
        with_library("other_models.json", DEEP), list_models, works=True),
    Row("settings that are text", "all", ("0.5 False",), nothing, setting("nonsense"), works=True),
    Row("settings that are lists", "all", ("0.5 True",), nothing, setting([1, 2]), works=True),
)  # fmt: skip


def with_worker(command: Callable[[Desk], Any]) -> Callable[[Desk, Any], str]:
    def use(desk: Desk, given: Any) -> str:
        from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

        desk.logic = SelfConfiguringSegmentationLogic(segmenting=command(desk))
        try:
            return segment(desk, given)
        finally:
            desk.logic.close()

    return use


def fake(behaviour: str) -> Callable[[Desk, Any], str]:
    from slicer_module.workers import fake_segmenting

    return with_worker(lambda desk: fake_segmenting(behaviour, desk.place.parent / "library"))


def python(path: str) -> Callable[[Desk, Any], str]:
    """A worker in a Python that is not there; "" looks for Slicer's own."""

    def command(desk: Desk) -> Any:
        from SelfConfiguringSegmentationLib.segment.logic import SegmentLogic
        from SelfConfiguringSegmentationLib.segment.worker import worker_command_of

        own = worker_command_of(path, {}) if path else None
        return SegmentLogic(worker_command=own, library=desk.place.parent / "library")

    return with_worker(command)


def job(start: Callable[[], Any]) -> Callable[[Desk, Any], str]:
    """An import of a model by a child that is started so."""

    def use(desk: Desk, given: Any) -> str:
        desk.logic.segmenting._start = start()
        run = desk.logic.startImport(desk.place / "model", onLog=desk.log.append)
        run.wait()
        return str(run.finish())

    return use


def no_python() -> Any:
    from SelfConfiguringSegmentationLib.jobs import start_selfseg

    return lambda arguments: start_selfseg(arguments, python="/nowhere/python", environment={})


def install(folder: str = "", *, answer: bool = True) -> Callable[[Desk, Any], str]:
    """Installs what is missing: NumPy, say."""

    def use(desk: Desk, given: Any) -> str:
        import slicer.packaging
        from SelfConfiguringSegmentationLib.dependencies import install_dependencies

        desk.patch.setattr(slicer.packaging, "pip_check", lambda name: "numpy" not in str(name))
        desk.patch.setattr(slicer.packaging, "pip_ensure", lambda *_, **__: None)
        desk.patch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_, **__: answer)
        install_dependencies(desk.place / folder if folder else "")
        return "installed"

    return use


def wheels(desk: Desk) -> None:
    (desk.place / "wheels").mkdir()
    (desk.place / "wheels" / "numpy-2.4.6-py3-none-any.whl").touch()
    (desk.place / "empty").mkdir()


PROCESSES: tuple[Row, ...] = (
    Row("a worker that dies", "Segment", ("ended unexpectedly", "memory"), plain, fake("crash")),
    Row("a worker without its Python", "Segment", ("cannot be started", "/nowhere/python"), plain,
        python("/nowhere/python")),
    Row("no Slicer around the module", "Segment", ("Slicer's Python was not found",
        "do this inside Slicer"), plain, python("")),
    Row("a child that dies", "Segment", ("ended unexpectedly", "exit code 77"), nothing,
        job(lambda: fake_starter("crash"))),
    Row("a child that says nothing", "Segment", ("is not in the library", "read the log"), nothing,
        job(lambda: fake_starter("forget"))),
    Row("a child without its Python", "Segment", ("selfseg cannot be started", "/nowhere/python"),
        nothing, job(no_python)),
    Row("packages that cannot be installed", "all", ("still not installed: numpy", "start Slicer"),
        nothing, install()),
    Row("a folder of wheels without one", "all", ("holds no .whl files",), wheels,
        install("empty")),
    Row("an installation that the user declines", "all", ("was declined",), wheels,
        install("wheels", answer=False)),
)  # fmt: skip


def downloaded(data: Callable[[], bytes], *, sound: bool = True) -> Callable[[Desk, Any], str]:
    """Downloads these bytes for the hippocampi, with the right checksum or a wrong one."""

    def use(desk: Desk, given: Any) -> str:
        import hashlib

        from SelfConfiguringSegmentationLib import samples

        content = data()

        class SampleDataLogic:
            def downloadFile(self, uri: str, folder: str, name: str, checksum: str) -> str:
                if not content:
                    raise ValueError("Download failed: no route to host")
                if sound:
                    (Path(folder) / name).write_bytes(content)
                return str(Path(folder) / name)  # as Slicer's, without a word where it is wrong

        module = types.ModuleType("SampleData")
        module.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
        desk.patch.setitem(sys.modules, "SampleData", module)
        desk.patch.setattr(samples, "downloads_folder", lambda: desk.place / "cache")
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        desk.patch.setattr(samples, "HIPPOCAMPUS_MD5", digest)
        return str(samples.download_hippocampus())

    return use


def _archive(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    return stream.getvalue()


DOWNLOADS: tuple[Row, ...] = (
    Row("no network", "Sample Data", ("could not be downloaded", "no route to host"), nothing,
        downloaded(lambda: b""), leaves=("cache",)),
    Row("a download with another checksum", "Sample Data",
        ("damaged or was changed", "the file was removed"), nothing,
        downloaded(lambda: b"x", sound=False), leaves=("cache",)),
    Row("a download that is text", "Sample Data", ("cannot be unpacked",), nothing,
        downloaded(lambda: b"<html>Not here</html>"), leaves=("cache",)),
    Row("an archive cut off", "Sample Data", ("cannot be unpacked",), nothing,
        downloaded(lambda: _archive("Task04_Hippocampus/dataset.json")[:520]), leaves=("cache",)),
    Row("an archive that leads out of its folder", "Sample Data", ("cannot be unpacked",
        "outside"), nothing, downloaded(lambda: _archive("../../outside.txt")), leaves=("cache",)),
    Row("an archive of something else", "Sample Data", ("cannot be unpacked",), nothing,
        downloaded(lambda: _archive("other/dataset.json")), leaves=("cache",)),
)  # fmt: skip
