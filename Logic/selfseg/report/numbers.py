"""The numbers of a report as plain values: report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..arrays.calibration import Reliability
from ..domain.quality import QualityModel
from ..io.json_files import write_json
from ..quality.ranking import Ranking, rank
from .content import (
    CalibrationContent,
    ReportContent,
    ScoredConfiguration,
    TrainingRun,
    number,
    pooled,
)
from .summary import ScoreSummary, interval_of, summarise

SCHEMA = "selfseg.report/1"


def write_report_json(path: Path, content: ReportContent) -> None:
    """Writes the numbers of the report as JSON, atomically.

    Raises:
        ProjectError: the file cannot be written.
    """
    write_json(Path(path), report_numbers(content, summarise(content)), schema=SCHEMA)


def report_numbers(content: ReportContent, summary: ScoreSummary) -> dict[str, Any]:
    """The report's numbers as plain values, None where there is none."""
    return {
        "title": content.title,
        "created": content.created,
        "dataset": content.description.name,
        "dataset_hash": content.fingerprint.dataset_hash if content.fingerprint else "",
        "scored_on": content.scored_on,
        "mean_dice": summary.headline,
        "mean_dice_interval": summary.interval,
        "mean_hd95_mm": summary.hd95,
        "surface_tolerance_mm": summary.tolerance_mm,
        "structures": [
            {
                "name": s.label.name,
                "key": s.label.key,
                "cases": len(s.known),
                "undefined": len(s.dice) - len(s.known),
                "occurrence": dict(s.occurrence),
                "mean_dice": s.mean,
                "median_dice": s.median,
                "lowest_dice": s.lowest,
                "highest_dice": s.highest,
                "mean_iou": s.means.get("IoU"),
                "mean_hd95_mm": s.hd95_mean,
                "mean_surface_dice": s.means.get("SurfaceDice"),
                "mean_volume_difference_ml": s.means.get("VolumeDifference"),
                "means": dict(s.means),
                "intervals": {name: list(found) for name, found in s.intervals.items()},
            }
            for s in summary.structures
        ],
        "cases": [
            {
                "case": case.identifier,
                "mean_dice": case.mean,
                "dice": {
                    s.label.name: value
                    for s, value in zip(summary.structures, case.dice, strict=True)
                },
                "hd95_mm": {s.label.name: s.hd95[place] for s in summary.structures if s.hd95},
            }
            for place, case in enumerate(summary.cases)
        ],
        "confusion": summary.confusion,
        "configurations": [_configuration(entry) for entry in content.configurations],
        "runs": [_run(run) for run in content.runs],
        "decisions": [
            asdict(decision) for decision in (content.plan.decisions if content.plan else ())
        ],
        "selection": None if content.selection is None else asdict(content.selection),
        "calibration": _calibration(content.calibration),
        "predicted_quality": _quality(content.quality),
        "usage": [asdict(entry) for entry in content.usage],
        "provenance": dict(content.provenance),
    }


def _configuration(entry: ScoredConfiguration) -> dict[str, Any]:
    overall: Mapping[str, Any] = entry.scores.get("foreground_mean") or {}
    intervals = (entry.scores.get("confidence_intervals") or {}).get("foreground_mean")
    return {
        "name": entry.name,
        "folds": entry.folds,
        "cases": len(entry.scores.get("metric_per_case") or ()),
        "is_shown": entry.is_shown,
        "mean_dice": number(overall.get("Dice")),
        "mean_dice_interval": interval_of(intervals, "Dice"),
        "mean_hd95_mm": number(overall.get("HD95")),
    }


def _run(run: TrainingRun) -> dict[str, Any]:
    last = run.epochs[-1] if run.epochs else None
    looked = run.validations[-1] if run.validations else None
    return {
        "configuration": run.configuration,
        "fold": run.fold,
        "epochs": len(run.epochs),
        "seconds": sum(epoch.seconds for epoch in run.epochs),
        "train_loss": number(last.train_loss) if last else None,
        "validation_loss": number(last.validation_loss) if last else None,
        "mean_pseudo_dice": number(last.mean_pseudo_dice) if last else None,
        "whole_case_dice": number(looked.mean_dice) if looked else None,
        "whole_case_hd95_mm": number(looked.mean_hd95_mm) if looked else None,
    }


def _calibration(content: CalibrationContent | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {
        "temperature": content.temperature,
        "cases": content.cases,
        "voxels": content.voxels,
        "raw": _reliabilities(content.raw),
        "tempered": _reliabilities(content.tempered),
    }


def _reliabilities(found: Mapping[str, Reliability]) -> dict[str, Any]:
    return {
        "expected_error": pooled(found).expected_error,
        "structures": {
            name: {
                "expected_error": counts.expected_error,
                "maximum_error": counts.maximum_error,
                "counts": counts.counts.tolist(),
                "probability_sums": counts.probability_sums.tolist(),
                "true_counts": counts.true_counts.tolist(),
            }
            for name, counts in found.items()
        },
    }


def _quality(model: QualityModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "left_out": model.left_out,
        "dice": _ranking(rank(model)),
        "hd95_mm": _ranking(rank(model, metric="hd95_mm")),
        "structures": {
            name: {
                "cases": predictor.cases,
                "dice": _ranking(rank(model, name)),
                "hd95_mm": _ranking(rank(model, name, metric="hd95_mm")),
            }
            for name, predictor in model.structures.items()
        },
        "held_out": [asdict(entry) for entry in model.held_out],
    }


def _ranking(found: Ranking) -> dict[str, Any]:
    return {**asdict(found), "verdict": found.verdict}
