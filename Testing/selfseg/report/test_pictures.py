"""Pictures, words and logs of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from report_examples import (
    LABELS,
    SCORES,
    a_description,
    a_fingerprint,
    a_plan,
    an_entry,
    an_epoch,
    an_overlay,
)
from selfseg.domain.errors import FileFormatError, ImageError
from selfseg.domain.events import IterationFinished, ValidationFinished
from selfseg.domain.labels import LabelScheme
from selfseg.report.content import (
    OverlayCase,
    ReportContent,
    TrainingRun,
    choose_cases,
    mean_case_dice,
    read_log,
    read_run,
)
from selfseg.report.html import render_report
from selfseg.report.overlays import CT_WINDOW, best_slice, display_window, draw_overlay, upright
from selfseg.report.story import decisions_in_words, duration, warnings_in_words
from selfseg.report.summary import label_colours, summarise
from selfseg.report.surfaces import _bodies, _Body, _distances, _triangles, draw_surfaces
from selfseg.report.trust_figures import confusion_shares, value_names
from selfseg.report.trust_story import calibration_in_words


def test_bodies_are_drawn_in_mm_and_only_of_volumes():
    figure = draw_surfaces(an_overlay(), LABELS, label_colours(LABELS))
    assert figure is not None
    assert len(figure.axes) == 4  # three views and a scale
    assert draw_surfaces(an_overlay(reference=None), LABELS, label_colours(LABELS)) is not None
    flat = np.ones((1, 9, 9), np.uint8)
    one = OverlayCase("a", flat, flat, (999.0, 1.0, 1.0))
    assert draw_surfaces(one, LABELS, label_colours(LABELS)) is None
    empty = an_overlay(predicted=np.zeros((14, 16, 18), np.uint8), reference=None)
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
    lines = [json.dumps(event.as_dict()) for event in (*events, an_epoch(0), looked)]
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
    topics = {topic.title: topic.text for topic in decisions_in_words(a_plan(), a_fingerprint())}
    assert "5 to 160 HU" in topics["Grey values of CT"]
    assert "51%" in topics["What 3d_fullres sees"]
    assert "lesion fills 0.1% of a scan" in topics["Small structures"]
    assert duration(50) == "50 s"
    assert duration(600) == "10 min"
    assert duration(9000) == "2.5 h"


def test_a_far_piece_is_pointed_out_where_the_dice_looks_good():
    content = ReportContent("", "", a_description(), scores=SCORES)
    summary = summarise(content)
    near, far = (
        summary.structures[0],
        replace(summary.structures[0], dice=(0.8, 0.9), hd95=(30.0, 20.0)),
    )
    assert "separate piece" not in " ".join(warnings_in_words(replace(summary, structures=(near,))))
    said = " ".join(warnings_in_words(replace(summary, structures=(far,))))
    assert "yet HD95 is 25 mm: a separate piece far from the structure is likely" in said
    pixels = replace(summary, structures=(far,), unit="pixels")
    assert "separate piece" not in " ".join(warnings_in_words(pixels))


def test_calibration_leads_with_what_came_true(full: ReportContent):
    said = calibration_in_words(full, 0.032, 0.0319)
    assert said.startswith("Where the network says ")
    assert "came true: it is " in said
    assert "temperature" not in said  # nothing is gained
    assert "temperature" in calibration_in_words(full, 0.032, 0.01)
    assert calibration_in_words(replace(full, calibration=None), 0.1, 0.1) == ""


def test_what_was_trained_is_told(full: ReportContent):
    assert "3d_fullres (trained)" in render_report(full)
    other = replace(full, runs=(TrainingRun("2d", "0"),))
    assert "3d_fullres (not trained)" in render_report(other)
    assert "(recommended)" in render_report(replace(full, runs=()))


def test_the_same_content_gives_the_same_page(full: ReportContent, page_text: str):
    assert render_report(full) == page_text


def test_best_median_and_worst_case():
    entries = SCORES["metric_per_case"]
    chosen = [(title, Path(e["reference_file"]).name[0]) for title, e in choose_cases(entries)]
    assert chosen == [("Best case", "c"), ("Median case", "a"), ("Worst case", "d")]
    assert mean_case_dice(an_entry("x", None, None)) is None
    assert choose_cases([an_entry("x", None, None)]) == ()
    assert [title for title, _ in choose_cases(entries[:1])] == ["The only case"]
    assert [title for title, _ in choose_cases(entries[:2])] == ["Best case", "Worst case"]


def test_logs_are_read_as_training_leaves_them(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    lines = [json.dumps(an_epoch(i).as_dict()) for i in range(3)]
    again = json.dumps(an_epoch(1, train_loss=7.0).as_dict())
    other = json.dumps({"event": "notice", "text": "x"})
    log.write_text("\n".join([*lines, other, "", again, lines[0][:40]]))
    epochs = read_log(log)
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
    assert epochs[1].train_loss == 7.0
    assert epochs[2] == an_epoch(2)
    log.write_text("\n".join([lines[0][:40], *lines]))
    with pytest.raises(FileFormatError, match="line 1"):
        read_log(log)
    with pytest.raises(FileFormatError):
        read_log(tmp_path / "missing.jsonl")


def test_overlays_that_do_not_fit_are_refused():
    with pytest.raises(ImageError, match="do not fit together"):
        an_overlay(predicted=np.zeros((1, 2, 3)))
    with pytest.raises(ImageError):
        an_overlay(image=np.zeros((14, 16, 18, 2)))


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

    assert titles(an_overlay()) == ["axial", "coronal", "sagittal"]
    assert titles(an_overlay(spacing=(8.0, 1.0, 1.0))) == [f"slice {i} of 14" for i in (7, 9, 10)]
    flat = np.zeros((1, 20, 30), dtype=np.uint8)
    flat[0, 5:10, 5:10] = 1
    colour = np.repeat(flat[..., None] * 90, 3, axis=3)
    assert titles(OverlayCase("a", colour, flat, (999.0, 1.0, 1.0))) == ["image", "prediction"]


def test_colours_of_the_scheme_win():
    labels = LabelScheme((replace(LABELS.foreground[0], colour=(1, 2, 3)), LABELS.foreground[1]))
    colours = label_colours(labels)
    assert colours["liver"] == (1, 2, 3)
    assert colours["lesion"] != colours["liver"]
