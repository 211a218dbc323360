"""A report with everything in it."""

from __future__ import annotations

import pytest

from report_examples import (
    SCORES,
    a_calibration,
    a_description,
    a_fingerprint,
    a_plan,
    a_quality,
    a_selection,
    an_epoch,
    an_overlay,
)
from selfseg.report.content import ReportContent, ScoredConfiguration, TrainingRun, Usage
from selfseg.report.html import render_report


@pytest.fixture(scope="module")
def full() -> ReportContent:
    return ReportContent(
        title="Liver model",
        created="2026-01-31 14:05",
        description=a_description(),
        fingerprint=a_fingerprint(),
        plan=a_plan(),
        runs=(TrainingRun("3d_fullres", "0", tuple(an_epoch(i) for i in range(9))),),
        scores=SCORES,
        scored_on="4 held-out cases",
        overlays=(an_overlay(title="Best case"),),
        configurations=(
            ScoredConfiguration("2d", ("0", "1"), {"foreground_mean": {"Dice": 0.5}}),
            ScoredConfiguration("3d_fullres", ("0",), SCORES, is_shown=True),
        ),
        calibration=a_calibration(),
        quality=a_quality(),
        selection=a_selection(),
        usage=(Usage("Segment", "selfseg predict -m model -i in -o out", "One map per scan."),),
        provenance=(("Machine", "a laptop"),),
    )


@pytest.fixture(scope="module")
def page_text(full: ReportContent) -> str:
    return render_report(full)
