"""The parts of the page that say how far the model can be trusted, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..domain.labels import Colour, LabelScheme
from ..domain.quality import QualityModel
from ..domain.selection import Selection
from ..quality.judgement import LEAST_DICE, MOST_HD95_MM
from ..quality.ranking import rank
from .canvas import svg_uri
from .content import ReportContent, pooled
from .summary import ScoreSummary
from .trust_figures import (
    confusion_shares,
    draw_calibration,
    draw_confusion,
    draw_quality,
    value_names,
)
from .trust_story import calibration_in_words, quality_in_words, step_in_words

_MOST_PAIRS = 8
_MOST_BESIDE = 16
"""Rows of a confusion matrix that leave room for the list beside it."""
_LEAST_SHARE = 0.001
"""Of a structure's voxels, to be told as confused."""


def confusion_part(summary: ScoreSummary, labels: LabelScheme) -> dict[str, Any] | None:
    """The heat map and the most confused pairs; None without counts."""
    confusion = summary.confusion
    if not confusion:
        return None
    names = value_names(labels)
    values = [value for value in (0, *labels.values) if value in confusion or value == 0]
    shares = confusion_shares(confusion, values)
    told = [names[value] for value in values]
    pairs = [
        (float(shares[row, column]), told[row], told[column])
        for row in range(1, len(values))
        for column in range(len(values))
        if row != column and shares[row, column] >= _LEAST_SHARE
    ]
    return {
        "uri": svg_uri(draw_confusion(shares, told)),
        "is_large": len(values) > _MOST_BESIDE,
        "alt": "Heat map: for each structure of the reference, the share of its voxels that were "
        "predicted as each structure. The largest confusions are in the list beside it.",
        "pairs": [
            {"share": f"{100 * share:.1f}%", "of": of, "to": to}
            for share, of, to in sorted(pairs, reverse=True)[:_MOST_PAIRS]
        ],
        "lost": [
            told[row]
            for row in range(1, len(values))
            if not np.isfinite(shares[row]).any() or shares[row, row] == 0
        ],
    }


def selection_part(selection: Selection | None) -> dict[str, Any] | None:
    """Candidates and tested steps; None where nothing was selected."""
    if selection is None:
        return None
    ranked = sorted(selection.candidates, key=lambda c: -1.0 if c.dice is None else -c.dice)
    return {
        "chosen": selection.chosen.name,
        "cases": selection.cases,
        "dice": selection.dice,
        "interval": selection.interval,
        "candidates": [
            {
                "name": candidate.name,
                "dice": candidate.dice,
                "interval": candidate.interval,
                "is_chosen": candidate.members == selection.members,
            }
            for candidate in ranked
        ],
        "steps": [
            {
                "what": step_in_words(trial.step),
                "before": trial.before,
                "after": trial.after,
                "kept": trial.kept,
                "reason": trial.reason,
            }
            for trial in selection.tested
        ],
        "atlas": _atlas_in_words(selection),
    }


def _atlas_in_words(selection: Selection) -> str:
    atlas, dice = selection.atlas, selection.atlas_dice
    if atlas is not None:
        return (
            f"{len(atlas.cases)} training cases serve as atlases: the {atlas.per_image} that look "
            f"most like a new image vote with {atlas.share:.0%} of the weight."
        )
    if dice is not None:
        return f"Training cases as atlases were tried, and left out: Dice {dice:.3f}."
    return ""


def calibration_part(
    content: ReportContent, colours: Mapping[str, Colour]
) -> dict[str, Any] | None:
    """The reliability chart and its meaning; None where nothing was measured."""
    found = content.calibration
    if found is None or not found.raw:
        return None
    before = pooled(found.raw).expected_error
    after = pooled(found.tempered).expected_error
    return {
        "uri": svg_uri(draw_calibration(found, colours)),
        "text": calibration_in_words(content, before, after),
        "alt": "Reliability: for each probability that the model gives, the share of voxels that "
        "were the structure. On the diagonal, probabilities are what they say.",
    }


def quality_part(
    model: QualityModel | None, colours: Mapping[str, Colour], unit: str
) -> dict[str, Any] | None:
    """How well quality is predicted without a reference; None where nobody has tried."""
    if model is None:
        return None
    overall = rank(model)
    rows = []
    for name, predictor in model.structures.items():
        dice, hd95 = rank(model, name), rank(model, name, metric="hd95_mm")
        rows.append({"name": name, "cases": predictor.cases, "dice": dice, "hd95": hd95})
    flagged = [
        entry
        for entry in model.held_out
        if (entry.predicted_dice is not None and entry.predicted_dice < LEAST_DICE)
        or (entry.predicted_hd95_mm is not None and entry.predicted_hd95_mm > MOST_HD95_MM)
    ]
    bad = [
        entry
        for entry in model.held_out
        if (entry.dice is not None and entry.dice < LEAST_DICE)
        or (entry.hd95_mm is not None and entry.hd95_mm > MOST_HD95_MM)
    ]
    return {
        "text": quality_in_words(model, overall),
        "uri": svg_uri(draw_quality(model, colours, unit)) if model.held_out else "",
        "alt": "Predicted against true Dice and HD95 of held-out cases; the dashed lines are the "
        "limits at which a case is flagged.",
        "rows": rows,
        "flagged": len(flagged),
        "bad": len(bad),
        "caught": len([entry for entry in bad if entry in flagged]),
        "least_dice": LEAST_DICE,
        "most_hd95": MOST_HD95_MM,
    }
