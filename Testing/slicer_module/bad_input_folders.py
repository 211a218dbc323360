"""Folders that are to be reviewed or segmented, with their logs."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from bad_input.limits import limited
from slicer_module.bad_input_rows import DEEP, Desk, Row, volume
from slicer_module.bad_input_segmentations import TWO, put_under
from slicer_module.bad_input_volumes import flat
from slicer_module.review_folders import write_image, write_predictions

OUT = ("out", "out/*")


def predicted(*changes: Callable[[Path], object]) -> Callable[[Desk], Path]:
    """A folder of predictions with its scans, to which something was done."""

    def given(desk: Desk) -> Path:
        folder = write_predictions(desk.place, {"case_a": 0.9, "case_b": 0.5})
        for change in changes:
            change(folder)
        return folder

    return given


def review(desk: Desk, folder: Path) -> str:
    """Opens the folder and reads its first case."""
    from SelfConfiguringSegmentationLib.model_list import ModelList
    from SelfConfiguringSegmentationLib.review.case_files import load_case
    from SelfConfiguringSegmentationLib.review.folder import open_folder

    opened = open_folder(folder, "Ada", ModelList(desk.place.parent / "library"))
    case = opened.case("case_a") or opened.review.cases[0]
    draft = desk.place / "none"
    loaded = load_case(
        case, opened.image_files(case), opened.description, draft=draft, reviewed=None
    )
    return f"{len(opened.review.cases)} cases; {loaded.case.identifier}; {opened.writable}"


def content(name: str, text: str | bytes) -> Callable[[Path], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def log(*statements: str) -> Callable[[Path], None]:
    """A SQLite file where the review log should be."""

    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "review.sqlite")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return change


def damaged_log(folder: Path) -> None:
    from selfseg.review.log import ReviewLog

    ReviewLog.of(folder).set_source("", "ghost")
    path = folder / "review.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 2048] = b"\xff" * 2048
    path.write_bytes(data)


def other_grid(folder: Path) -> None:
    write_image(folder.parent / "scans" / "case_a_0000.nii.gz", np.zeros((10, 14, 12), np.int16), 3)


def scene_to_review(desk: Desk, given: Any) -> str:
    from SelfConfiguringSegmentationLib.review.case_nodes import scene_case

    segmentation, scan = given
    _voxels, grid, segments = scene_case(segmentation, scan)
    return f"{len(segments.segments)} segments on {grid.shape}"


def with_its_scan(desk: Desk) -> Any:
    made = TWO(desk)
    return made, made.GetNodeReference(made.GetReferenceImageGeometryReferenceRole())


def with_a_sheared_scan(desk: Desk) -> Any:
    matrix = np.eye(4)
    matrix[0, 1] = 0.4
    return TWO(desk), volume("slanted", matrix=matrix)


REVIEWS: tuple[Row, ...] = (
    Row("a folder that is not there", "Review", ("nowhere",), lambda desk: desk.place / "nowhere",
        review),
    Row("an empty folder", "Review", ("nothing to review in this folder",),
        lambda desk: desk.place, review),
    Row("predictions.json that is text", "Review", ("predictions.json", "cannot be read"),
        predicted(content("predictions.json", "{")), review),
    Row("predictions.json that is a list", "Review", ("predictions.json", "what to do"),
        predicted(content("predictions.json", "[1]")), review),
    Row("predictions.json nested 100 000 deep", "Review", ("predictions.json", "what to do"),
        predicted(content("predictions.json", DEEP)), review),
    Row("a review log that is text", "Review", ("review log is damaged", "It is left as it is"),
        predicted(content("review.sqlite", "approved: all of them " * 100)), review),
    Row("a review log of another program", "Review",
        ("no review log", "a SQLite file of another program", "move it elsewhere"),
        predicted(log("CREATE TABLE notes (text)")), review),
    Row("a review log of the future", "Review", ("newer selfseg", "version 99"),
        predicted(log(f"PRAGMA application_id = {0x53534752}", "PRAGMA user_version = 99",
                      "CREATE TABLE decisions (number)")), review),
    Row("a review log with damage inside", "Review", ("review log is damaged", "restore it"),
        predicted(damaged_log), review),
    Row("a folder for a review log", "Review", ("review log", "what to do"),
        predicted(lambda folder: (folder / "review.sqlite").mkdir()), review),
    Row("a prediction cut in half", "Review", ("case_a.nii.gz", "cannot be read"),
        predicted(lambda f: (f / "case_a.nii.gz").write_bytes(
            (f / "case_a.nii.gz").read_bytes()[:100])), review),
    Row("a prediction whose scan is gone", "Review", ("the image of case_a was not found",
        "choose the folder that holds the images"),
        predicted(lambda folder: shutil.rmtree(folder.parent / "scans")), review),
    Row("a scan on another grid", "Review", ("does not lie on the grid of its image", "spacing"),
        predicted(other_grid), review),
    Row("a sheared scan of the scene to review", "Review", ("not perpendicular",),
        with_a_sheared_scan, scene_to_review),
    Row("a case of the scene under a transform that makes it flat", "Review",
        ("2 segments on (12, 20, 16)",), lambda desk: _flat_case(desk), scene_to_review,
        works=True),
)  # fmt: skip


def _flat_case(desk: Desk) -> Any:
    made, scan = with_its_scan(desk)
    for node in (made, scan):
        put_under(flat)(desk, node)
    return made, scan


def scans(*files: tuple[str, bytes]) -> Callable[[Desk], Path]:
    """A folder of scans: one good one, and these."""

    def given(desk: Desk) -> Path:
        folder = desk.place / "scans"
        folder.mkdir()
        for name, data in files:
            (folder / name).write_bytes(data)
        return folder

    return given


def good_and(*files: tuple[str, bytes]) -> Callable[[Desk], Path]:
    def given(desk: Desk) -> Path:
        folder = scans(*files)(desk)
        voxels = np.random.default_rng(0).integers(0, 200, (12, 20, 16)).astype(np.int16)
        write_image(folder / "good.nii.gz", voxels)
        return folder

    return given


def batch(target: str = "out", *, limit: str = "", **chosen: Any) -> Callable[[Desk, Any], str]:
    """Segments a folder, and says what came of each case."""

    def use(desk: Desk, folder: Path) -> str:
        from SelfConfiguringSegmentationLib.batch.run import BatchSettings

        settings = BatchSettings(device="cpu", mirror=False, **chosen)
        with limited(limit):
            run = desk.logic.startSegmentFolder(
                folder, desk.model, desk.place / target, settings=settings, onLog=desk.log.append
            )
            run.wait()
            result = run.finish()
        failed = "; ".join(f"{name} failed: {why}" for name, why in result.failed.items())
        return f"segmented {', '.join(result.finished)}; {failed}"

    return use


def locked(desk: Desk) -> Path:
    (desk.place / "locked").mkdir(mode=0o500)
    return good_and()(desk)


def occupied(desk: Desk) -> Path:
    (desk.place / "out").write_text("thesis", encoding="utf-8")
    return good_and()(desk)


NOTED = ("out", "out/predictions.json", "out/volumes.csv", "out/.lock")

BATCHES: tuple[Row, ...] = (
    Row("a folder of scans that is not there", "Batch", ("there is no such file", "nowhere"),
        lambda desk: desk.place / "nowhere", batch()),
    Row("a folder with nothing that can be read", "Batch", ("no image to predict",),
        scans(("report.docx", b"word"), ("notes.txt", b"text")), batch()),
    Row("a folder with one broken scan alone", "Batch", ("broken failed:", "cannot be read"),
        scans(("broken.nii.gz", b"no scan at all")), batch(), works=True, leaves=NOTED),
    Row("a folder with a broken scan among good ones", "Batch",
        ("segmented good", "broken failed:", "cannot be read"),
        good_and(("broken.nii.gz", b"no scan at all")), batch(), works=True, leaves=OUT),
    Row("structures that the model does not have", "Batch", ("no structure 'heart'", "liver"),
        good_and(), batch(structures=("heart",))),
    Row("a file where the segmentations should go", "Batch", ("cannot be written", "File exists"),
        occupied, batch()),
    Row("segmentations to where nothing may be written", "Batch", ("right to write",), locked,
        batch("locked/out", limit="plain user")),
    Row("a full disk for segmentations", "Batch", ("cannot be written", "space"),
        good_and(), batch(limit="very full disk"), leaves=NOTED),
)  # fmt: skip
