"""How far the model can be trusted, in plain sentences: postprocessing, quality, calibration."""

from __future__ import annotations

from ..arrays.calibration import Reliability
from ..domain.bundle import PostprocessingStep
from ..domain.quality import QualityModel
from ..domain.wording import counted
from ..quality.predictor import FEWEST_CASES
from ..quality.ranking import Ranking
from .content import ReportContent, pooled

_AS_IT_SAYS = 0.02
"""A probability that is off by less than this is taken as right."""

_WORTH_TELLING = 0.001
"""A smaller gain by the temperature is none: both numbers would look the same."""


def step_in_words(step: PostprocessingStep) -> str:
    """What a postprocessing step does."""
    whom = ", ".join(step.structures) or "every structure"
    return {
        "largest_component_all": "keep only the largest connected part of "
        + ("everything found" if not step.structures else f"{whom}, taken together"),
        "largest_component": f"{whom}: keep only the largest connected part",
        "k_largest_components": f"{whom}: keep the {step.count} largest connected parts",
        "remove_small_components": f"{whom}: remove parts of fewer than {step.min_voxels} voxels",
        "fill_holes": f"{whom}: fill holes",
    }[step.kind]


def quality_in_words(model: QualityModel, overall: Ranking) -> str:
    """Whether the predictor is of any use."""
    if overall.spearman is None:
        return (
            "Too few cases: a structure needs at least "
            f"{FEWEST_CASES} held-out cases before anything can be predicted about it, and "
            "nothing is."
        )
    how = {
        "good": "ranks held-out cases well",
        "useful": "ranks held-out cases usefully, not sharply",
        "weak": "ranks held-out cases a little better than chance",
        "none": "cannot be told from chance on held-out cases, and should not be relied upon",
        "too few cases": "is known from too few cases",
    }[overall.verdict]
    text = (
        f"The predictor {how}: rank correlation with the true mean Dice "
        f"{overall.spearman:.2f} (95% interval {overall.low:.2f} to {overall.high:.2f}, "
        f"{overall.cases} cases; 1 is a perfect ranking, 0 is chance)."
    )
    if overall.error is not None and overall.error_of_mean is not None:
        text += f" It is off by {overall.error:.3f} Dice on average"
        better = overall.error < overall.error_of_mean
        text += (
            f"; always guessing the mean would be off by {overall.error_of_mean:.3f}."
            if better
            else f", no better than always guessing the mean ({overall.error_of_mean:.3f})."
        )
    left_out = {
        "fold": "The predictor's slopes were fitted without the fold of each case; the means are "
        "those of all cases.",
        "case": "The predictor's slopes were fitted without each case; the means are those of all "
        "cases.",
    }
    return f"{text} {left_out.get(model.left_out, '')}".strip()


def calibration_in_words(content: ReportContent, before: float | None, after: float | None) -> str:
    """Whether a probability of the model means what it says."""
    found = content.calibration
    if found is None or before is None:
        return ""
    likely = _above_half(pooled(found.raw))
    text = ""
    if likely is not None:
        said, true = likely
        tone = "as sure of itself as it may be"
        if abs(said - true) > _AS_IT_SAYS:
            tone = "too sure of itself" if said > true else "more careful than it needs to be"
        text = (
            f"Where the network says {100 * said:.0f}% on average, {100 * true:.0f}% came true: "
            f"it is {tone}. "
        )
    text += (
        f"Over all probabilities it is {100 * before:.1f} percentage points off on average "
        f"(expected calibration error, {found.voxels} voxels around the structures of "
        f"{counted(found.cases, 'case')})."
    )
    if after is not None and before - after >= _WORTH_TELLING:
        text += (
            f" With logits divided by a temperature of {found.temperature:.2f}, learned from the "
            f"same voxels, it is {100 * after:.1f} points off."
        )
    return text


def _above_half(counts: Reliability) -> tuple[float, float] | None:
    """Mean probability, and share that came true, of the voxels with a probability above 0.5."""
    first = len(counts.counts) // 2 + 1
    total = int(counts.counts[first:].sum())
    if not total:
        return None
    mean, true = counts.probability_sums[first:].sum(), counts.true_counts[first:].sum()
    return float(mean) / total, float(true) / total
