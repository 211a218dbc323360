"""Lines that a worker (`selfseg serve --stdio`) is told, and what it answers."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import image, linked, nifti, nrrd, written
from .rows import Change, nothing


@dataclass(frozen=True)
class Line:
    """One line, and its last answer.

    Args:
        name: of the input, for people.
        line: without its end; "HERE" stands for the folder with the files.
        answer: "refused", where the line was not taken; "failed", where the work cannot be done.
        says: texts that must be in the answer.
        change: what is done in the folder first.
    """

    name: str
    line: bytes
    answer: str
    says: tuple[str, ...]
    change: Change = nothing


def _segment(number: str, **changes: Any) -> bytes:
    request = {
        "kind": "segment",
        "id": number,
        "model": {"source": "HERE/model.selfseg", "device": "cpu"},
        "images": ["HERE/images/a_0000.nii.gz"],
        "output": f"HERE/out_{number}.nii.gz",
        "mirror": False,
        "step": 1.0,
    } | changes
    return json.dumps({k: v for k, v in request.items() if v is not ...}).encode()


def _objects() -> bytes:
    """An array file that runs code when it is read carelessly."""

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, ("was_run",)

    stream = io.BytesIO()
    np.save(stream, np.array([Runs()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _array_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + bytes(64)


GRID = {"spacing": [1.0, 1.0, 1.0]}


def _array(number: str, name: str, grid: object = GRID) -> bytes:
    return _segment(number, images=[f"HERE/{name}.npy"], grid=grid)


LINES: tuple[Line, ...] = (
    Line("no JSON", b"segment, please", "refused", ("no message",)),
    Line("an empty object", b"{}", "refused", ("kind",)),
    Line("a list", b"[1, 2]", "refused", ("object",)),
    Line("no UTF-8", b'{"kind": "status", "id": "\xff\xfe"}', "refused", ("no message",)),
    Line("an unknown kind", b'{"kind": "explode", "id": "k1"}', "refused", ("expected one of",)),
    Line("an id with a blank", b'{"kind": "status", "id": "a b"}', "refused", ("id is not valid",)),
    Line("an id that is a number", b'{"kind": "status", "id": 7}', "refused",
         ("id: expected text",)),
    Line("NaN", b'{"kind": "load", "id": "k2", "timeout_seconds": NaN}', "refused", ("NaN",)),
    Line("100 000 brackets", b"[" * 100_000, "refused", ("no message",)),
    Line("2 MB on one line", b'"' + b"x" * 2**21 + b'"', "refused", ("too long",)),
    Line("a field nobody reads", _segment("k3", evil=1), "refused", ("unknown field evil",)),
    Line("no output", _segment("k4", output=...), "refused", ("missing field output",)),
    Line("a path that is not absolute", _segment("k5", output="../x.nii.gz"), "refused",
         ("no absolute path",)),
    Line("a path with a zero in it", _segment("k6", output="HERE/x\0.nii.gz"), "refused",
         ("no absolute path",)),
    Line("a step of zero", _segment("k7", step=0), "refused", ("step is not valid",)),
    Line("no images", _segment("k8", images=[]), "refused", ("no image",)),
    Line("a box that is empty", _segment("k9", limit=[[5, 5], [0, 2], [0, 2]]), "refused",
         ("limit is not valid",)),
    Line("a time of minus one", _segment("k10", timeout_seconds=-1), "refused",
         ("timeout_seconds is not valid",)),
    Line("memory of 10^400", b'{"kind": "load", "id": "k11", "timeout_seconds": 1' + b"0" * 400 +
         b"}", "refused", ("",)),
    Line("a protocol of the future", b'{"kind": "hello", "id": "k12", "protocol": 99}', "refused",
         ("protocol",)),
    Line("a box outside of the image", _segment("f1", limit=[[0, 9999], [0, 2], [0, 2]]),
         "failed", ("limit",)),
    Line("a model that is not there", _segment("f2", model={"source": "HERE/none"}), "failed",
         ("no model",)),
    Line("a model that is a text", _segment("f3", model={"source": "HERE/text.selfseg"}),
         "failed", ("no zip file",), written("text.selfseg", "weights")),
    Line("an image that is not there", _segment("f4", images=["HERE/gone.nii.gz"]), "failed",
         ("does not exist",)),
    Line("an image that links to itself", _segment("f5", images=["HERE/loop.nii.gz"]), "failed",
         ("does not exist",), linked("loop.nii.gz", "loop.nii.gz")),
    Line("an image of 10^6 x 10^6 x 10^6", _segment("f6", images=["HERE/huge.nrrd"]), "failed",
         ("cut off",), nrrd("huge.nrrd", (10**6,) * 3)),
    Line("3000 slices that are not there", _segment("f7", images=["HERE/cut.nii.gz"]), "failed",
         ("cut off",), nifti("cut.nii.gz", (512, 512, 3000), b"x")),
    Line("an image with NaN", _segment("f8", images=["HERE/nan.nii.gz"]), "failed",
         ("not numbers",), image("nan.nii.gz", np.full((4, 4, 4), np.nan, np.float32))),
    Line("an output below a file", _segment("f9", output="HERE/model.selfseg/x.nii.gz"),
         "failed", ("written",)),
    Line("an output of no kind", _segment("f10", output="HERE/x.docx"), "failed", ("kind",)),
    Line("an array that runs code", _array("f11", "code"), "failed", ("array",),
         written("code.npy", _objects())),
    Line("an array of 10^6 x 10^6 x 10^6", _array("f12", "large"), "failed", ("array",),
         written("large.npy", _array_header((10**6,) * 3))),
    Line("an array without its grid", _array("f13", "plain", None), "failed", ("grid",),
         written("plain.npy", _array_header((2, 2, 4)))),
    Line("an array with a spacing of zero", _array("f14", "plain", {"spacing": [0.0, 1.0, 1.0]}),
         "failed", ("spacing",)),
    Line("a structure that is not there", _segment("f15", structures=["heart"]), "failed",
         ("heart",)),
    Line("a picture that is not there", _segment("f16", images=["HERE/x.png"]),
         "failed", ("x.png",)),
)  # fmt: skip


def prepare(place: Path) -> None:
    """Makes what all lines need."""
    for line in LINES:
        line.change(place)
