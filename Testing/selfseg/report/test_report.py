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

from selfseg.arrays.calibration import reliability
from selfseg.domain.bundle import Member, PostprocessingStep
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import FileFormatError, ImageError
from selfseg.domain.events import EpochFinished, IterationFinished, ValidationFinished
from selfseg.domain.fingerprint import Fingerprint, Histogram, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import ComputeTarget, ConfigurationPlan, Decision, NetworkPlan, Plan
from selfseg.domain.selection import ScoredCandidate, Selection, TriedStep
from selfseg.quality.features import StructureFeatures
from selfseg.quality.predictor import Observation, QualityModel, fit_quality
from selfseg.report import html as page_module
from selfseg.report.content import (
    CalibrationContent,
    OverlayCase,
    ReportContent,
    ScoredConfiguration,
    TrainingRun,
    Usage,
    choose_cases,
    mean_case_dice,
    read_log,
    read_run,
)
from selfseg.report.html import render_report, report_numbers, write_report, write_report_json
from selfseg.report.overlays import CT_WINDOW, best_slice, display_window, draw_overlay, upright
from selfseg.report.story import decisions_in_words, duration, warnings_in_words
from selfseg.report.summary import label_colours, summarise
from selfseg.report.surfaces import _bodies, _Body, _distances, _triangles, draw_surfaces
from selfseg.report.trust_figures import confusion_shares, value_names

LABELS = LabelScheme.from_mapping({"background": 0, "liver": 1, "lesion": 3})


def _description(**changes) -> DatasetDescription:
    return replace(DatasetDescription("Abdomen", ("CT",), LABELS, case_count=4), **changes)


def _epoch(epoch: int, **changes) -> EpochFinished:
    values = {"liver": 0.1 * epoch, "lesion": None if epoch == 0 else 0.05 * epoch}
    return replace(
        EpochFinished("3d_fullres", "0", epoch, 9, 1.0 - 0.1 * epoch, 1.1 - 0.1 * epoch, values,
                      0.08 * epoch, 0.07 * epoch, 0.01, 10.0, 2.0),
        **changes,
    )  # fmt: skip


def _entry(name: str, liver: float | None, lesion: float | None) -> dict:
    metrics = {"1": {"Dice": liver, "IoU": liver}, "3": {"Dice": lesion, "IoU": None}}
    path = f"/data/{name}.nii.gz"
    return {"reference_file": path, "prediction_file": path, "metrics": metrics}


SCORES = {
    "metric_per_case": [
        _entry("a", 0.9, 0.5),
        _entry("b", 0.8, None),
        _entry("c", 0.95, float("nan")),
        _entry("d", 0.7, 0.6),
    ],
    "mean": {"1": {"Dice": 0.8375}, "3": {"Dice": 0.55}},
    "foreground_mean": {"Dice": 0.69375, "HD95": 4.5},
    "confidence_intervals": {
        "foreground_mean": {"Dice": [0.61, 0.78]},
        "mean": {"1": {"Dice": [0.74, 0.93], "HD95": [1.0, 2.0]}, "3": {}},
    },
    "cases": {
        "1": {"both": 4, "missed": 0, "invented": 0, "neither": 0},
        "3": {"both": 1, "missed": 1, "invented": 2, "neither": 0},
    },
    "confusion": {"0": {"0": 900, "1": 5}, "1": {"0": 4, "1": 90, "3": 6}, "3": {"1": 3, "3": 7}},
    "surface_tolerance_mm": 2.0,
}


def _overlay(**changes) -> OverlayCase:
    rng = np.random.default_rng(0)
    labels = np.zeros((14, 16, 18), dtype=np.uint8)
    labels[3:9, 4:10, 5:12] = 1
    labels[5:7, 6:8, 7:9] = 3
    image = rng.normal(40, 30, labels.shape).astype(np.float32)
    case = OverlayCase("a", image, np.roll(labels, 1, 2), (3.0, 1.5, 1.5), labels, score=0.81)
    return replace(case, **changes)


