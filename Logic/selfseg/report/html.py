"""Puts the page together and writes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jinja2

from .. import __version__
from ..domain.plan import ConfigurationPlan, Plan
from ..io.json_files import write_bytes_atomically
from .canvas import css_colour, svg_uri
from .content import ReportContent, ScoredConfiguration, TrainingRun, number
from .data_figures import draw_geometry, draw_intensities
from .figures import draw_curves, draw_scores
from .metric_table import metric_table
from .numbers import report_numbers, write_report_json
from .pictures import MOST_OVERLAYS, draw_cases
from .story import data_in_words, decisions_in_words, headline_in_words, warnings_in_words
from .summary import ScoreSummary, StructureScore, interval_of, label_colours, summarise
from .trust import calibration_part, confusion_part, quality_part, selection_part

__all__ = [
    "MOST_BYTES",
    "MOST_OVERLAYS",
    "render_report",
    "report_numbers",
    "write_report",
    "write_report_json",
]

MOST_BYTES = 5_000_000
"""Of a page, so that it can be sent by mail; pictures become coarser where it would be more."""

RESOLUTIONS = (130, 100, 70, 50)
"""Dots per inch of pictures, the first that fits."""

_OPEN_TABLE_UP_TO = 12
_MOST_COLUMNS = 10
"""Structures with a column of their own in the table of cases."""


def write_report(path: Path, content: ReportContent) -> None:
    """Writes the report as one HTML file that needs nothing else, atomically.

    Raises:
        ProjectError: the file cannot be written.
    """
    write_bytes_atomically(Path(path), render_report(content).encode("utf-8"))


def render_report(content: ReportContent) -> str:
    """The page as text; every name that came from a file is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    environment.filters["interval"] = _interval
    summary = summarise(content)
    colours = label_colours(content.description.labels)
    trained = {run.configuration for run in content.runs}
    any_volume = any(case.image.shape[0] > 1 for case in content.overlays)
    parts = {
        "content": content,
        "summary": summary,
        "version": __version__,
        "headline_meaning": headline_in_words(summary),
        "warnings": warnings_in_words(summary),
        "labels": _label_rows(content),
        "any_volume": any_volume,
        "overlays_left_out": max(0, len(content.overlays) - MOST_OVERLAYS),
        "any_reference": any(case.reference is not None for case in content.overlays),
        "curves": _curve_pictures(content),
        "any_whole_cases": any(run.validations for run in content.runs),
        "score_plot": svg_uri(draw_scores(summary))
        if any(s.known for s in summary.structures)
        else "",
        "case_table_open": len(summary.cases) <= _OPEN_TABLE_UP_TO,
        "few_structures": len(summary.structures) <= _MOST_COLUMNS,
        "every_metric": metric_table(summary, area=bool(content.overlays) and not any_volume),
        "weakest": _weakest_of_each_case(summary),
        "bars": _bars(summary),
        "facts": _facts(content),
        "compared": [_compared(entry) for entry in content.configurations],
        "data_story": data_in_words(content.fingerprint) if content.fingerprint else (),
        "geometry_plot": svg_uri(draw_geometry(content.fingerprint)) if content.fingerprint else "",
        "intensity_plot": _intensity_picture(content),
        "topics": decisions_in_words(content.plan, content.fingerprint, trained)
        if content.plan
        else (),
        "configurations": _configuration_rows(content.plan, trained),
        "confusion": confusion_part(summary, content.description.labels),
        "selection": selection_part(content.selection),
        "calibration": calibration_part(content, colours),
        "quality": quality_part(content.quality, colours, summary.unit),
        "css": css_colour,
    }
    template = environment.get_template("report.html")
    drawn, page = draw_cases(content, colours), ""
    for dots in RESOLUTIONS:
        page = template.render(**parts, overlays=[case.part(dots) for case in drawn])
        if len(page) <= MOST_BYTES:
            break
    return page


