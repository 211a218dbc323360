"""Puts the page together and writes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from .. import __version__
from ..domain.plan import ConfigurationPlan, Plan
from ..io.json_files import write_bytes_atomically, write_json
from .content import OverlayCase, ReportContent, TrainingRun, number
from .figures import (
    css_colour,
    draw_curves,
    draw_geometry,
    draw_intensities,
    draw_scores,
    png_uri,
    svg_uri,
)
from .overlays import draw_overlay
from .summary import ScoreSummary, label_colours, summarise

SCHEMA = "selfseg.report/1"
MOST_OVERLAYS = 9
"""Cases shown at most, so that the page can still be sent by mail."""

_OPEN_TABLE_UP_TO = 12


def write_report(path: Path, content: ReportContent) -> None:
    """Writes the report as one HTML file that needs nothing else, atomically.

    Raises:
        ProjectError: the file cannot be written.
    """
    write_bytes_atomically(Path(path), render_report(content).encode("utf-8"))


def write_report_json(path: Path, content: ReportContent) -> None:
    """Writes the numbers of the report as JSON, atomically.

    Raises:
        ProjectError: the file cannot be written.
    """
    summary = summarise(content)
    write_json(Path(path), report_numbers(content, summary), schema=SCHEMA)


def report_numbers(content: ReportContent, summary: ScoreSummary) -> dict[str, Any]:
    """The report's numbers as plain values, None where there is none."""
    return {
        "title": content.title,
        "created": content.created,
        "dataset": content.description.name,
        "dataset_hash": content.fingerprint.dataset_hash if content.fingerprint else "",
        "scored_on": content.scored_on,
        "mean_dice": summary.headline,
        "structures": [
            {
                "name": s.label.name,
                "key": s.label.key,
                "cases": len(s.known),
                "undefined": len(s.dice) - len(s.known),
                "mean_dice": s.mean,
                "median_dice": s.median,
                "lowest_dice": s.lowest,
                "highest_dice": s.highest,
                "mean_iou": s.iou_mean,
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
            }
            for case in summary.cases
        ],
        "runs": [_run_numbers(run) for run in content.runs],
        "decisions": [
            asdict(decision) for decision in (content.plan.decisions if content.plan else ())
        ],
        "usage_command": content.usage_command,
        "provenance": dict(content.provenance),
    }


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
    summary = summarise(content)
    return environment.get_template("report.html").render(
        content=content,
        summary=summary,
        version=__version__,
        headline_meaning=_headline_meaning(summary),
        labels=_label_rows(content),
        overlays=_overlay_pictures(content),
        any_volume=any(case.image.shape[0] > 1 for case in content.overlays),
        overlays_left_out=max(0, len(content.overlays) - MOST_OVERLAYS),
        any_reference=any(case.reference is not None for case in content.overlays),
        curves=_curve_pictures(content),
        score_plot=svg_uri(draw_scores(summary))
        if any(s.known for s in summary.structures)
        else "",
        case_table_open=len(summary.cases) <= _OPEN_TABLE_UP_TO,
        facts=_facts(content),
        geometry_plot=svg_uri(draw_geometry(content.fingerprint)) if content.fingerprint else "",
        intensity_plot=_intensity_picture(content),
        configurations=_configuration_rows(content.plan),
        css=css_colour,
    )


def _score(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _headline_meaning(summary: ScoreSummary) -> str:
    if summary.headline is None:
        return "No case with a reference was scored, so nothing is known about the quality yet."
    share = f"{100 * summary.headline:.0f} %"
    known = [s for s in summary.structures if s.mean is not None]
    text = (
        f"Model and reference overlap by {share} on average over structures and cases. "
        "Dice is twice the shared volume divided by the sum of both volumes: "
        "1 is identical, 0 is no overlap."
    )
    if len(known) > 1:
        weakest = min(known, key=lambda s: s.mean or 0.0)
        text += f" The weakest structure is {weakest.label.name} ({_score(weakest.mean)})."
    return text


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
                "share": f"{100 * share:.2g} %" if share else "",
            }
        )
    return rows


def _facts(content: ReportContent) -> list[tuple[str, str]]:
    """Short (name, value) pairs of the summary card."""
    description = content.description
    cases = description.case_count or (
        len(content.fingerprint.spacings) if content.fingerprint else 0
    )
    facts = [
        ("Data set", description.name or "unnamed"),
        ("Training cases", str(cases) if cases else "unknown"),
        ("Channels", ", ".join(description.channel_names)),
        ("Structures", ", ".join(label.name for label in description.labels.foreground)),
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


def _overlay_pictures(content: ReportContent) -> list[dict[str, str]]:
    labels = content.description.labels
    colours = label_colours(labels)
    is_ct = content.description.channel_names[0].strip().lower() == "ct"
    pictures = []
    for case in content.overlays[:MOST_OVERLAYS]:
        figure = draw_overlay(case, labels, colours, is_ct=is_ct)
        pictures.append(
            {
                "title": case.title or "Case",
                "identifier": case.identifier,
                "score": "" if number(case.score) is None else _score(case.score),
                "uri": png_uri(figure),
                "width": _pixels(figure),
                "alt": _overlay_alt(case),
            }
        )
    return pictures


def _overlay_alt(case: OverlayCase) -> str:
    text = f"Slices of case {case.identifier} with the predicted structures as coloured areas"
    return text + (" and the reference as outlines." if case.reference is not None else ".")


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


def _run_numbers(run: TrainingRun) -> dict[str, Any]:
    last = run.epochs[-1] if run.epochs else None
    return {
        "configuration": run.configuration,
        "fold": run.fold,
        "epochs": len(run.epochs),
        "seconds": sum(epoch.seconds for epoch in run.epochs),
        "train_loss": number(last.train_loss) if last else None,
        "validation_loss": number(last.validation_loss) if last else None,
        "mean_pseudo_dice": number(last.mean_pseudo_dice) if last else None,
    }


def _intensity_picture(content: ReportContent) -> str:
    if content.fingerprint is None:
        return ""
    figure = draw_intensities(content.fingerprint, content.description.channel_names)
    return "" if figure is None else svg_uri(figure)


def _configuration_rows(plan: Plan | None) -> list[dict[str, str]]:
    if plan is None:
        return []
    return [
        _configuration_row(configuration, name in plan.recommended)
        for name, configuration in plan.configurations.items()
    ]


def _configuration_row(configuration: ConfigurationPlan, recommended: bool) -> dict[str, str]:
    network = configuration.network
    return {
        "name": configuration.name + (" (recommended)" if recommended else ""),
        "spacing": _times(configuration.spacing, 3) + " mm",
        "patch": _times(configuration.patch_size),
        "batch": str(configuration.batch_size),
        "network": f"{network.architecture} U-Net, {network.stage_count} stages, "
        f"{network.features_per_stage[0]} to {network.features_per_stage[-1]} features",
        "normalisation": ", ".join(dict.fromkeys(configuration.normalisation)),
    }


def _times(values: tuple[float, ...], digits: int = 4) -> str:
    return " × ".join(f"{value:.{digits}g}" for value in values)


def _pixels(figure: Figure) -> str:
    return str(round(figure.get_figwidth() * 100))