def _fingerprint() -> Fingerprint:
    return Fingerprint(
        spacings=((3.0, 1.0, 1.0),) * 4,
        shapes_after_crop=((40, 80, 80),) * 3 + ((38, 70, 82),),
        median_relative_size_after_cropping=1.0,
        foreground_intensities=(IntensityProperties(80, 82, 20, -10, 170, 5, 160),),
        dataset_hash="ab" * 32,
        intensity_histograms=(Histogram((0.0, 50.0, 100.0, 150.0), (0.2, 0.6, 0.2)),),
        class_voxel_fractions=((1, 0.05), (3, 0.001)),
    )


def _plan() -> Plan:
    network = NetworkPlan("plain", (8, 16), ((3,) * 3,) * 2, ((1,) * 3, (2,) * 3), (2, 2), (2,))
    configuration = ConfigurationPlan(
        "3d_fullres", (3.0, 1.0, 1.0), (32, 64, 64), (40, 80, 80), 2, ("ct",),
        (False,), False, network,
    )  # fmt: skip
    return Plan(
        "plain", "plain", _description(), (3.0, 1.0, 1.0), (40, 80, 80), (0, 1, 2), (0, 1, 2),
        {"3d_fullres": configuration}, _fingerprint().foreground_intensities, ComputeTarget(8.0),
        recommended=("3d_fullres",),
        decisions=(Decision("Patch", "32 × 64 × 64", "the largest that fits"),),
    )  # fmt: skip


def _calibration() -> CalibrationContent:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    found = {name: reliability(p, rng.random(p.size) < p**2) for name in ("liver", "lesion")}
    return CalibrationContent(found, found, 1.4, 4, 20_000)


def _quality() -> QualityModel:
    rng = np.random.default_rng(1)
    entries = []
    for i in range(12):
        error = float(rng.uniform(0.05, 0.4))
        seen = StructureFeatures(10.0 + i, 0.1, 1 - error / 2, None, 1, 1.0, 0.0)
        name = f"case_{i}"
        entries.append(Observation(name, str(i % 3), "liver", seen, 1 - error, 9 * error, True))
    return fit_quality([*entries, replace(entries[0], structure="lesion")])


def _selection() -> Selection:
    flat, solid = Member("plain", "2d", ("0",)), Member("plain", "3d_fullres", ("0",))
    step = PostprocessingStep("largest_component", ("liver",))
    return Selection(
        (solid,), "final",
        (ScoredCandidate((flat,), 0.6, {}), ScoredCandidate((solid,), 0.69, {}, (0.6, 0.78))),
        4, (step,),
        (
            TriedStep(step, True, 0.69, 0.7, {}, "the mean rises"),
            TriedStep(PostprocessingStep("largest_component_all"), False, 0.7, 0.65, {}, "falls"),
        ),
        dice=0.7,
    )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> ReportContent:
    return ReportContent(
        title="Liver model",
        created="2026-01-31 14:05",
        description=_description(),
        fingerprint=_fingerprint(),
        plan=_plan(),
        runs=(TrainingRun("3d_fullres", "0", tuple(_epoch(i) for i in range(9))),),
        scores=SCORES,
        scored_on="4 held-out cases",
        overlays=(_overlay(title="Best case"),),
        configurations=(
            ScoredConfiguration("2d", ("0", "1"), {"foreground_mean": {"Dice": 0.5}}),
            ScoredConfiguration("3d_fullres", ("0",), SCORES, is_shown=True),
        ),
        calibration=_calibration(),
        quality=_quality(),
        selection=_selection(),
        usage=(Usage("Segment", "selfseg predict -m model -i in -o out", "One map per scan."),),
        provenance=(("Machine", "a laptop"),),
    )


