"""Sequences and models that the page Segment is given, with a real worker."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from slicer_module.bad_input_rows import Desk, Row, volume
from slicer_module.bad_input_volumes import (
    Given,
    bending,
    beside,
    finish,
    linear,
    node,
    plain,
    segment,
    start,
    under,
    with_value,
)
from slicer_module.conftest import OBLIQUE


def sequence(*frames: Given) -> Given:
    """A browser that plays them; gives the proxy, or the first node where there is none."""

    def given(desk: Desk) -> Any:
        from slicer_module.stand_ins.application import Module

        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(desk.scene)
        desk.patch.setattr(slicer.modules, "sequences", Module(logic), raising=False)
        made = desk.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
        for number, frame in enumerate(frames):
            shown = frame(desk)
            made.SetDataNodeAtValue(shown, str(number))
            desk.scene.RemoveNode(shown)
        browser = desk.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        browser.SetAndObserveMasterSequenceNodeID(made.GetID())
        logic.UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(made)

    return given


def all_frames(desk: Desk, given: Any) -> str:
    return segment(desk, given, allFrames=True)


def moved(desk: Desk) -> Any:
    matrix = OBLIQUE.copy()
    matrix[0, 3] += 3
    return volume("moved", matrix=matrix)


def two_channels(desk: Desk) -> Path:
    from slicer_module.children import write_model

    return write_model(desk.place.parent / "two", ["CT", "PET"])


def model_file(change: Callable[[Path], object]) -> Callable[[Desk, Any], str]:
    """Segments with a model file that was spoilt."""

    def use(desk: Desk, given: Any) -> str:
        path = desk.place.parent / "models" / "model.selfseg"
        path.parent.mkdir()
        shutil.copy(desk.model, path)
        change(path)
        return segment(desk, given, path)

    return use


def library_entry(name: str, content: str) -> Callable[[Desk, Any], str]:
    def use(desk: Desk, given: Any) -> str:
        folder = desk.logic.segmenting.models.library / "spoilt@1.0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
        try:
            return segment(desk, given, "spoilt")
        finally:
            shutil.rmtree(folder)

    return use


SEQUENCES: tuple[Row, ...] = (
    Row("all frames of an ordinary volume", "Segment", ("shows no sequence",), plain, all_frames),
    Row("all frames of an empty sequence", "Segment", ("this is no volume",), sequence(),
        all_frames),
    Row("a sequence of volumes and other things", "Segment",
        ("this is no volume", "vtkMRMLLinearTransformNode"),
        sequence(plain, lambda desk: linear(desk, 1.0, 1.0, 1.0)), all_frames),
    Row("a sequence with an empty frame", "Segment", ("is empty",),
        sequence(plain, node("vtkMRMLScalarVolumeNode", "nothing")), all_frames),
    Row("a sequence with NaN in its second frame", "Segment", ("not numbers",),
        sequence(plain, with_value(float("nan"))), all_frames),
    Row("a sequence that is deleted while it is segmented", "Segment",
        ("the sequence is no longer in the scene",), sequence(plain, plain),
        lambda desk, given: _deleted_sequence(desk, given)),
)  # fmt: skip


def _deleted_sequence(desk: Desk, proxy: Any) -> str:
    run = start(desk, proxy, allFrames=True)
    run.poll()
    desk.scene.RemoveNode(proxy)
    desk.remember()
    return finish(desk, run)


def _manifest(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        import zipfile

        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bundle.json", text)

    return change


def _bomb(desk: Desk, given: Any) -> str:
    from SelfConfiguringSegmentationLib import models

    desk.patch.setattr(models, "MAX_BYTES", 2**20)  # making gigabytes would take long
    return model_file(_manifest(" " * 2**22))(desk, given)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _other_weights(path: Path) -> None:
    """Flips bytes in the middle of the weights, and not in the list of the archive."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


MODELS: tuple[Row, ...] = (
    Row("a model that is not there", "Segment", ("there is no model 'ghost'", "import it"), plain,
        lambda desk, given: segment(desk, given, "ghost")),
    Row("a folder that is no model", "Segment", ("this is no model folder", "none of them"), plain,
        lambda desk, given: segment(desk, given, desk.place)),
    Row("a model file that is text", "Segment", ("description cannot be read", "zip"), plain,
        model_file(lambda path: path.write_text("weights"))),
    Row("a model file cut off", "Segment", ("description cannot be read",), plain,
        model_file(_cut)),
    Row("a model file whose weights were changed", "Segment", ("model.selfseg", "what to do"),
        plain, model_file(_other_weights)),
    Row("a model file with a description that unpacks to gigabytes", "Segment",
        ("description cannot be read", "too large"), plain, _bomb),
    Row("a model file that is nested 100 000 deep", "Segment",
        ("description cannot be read", "RecursionError"), plain,
        model_file(_manifest("[" * 100_000))),
    Row("a model of the library whose description is a list", "Segment",
        ("the model 'spoilt' is damaged", "import it again"), plain,
        library_entry("bundle.json", "[1, 2]")),
    Row("one volume for a model of two channels", "Segment",
        ("another number of images", "expected: 2: CT, PET", "found: 1: scan"), plain,
        lambda desk, given: segment(desk, given, two_channels(desk))),
    Row("channels that do not lie on one grid", "Segment",
        ("'moved' does not lie on the grid of 'scan'", "origin", "resample"), beside(plain, moved),
        lambda desk, given: segment(desk, list(given), two_channels(desk))),
    Row("channels under two transforms", "Segment",
        ("under another transform than", "put both under one"), beside(plain, under(bending)),
        lambda desk, given: segment(desk, list(given), two_channels(desk))),
)  # fmt: skip
