"""From a real prediction through the page to what `selfseg collect` makes of the review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from SelfConfiguringSegmentationLib.jobs import Job

from selfseg import cli
from selfseg.review.log import ReviewLog
from slicer_module.children import real_starter
from slicer_module.review_page import Page, page
from slicer_module.windows import module_widget, qt_application

__all__ = ["module_widget", "page", "qt_application"]


def run(*arguments: object) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    job = Job([*map(str, arguments)], start=real_starter, on_event=events.append)
    job.wait()
    job.raise_on_failure()
    return events


def test_predict_review_collect(
    page: Page, project: Path, dataset: Path, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "out"
    images = sorted((dataset / "imagesTs").iterdir())
    run("predict", "-m", project, "-i", *images, "-o", folder, "--device", "cpu", "--no-tta")

    page.open(folder)
    assert page.ui.caseTitle.text.endswith("as predicted"), page.ui.statusLabel.text
    names = [segment.name for segment in page.panel.presenter.loaded.shown.segments]
    assert names == ["ball", "bud"]
    corrected = page.mask("bud").copy()
    corrected[:2, :3, :4] ^= True
    page.draw("bud", corrected)
    first = page.current
    while page.panel.presenter.opened.tally.open:
        page.press("approveButton")
    decisions = ReviewLog.of(folder).decisions()
    assert [entry.verdict for entry in decisions] == ["edited"] + ["approved"] * (len(images) - 1)
    assert "bud" in decisions[0].changes
    page.press("trainButton")
    (table,) = page.trainable

    events = run("collect", table, "-o", tmp_path / "collected")
    rows = {event["case"]: event for event in events if event["event"] == "case_surveyed"}
    assert {row["state"] for row in rows.values()} == {"ready"}, rows
    assert [segment["name"] for segment in rows[first]["segments"]] == ["ball", "bud"]
    described = json.loads((tmp_path / "collected" / "dataset.json").read_text(encoding="utf-8"))
    labels = described["labels"]
    (written,) = (tmp_path / "collected" / "labelsTr").glob(f"{first}.*")
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    np.testing.assert_array_equal(values == labels["bud"], corrected)
    (image,) = (tmp_path / "collected" / "imagesTr").glob(f"{first}_0000.*")
    source = next(path for path in images if path.name.startswith(first))
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(image))),
        sitk.GetArrayFromImage(sitk.ReadImage(str(source))),
    )

    assert cli.main(["review-log", str(folder), "--csv", str(tmp_path / "log.csv")]) == 0
    said = capsys.readouterr().out
    assert f"{len(images)} of {len(images)} cases reviewed" in said
    assert f"{first}  edited by Ada" in said
    assert (tmp_path / "log.csv").read_text(encoding="utf-8-sig").count("approved") == (
        len(images) - 1
    )