@pytest.fixture(scope="module")
def page_text(full: ReportContent) -> str:
    return render_report(full)


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
    content = ReportContent("Größe", "today", _description())
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
    scores = {"metric_per_case": [_entry(evil, 0.5, 0.5)]}
    content = replace(
        full,
        title=evil,
        description=_description(name=evil, labels=labels, channel_names=(evil,)),
        scores=scores,
        overlays=(_overlay(identifier=evil, title=evil),),
        runs=(TrainingRun(evil, evil, (_epoch(0, pseudo_dice={evil: 0.5}),)),),
        usage=(Usage(evil, evil, evil),),
        configurations=(ScoredConfiguration(evil, (evil,), scores),) * 2,
        quality=None,
        calibration=replace(_calibration(), raw={evil: _calibration().raw["liver"]}),
        provenance=((evil, evil),),
    )
    html = render_report(content)
    assert "<script" not in html
    assert "49" not in re.sub(r"data:[^\"]*", "", html).split("</style>")[1]
    assert _parse(html).text.count(evil) >= 8


def test_a_report_without_anything_but_a_data_set():
    page = _parse(render_report(ReportContent("New", "today", _description())))
    assert "not scored yet" in page.text
    assert "Training" not in page.text.replace("Training cases", "")
    assert [attributes for tag, attributes in page.tags if tag == "img"] == []


GAPS = {
    "no scores": {"scores": None},
    "empty scores": {"scores": {}},
    "no cases": {"scores": {"metric_per_case": [], "foreground_mean": {"Dice": None}}},
    "nothing defined": {"scores": {"metric_per_case": [_entry("a", None, None)]}},
    "no metrics": {"scores": {"metric_per_case": [{"reference_file": None, "metrics": {}}]}},
    "mean only": {"scores": {"foreground_mean": {"Dice": 0.5}}},
    "no epochs": {"runs": (TrainingRun("2d", "0"),)},
    "undefined pseudo Dice": {
        "runs": (TrainingRun("2d", "0", (_epoch(0, mean_pseudo_dice=None),)),)
    },
    "five folds": {
        "runs": tuple(TrainingRun("2d", str(f), (_epoch(0), _epoch(1))) for f in range(5))
    },
    "loss NaN": {"runs": (TrainingRun("2d", "0", (_epoch(0, train_loss=math.nan),)),)},
    "no reference": {"overlays": (_overlay(reference=None),)},
    "nothing predicted": {"overlays": (_overlay(predicted=np.zeros((14, 16, 18), np.uint8)),)},
    "thick slices": {"overlays": (_overlay(spacing=(9.0, 1.0, 1.0)),)},
    "blank image": {"overlays": (_overlay(image=np.zeros((14, 16, 18))),)},
    "no fingerprint": {"fingerprint": None},
    "no histograms": {"fingerprint": replace(_fingerprint(), intensity_histograms=())},
    "no decisions": {"plan": replace(_plan(), decisions=())},
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
        "R", "now", _description(labels=labels), scores={"metric_per_case": [entry]}
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
        full, description=_description(labels=labels), scores={"metric_per_case": entries},
        overlays=(case,), runs=(), plan=None, calibration=None, quality=None, selection=None,
    )  # fmt: skip
    html = render_report(content)
    assert len(html) < 2_000_000
    page = _parse(html)
    assert "Weakest structure" in page.text
    monkeypatch.setattr(page_module, "MOST_BYTES", 1000)
    assert len(render_report(content)) < len(html)  # coarser pictures


def test_bodies_are_drawn_in_mm_and_only_of_volumes():
    figure = draw_surfaces(_overlay(), LABELS, label_colours(LABELS))
    assert figure is not None
    assert len(figure.axes) == 4  # three views and a scale
    assert draw_surfaces(_overlay(reference=None), LABELS, label_colours(LABELS)) is not None
    flat = np.ones((1, 9, 9), np.uint8)
    one = OverlayCase("a", flat, flat, (999.0, 1.0, 1.0))
    assert draw_surfaces(one, LABELS, label_colours(LABELS)) is None
    empty = _overlay(predicted=np.zeros((14, 16, 18), np.uint8), reference=None)
    assert draw_surfaces(empty, LABELS, label_colours(LABELS)) is None


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (6.0, 1.0, 1.0), (0.5, 2.0, 1.0)])
def test_a_ball_keeps_its_size_and_its_normals_point_outwards(spacing: tuple[float, float, float]):
    shape = tuple(round(60 / mm) for mm in spacing)
    points = np.stack(np.indices(shape), axis=-1) * spacing
    ball = np.linalg.norm(points - 30, axis=-1) < 20
    corners = _triangles(ball, np.zeros(3), np.array(spacing), 1.0)
    centre = np.array([30.0, 30.0, -30.0])
    radii = np.linalg.norm(corners.reshape(-1, 3) - centre, axis=1)
    assert np.percentile(radii, 5) > 20 - max(spacing)
    assert np.percentile(radii, 95) < 20 + max(spacing)
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    normals = np.cross(third - first, second - first)
    assert ((normals * (corners.mean(axis=1) - centre)).sum(axis=1) > 0).mean() > 0.98


