"""The report: complete, self-contained, safe against what files contain, robust to gaps."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from report_examples import (
    SCORES,
    a_calibration,
    a_description,
    a_fingerprint,
    a_plan,
    an_entry,
    an_epoch,
    an_overlay,
)
from selfseg.domain.labels import LabelScheme
from selfseg.quality.learning import fit_quality
from selfseg.report import html as page_module
from selfseg.report.content import (
    CalibrationContent,
    OverlayCase,
    ReportContent,
    ScoredConfiguration,
    TrainingRun,
    Usage,
)
from selfseg.report.html import render_report, report_numbers, write_report, write_report_json
from selfseg.report.metric_table import metric_table
from selfseg.report.summary import summarise


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def _parse(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_one_file(tmp_path: Path):
    content = ReportContent("Größe", "today", a_description())
    write_report(tmp_path / "report.html", content)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(content)


def test_the_page_says_everything_and_needs_nothing_else(page_text: str):
    html = page_text
    assert len(html) < 5_000_000
    page = _parse(html)
    for words in (
        "Liver model", "0.69", "Best case", "4 held-out cases", "the largest that fits",
        "selfseg predict -m model -i in -o out", "a laptop", "ab" * 32, "32 × 64 × 64",
        "The weakest structure is lesion (0.550)", "2 of 4", "0.740 to 0.930", "0.61 to 0.78",
        "lesion was missed altogether in 1 case", "The largest confusions", "rank correlation",
        "too sure of itself", "liver: keep only the largest connected part", "the mean rises",
        "plain 3d_fullres is best on 4 held-out cases", "too few cases",
    ):  # fmt: skip
        assert words in page.text, words
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 9
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    places = {attributes.get("id") for _, attributes in page.tags}
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert set(links) <= places


def test_names_from_files_are_escaped(full: ReportContent):
    evil = '<script>alert("1")</script> $x_$ & {{ 7 * 7 }}'
    labels = LabelScheme.from_mapping({evil: 1, "lesion": 3})
    scores = {"metric_per_case": [an_entry(evil, 0.5, 0.5)]}
    content = replace(
        full,
        title=evil,
        description=a_description(name=evil, labels=labels, channel_names=(evil,)),
        scores=scores,
        overlays=(an_overlay(identifier=evil, title=evil),),
        runs=(TrainingRun(evil, evil, (an_epoch(0, pseudo_dice={evil: 0.5}),)),),
        usage=(Usage(evil, evil, evil),),
        configurations=(ScoredConfiguration(evil, (evil,), scores),) * 2,
        quality=None,
        calibration=replace(a_calibration(), raw={evil: a_calibration().raw["liver"]}),
        provenance=((evil, evil),),
    )
    html = render_report(content)
    assert "<script" not in html
    assert "49" not in re.sub(r"data:[^\"]*", "", html).split("</style>")[1]
    assert _parse(html).text.count(evil) >= 8


def test_a_report_without_anything_but_a_data_set():
    page = _parse(render_report(ReportContent("New", "today", a_description())))
    assert "not scored yet" in page.text
    assert "Training" not in page.text.replace("Training cases", "")
    assert [attributes for tag, attributes in page.tags if tag == "img"] == []


def test_every_metric_that_was_measured_is_in_the_page_and_the_numbers(full: ReportContent):
    found = {"Dice": 0.5, "Precision": 0.75, "MSD": 1.25, "VolumeDifference": -0.5, "n_ref": 40}
    entry = an_entry("a", 0.5, None)
    scores = {"metric_per_case": [{**entry, "metrics": {"1": {**found, "IoU": None}, "3": {}}}]}
    content = replace(full, scores=scores, overlays=())
    liver = report_numbers(content, summarise(content))["structures"][0]
    assert {name: v for name, v in liver["means"].items() if v is not None} == found
    table = metric_table(summarise(content), area=False)
    assert table is not None
    assert table["columns"] == [
        ("Dice", ""), ("Precision", ""), ("n_ref", "voxels"), ("MSD", "mm"),
        ("VolumeDifference", "ml"),
    ]  # fmt: skip
    assert table["rows"] == [
        ("liver", ["0.500", "0.750", "40", "1.25", "-0.50"]),
        ("lesion", ["–"] * 5),
    ]
    text = _parse(render_report(content)).text
    assert all(words in text for words in ("Every metric", "Precision", "VolumeDifference, ml"))
    flat = metric_table(summarise(content), area=True)
    assert flat is not None
    assert flat["columns"][-1] == ("VolumeDifference", "cm²")
    bare = metric_table(replace(summarise(content), unit="pixels"), area=True)
    assert bare is not None
    assert bare["columns"][-1] == ("MSD", "pixels")
    assert metric_table(summarise(replace(content, scores=None)), area=False) is None


GAPS = {
    "no scores": {"scores": None},
    "empty scores": {"scores": {}},
    "no cases": {"scores": {"metric_per_case": [], "foreground_mean": {"Dice": None}}},
    "nothing defined": {"scores": {"metric_per_case": [an_entry("a", None, None)]}},
    "no metrics": {"scores": {"metric_per_case": [{"reference_file": None, "metrics": {}}]}},
    "mean only": {"scores": {"foreground_mean": {"Dice": 0.5}}},
    "no epochs": {"runs": (TrainingRun("2d", "0"),)},
    "undefined pseudo Dice": {
        "runs": (TrainingRun("2d", "0", (an_epoch(0, mean_pseudo_dice=None),)),)
    },
    "five folds": {
        "runs": tuple(TrainingRun("2d", str(f), (an_epoch(0), an_epoch(1))) for f in range(5))
    },
    "loss NaN": {"runs": (TrainingRun("2d", "0", (an_epoch(0, train_loss=math.nan),)),)},
    "no reference": {"overlays": (an_overlay(reference=None),)},
    "nothing predicted": {"overlays": (an_overlay(predicted=np.zeros((14, 16, 18), np.uint8)),)},
    "thick slices": {"overlays": (an_overlay(spacing=(9.0, 1.0, 1.0)),)},
    "blank image": {"overlays": (an_overlay(image=np.zeros((14, 16, 18))),)},
    "no fingerprint": {"fingerprint": None},
    "no histograms": {"fingerprint": replace(a_fingerprint(), intensity_histograms=())},
    "no decisions": {"plan": replace(a_plan(), decisions=())},
    "nothing predictable": {"quality": fit_quality([])},
    "nothing calibrated": {"calibration": CalibrationContent({}, {}, 1.0, 0, 0)},
    "no confusion": {"scores": {**SCORES, "confusion": {}}},
}


@pytest.mark.parametrize("changes", GAPS.values(), ids=GAPS)
def test_gaps_are_no_obstacle(full: ReportContent, changes: dict, tmp_path: Path):
    slim = replace(full, overlays=(), runs=(), plan=None, calibration=None, quality=None)
    content = replace(slim, **changes)
    _parse(render_report(content))
    write_report_json(tmp_path / "report.json", content)
    assert json.loads((tmp_path / "report.json").read_text())["schema"] == "selfseg.report/1"


def test_too_many_overlays_are_left_out_and_said_so(full: ReportContent):
    flat = np.ones((1, 9, 9), np.uint8)
    picture = OverlayCase("a", flat, flat, (999.0, 1.0, 1.0))
    content = ReportContent("R", "now", full.description, overlays=(picture,) * 11)
    page = _parse(render_report(content))
    assert "2 more cases were given" in page.text


def test_regions_are_scored_under_their_own_key():
    labels = LabelScheme.from_mapping({"whole": [1, 2], "core": 2}, [1, 2])
    entry = {"reference_file": "a.png", "metrics": {"(1, 2)": {"Dice": 0.9}, "2": {"Dice": 0.7}}}
    content = ReportContent(
        "R", "now", a_description(labels=labels), scores={"metric_per_case": [entry]}
    )
    summary = summarise(content)
    assert [s.mean for s in summary.structures] == [0.9, 0.7]
    assert summary.headline == pytest.approx(0.8)


def test_the_numbers(full: ReportContent, tmp_path: Path):
    write_report_json(tmp_path / "report.json", full)
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["mean_dice"] == 0.69375
    liver, lesion = numbers["structures"]
    assert liver["mean_dice"] == pytest.approx(0.8375)
    assert liver["median_dice"] == pytest.approx(0.85)
    assert (lesion["cases"], lesion["undefined"]) == (2, 2)
    assert (lesion["lowest_dice"], lesion["highest_dice"]) == (0.5, 0.6)
    assert lesion["mean_iou"] is None
    assert numbers["cases"][2] == {
        "case": "c",
        "mean_dice": 0.95,
        "dice": {"liver": 0.95, "lesion": None},
        "hd95_mm": {"liver": None, "lesion": None},
    }
    assert numbers["runs"][0]["epochs"] == 9
    assert numbers["runs"][0]["seconds"] == 18.0
    assert numbers["decisions"][0]["what"] == "Patch"
    assert report_numbers(full, summarise(full))["dataset"] == "Abdomen"
    assert liver["intervals"]["Dice"] == [0.74, 0.93]
    assert numbers["mean_dice_interval"] == [0.61, 0.78]
    assert numbers["confusion"]["1"] == {"0": 4, "1": 90, "3": 6}
    assert numbers["configurations"][1]["is_shown"]
    assert numbers["calibration"]["temperature"] == 1.4
    assert len(numbers["calibration"]["raw"]["structures"]["liver"]["counts"]) == 15
    assert numbers["predicted_quality"]["structures"]["lesion"]["dice"]["verdict"] == (
        "too few cases"
    )
    assert len(numbers["predicted_quality"]["held_out"]) == 12
    assert numbers["selection"]["tested"][0]["reason"] == "the mean rises"
    assert numbers["usage"][0]["title"] == "Segment"


def test_headings_are_in_order_and_every_part_has_a_name(page_text: str):
    page = _parse(page_text)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "section":
            assert attributes["aria-labelledby"] in ids
    cells = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all(cell.get("scope") in ("col", "row") for cell in cells)


def test_many_structures_fit_a_mail(full: ReportContent, monkeypatch: pytest.MonkeyPatch):
    names = {f"structure {i}": i for i in range(1, 31)}
    labels = LabelScheme.from_mapping(names)
    rng = np.random.default_rng(2)
    entries = [
        {
            "reference_file": f"case_{i}.nii.gz",
            "metrics": {
                str(v): {"Dice": float(rng.uniform(0.5, 1)), "HD95": float(rng.uniform(0, 9))}
                for v in names.values()
            },
        }
        for i in range(20)
    ]
    volume = np.repeat(rng.integers(0, 31, (4, 5, 5)).astype(np.uint8), 2, axis=1)
    case = OverlayCase("a", volume * 1.0, volume, (2.0, 1.0, 1.0), volume)
    content = replace(
        full, description=a_description(labels=labels), scores={"metric_per_case": entries},
        overlays=(case,), runs=(), plan=None, calibration=None, quality=None, selection=None,
    )  # fmt: skip
    html = render_report(content)
    assert len(html) < 2_000_000
    page = _parse(html)
    assert "Weakest structure" in page.text
    monkeypatch.setattr(page_module, "MOST_BYTES", 1000)
    assert len(render_report(content)) < len(html)  # coarser pictures