def _score(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(ends: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _label_rows(content: ReportContent) -> list[dict[str, str]]:
    colours = label_colours(content.description.labels)
    fractions = dict(content.fingerprint.class_voxel_fractions) if content.fingerprint else {}
    rows = []
    for label in content.description.labels.foreground:
        share = sum(fractions.get(value, 0.0) for value in label.values)
        rows.append(
            {
                "name": label.name,
                "values": ", ".join(map(str, label.values)),
                "colour": css_colour(colours[label.name]),
                "share": f"{100 * share:.2g}%" if share else "",
            }
        )
    return rows


def _facts(content: ReportContent) -> list[tuple[str, str]]:
    """Short (name, value) pairs of the summary card."""
    description = content.description
    cases = description.case_count or (
        len(content.fingerprint.spacings) if content.fingerprint else 0
    )
    names = [label.name for label in description.labels.foreground]
    shown = ", ".join(names[:_OPEN_TABLE_UP_TO])
    if len(names) > _OPEN_TABLE_UP_TO:
        shown += f" and {len(names) - _OPEN_TABLE_UP_TO} more"
    facts = [
        ("Data set", description.name or "unnamed"),
        ("Training cases", str(cases) if cases else "unknown"),
        ("Channels", ", ".join(description.channel_names)),
        ("Structures", shown),
    ]
    if content.scored_on:
        facts.append(("Scored on", content.scored_on))
    if content.runs:
        facts.append(("Trained", ", ".join(_run_names(content.runs))))
    return facts


def _run_names(runs: tuple[TrainingRun, ...]) -> list[str]:
    folds: dict[str, list[str]] = {}
    for run in runs:
        folds.setdefault(run.configuration, []).append(run.fold)
    return [
        f"{name} ({'fold' if len(found) == 1 else 'folds'} {', '.join(found)})"
        for name, found in folds.items()
    ]


def _bars(summary: ScoreSummary) -> list[StructureScore]:
    """The structures with a bar beside the headline: all, or the weakest of many."""
    known = [structure for structure in summary.structures if structure.mean is not None]
    if len(known) <= _OPEN_TABLE_UP_TO:
        return known
    return sorted(known, key=lambda structure: structure.mean or 0.0)[:_OPEN_TABLE_UP_TO]


def _weakest_of_each_case(summary: ScoreSummary) -> list[str]:
    """By case, the structure with the lowest Dice and that; for tables without room for all."""
    said = []
    for case in summary.cases:
        known = [
            (value, structure.label.name)
            for structure, value in zip(summary.structures, case.dice, strict=True)
            if value is not None
        ]
        said.append(f"{min(known)[1]} ({min(known)[0]:.3f})" if known else "–")
    return said


def _compared(entry: ScoredConfiguration) -> dict[str, Any]:
    """A judged configuration as a row to be compared with the others."""
    overall: Mapping[str, Any] = entry.scores.get("foreground_mean") or {}
    intervals = (entry.scores.get("confidence_intervals") or {}).get("foreground_mean")
    return {
        "name": entry.name,
        "folds": ", ".join(entry.folds),
        "cases": len(entry.scores.get("metric_per_case") or ()),
        "dice": number(overall.get("Dice")),
        "interval": interval_of(intervals, "Dice"),
        "hd95": number(overall.get("HD95")),
        "surface": number(overall.get("SurfaceDice")),
        "is_shown": entry.is_shown,
    }


def _curve_pictures(content: ReportContent) -> list[dict[str, str]]:
    groups: dict[str, list[TrainingRun]] = {}
    for run in content.runs:
        if run.epochs:
            groups.setdefault(run.configuration, []).append(run)
    colours = label_colours(content.description.labels)
    pictures = []
    for name, runs in groups.items():
        last = runs[-1].epochs[-1]
        pictures.append(
            {
                "title": _run_names(tuple(runs))[0],
                "uri": svg_uri(draw_curves(runs, colours)),
                "alt": f"Training of {name}: after epoch {last.epoch + 1} the training loss is "
                f"{_score(number(last.train_loss))} and the mean pseudo Dice "
                f"{_score(number(last.mean_pseudo_dice))}.",
            }
        )
    return pictures


def _intensity_picture(content: ReportContent) -> str:
    if content.fingerprint is None:
        return ""
    figure = draw_intensities(content.fingerprint, content.description.channel_names)
    return "" if figure is None else svg_uri(figure)


def _configuration_rows(plan: Plan | None, trained: Collection[str]) -> list[dict[str, str]]:
    """With a mark at those that were trained, or before any was, at those that should be."""
    if plan is None:
        return []
    return [
        _configuration_row(
            configuration,
            ("trained" if name in trained else "not trained")
            if trained
            else ("recommended" if name in plan.recommended else ""),
        )
        for name, configuration in plan.configurations.items()
    ]


def _configuration_row(configuration: ConfigurationPlan, mark: str) -> dict[str, str]:
    network = configuration.network
    return {
        "name": configuration.name + (f" ({mark})" if mark else ""),
        "spacing": _times(configuration.spacing, 3) + " mm",
        "patch": _times(configuration.patch_size),
        "batch": str(configuration.batch_size),
        "network": f"{network.architecture} U-Net, {network.stage_count} stages, "
        f"{network.features_per_stage[0]} to {network.features_per_stage[-1]} features",
        "normalisation": ", ".join(dict.fromkeys(configuration.normalisation)),
    }


def _times(values: tuple[float, ...], digits: int = 4) -> str:
    return " × ".join(f"{value:.{digits}g}" for value in values)