@pytest.mark.parametrize("edge", [1.0, 4.0])
def test_distances_do_not_depend_on_how_coarse_bodies_are(edge: float):
    points = np.stack(np.indices((60, 60, 60)), axis=-1) - 30.0
    radius = np.linalg.norm(points, axis=-1)
    small, large = (
        _Body(_triangles(radius < r, np.zeros(3), np.ones(3), edge), (0, 0, 0)) for r in (18, 24)
    )
    assert np.median(_distances(small, large)) == pytest.approx(6, abs=1.0)
    assert np.median(_distances(small, small)) == 0
    assert np.isnan(_distances(small, None)).all()


def test_one_voxel_and_regions_have_bodies():
    voxel = np.ones((1, 1, 1), bool)
    assert len(_triangles(voxel, np.zeros(3), np.ones(3), 1.0)) > 0
    labels = LabelScheme.from_mapping({"whole": [1, 2], "core": 2}, [1, 2])
    values = np.zeros((9, 9, 9), np.int64)
    values[2:7, 2:7, 2:7], values[4, 4, 4] = 1, 2
    found = _bodies(values, labels, label_colours(labels), (1.0, 1.0, 1.0))
    assert list(found) == ["core"]


def test_iterations_are_drawn_where_they_are_few(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    events = [
        IterationFinished(i + 1, 1.0 - i / 1000, 0.01, 0.1, epoch_iterations=100)
        for i in range(1000)
    ]
    looked = ValidationFinished("2d", "0", 3, mean_dice=0.7, mean_hd95_mm=3.0)
    lines = [json.dumps(event.as_dict()) for event in (*events, _epoch(0), looked)]
    log.write_text("\n".join(lines))
    run = read_run("2d", "0", log)
    assert len(run.iterations) == 250
    assert run.iterations[0] == pytest.approx((0.025, 0.9985))
    assert run.validations == (looked,)
    assert len(run.epochs) == 1


def test_confusion_of_regions_is_named_by_values():
    labels = LabelScheme.from_mapping({"whole": [1, 2], "core": 2}, [1, 2])
    assert value_names(labels) == {0: "background", 1: "value 1", 2: "core"}
    shares = confusion_shares({0: {0: 3, 1: 1}, 1: {1: 2}}, (0, 1, 2))
    assert shares[0].tolist() == [0.75, 0.25, 0.0]
    assert np.isnan(shares[2]).all()


def test_words_fit_the_numbers(full: ReportContent):
    said = " ".join(warnings_in_words(summarise(full)))
    assert "lesion was found in 2 cases that do not have it" in said
    assert "lesion has a Dice below 0.7 in 2 of 2 cases" in said
    assert "Only 4 cases were scored" in said
    topics = {topic.title: topic.text for topic in decisions_in_words(_plan(), _fingerprint())}
    assert "5 to 160 HU" in topics["Grey values of CT"]
    assert "51%" in topics["What 3d_fullres sees"]
    assert "lesion fills 0.1% of a scan" in topics["Small structures"]
    assert duration(50) == "50 s"
    assert duration(600) == "10 min"
    assert duration(9000) == "2.5 h"


def test_the_same_content_gives_the_same_page(full: ReportContent, page_text: str):
    assert render_report(full) == page_text


def test_best_median_and_worst_case():
    entries = SCORES["metric_per_case"]
    chosen = [(title, Path(e["reference_file"]).name[0]) for title, e in choose_cases(entries)]
    assert chosen == [("Best case", "c"), ("Median case", "a"), ("Worst case", "d")]
    assert mean_case_dice(_entry("x", None, None)) is None
    assert choose_cases([_entry("x", None, None)]) == ()
    assert [title for title, _ in choose_cases(entries[:1])] == ["The only case"]
    assert [title for title, _ in choose_cases(entries[:2])] == ["Best case", "Worst case"]


def test_logs_are_read_as_training_leaves_them(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    lines = [json.dumps(_epoch(i).as_dict()) for i in range(3)]
    again = json.dumps(_epoch(1, train_loss=7.0).as_dict())
    other = json.dumps({"event": "notice", "text": "x"})
    log.write_text("\n".join([*lines, other, "", again, lines[0][:40]]))
    epochs = read_log(log)
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
    assert epochs[1].train_loss == 7.0
    assert epochs[2] == _epoch(2)
    log.write_text("\n".join([lines[0][:40], *lines]))
    with pytest.raises(FileFormatError, match="line 1"):
        read_log(log)
    with pytest.raises(FileFormatError):
        read_log(tmp_path / "missing.jsonl")


def test_overlays_that_do_not_fit_are_refused():
    with pytest.raises(ImageError, match="do not fit together"):
        _overlay(predicted=np.zeros((1, 2, 3)))
    with pytest.raises(ImageError):
        _overlay(image=np.zeros((14, 16, 18, 2)))


def test_slices_show_every_structure():
    labels = np.zeros((10, 8, 8), dtype=np.int64)
    labels[2, :, :] = 1
    labels[7, :7, :7] = 1
    labels[7, 0, 0] = 3
    assert best_slice(labels, 0) == 7
    assert best_slice(np.zeros_like(labels), 0) == 5


@pytest.mark.parametrize("flipped", [(), (0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_every_orientation_is_shown_the_same_way(order: tuple[int, ...], flipped: tuple[int, ...]):
    # A patient stored with axes permuted and flipped, and the direction that says so.
    patient = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    spacing = (5.0, 2.0, 1.0)
    stored = np.flip(np.transpose(patient, order), flipped)
    columns = np.zeros((3, 3))
    for array_axis, patient_axis in enumerate(order):
        sign = -1.0 if array_axis in flipped else 1.0
        columns[2 - patient_axis, 2 - array_axis] = sign
    case = OverlayCase(
        "a",
        stored.astype(np.float32),
        stored,
        tuple(spacing[axis] for axis in order),
        direction=tuple(tuple(row) for row in columns.tolist()),
    )
    image, predicted, _, shown_spacing = upright(case)
    assert np.array_equal(predicted, patient[::-1])  # head first
    assert np.array_equal(image, patient[::-1])
    assert shown_spacing == spacing


def test_windows():
    image = np.linspace(0, 1000, 1001, dtype=np.float32)
    assert display_window(image, is_ct=True) == CT_WINDOW
    assert display_window(image, is_ct=False) == (5.0, 995.0)
    low, high = display_window(np.zeros(5, dtype=np.float32), is_ct=False)
    assert high > low


def test_panels_fit_the_kind_of_image():
    colours = label_colours(LABELS)

    def titles(case: OverlayCase) -> list[str]:
        return [axis.get_title() for axis in draw_overlay(case, LABELS, colours, is_ct=False).axes]

    assert titles(_overlay()) == ["axial", "coronal", "sagittal"]
    assert titles(_overlay(spacing=(8.0, 1.0, 1.0))) == [f"slice {i} of 14" for i in (7, 9, 10)]
    flat = np.zeros((1, 20, 30), dtype=np.uint8)
    flat[0, 5:10, 5:10] = 1
    colour = np.repeat(flat[..., None] * 90, 3, axis=3)
    assert titles(OverlayCase("a", colour, flat, (999.0, 1.0, 1.0))) == ["image", "prediction"]


def test_colours_of_the_scheme_win():
    labels = LabelScheme((replace(LABELS.foreground[0], colour=(1, 2, 3)), LABELS.foreground[1]))
    colours = label_colours(labels)
    assert colours["liver"] == (1, 2, 3)
    assert colours["lesion"] != colours["liver"]
