"""Judges a new segmentation, and says in words why somebody should look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..domain.quality import QualityModel, StructureFeatures, StructurePredictor
from .predictor import predict, signs_of
from .ranking import TrackRecord, track_record

LEAST_DICE = 0.70
"""A structure that is predicted to have less is flagged."""

MOST_HD95_MM = 15.0
"""A structure that is predicted to be farther off is flagged."""

ALWAYS = 0.95
"""A structure that this share of the references has is missed where it is not found."""

_MOST_REASONS = 3


@dataclass(frozen=True)
class StructureQuality:
    """What is to be expected of one structure; None where nothing can be said.

    Args:
        dice: predicted.
        hd95_mm: predicted.
        fold_dice: mean Dice between what two folds predict.
        flagged: whether somebody should look at it.
        reasons: why.
    """

    dice: float | None = None
    hd95_mm: float | None = None
    fold_dice: float | None = None
    flagged: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseQuality:
    """What is to be expected of one segmentation.

    Args:
        dice: mean over the structures for which it can be said.
        hd95_mm: mean over the structures for which it can be said.
        flagged: whether somebody should look at it.
        reasons: why, each with its structure's name.
        reliable: whether predicted Dice ranks held-out cases better than chance.
        note: where it does not, or HD95 does not: that, in words.
        structures: by name.
        unknown: structures about which too few cases are known to say anything.
    """

    dice: float | None = None
    hd95_mm: float | None = None
    flagged: bool = False
    reasons: tuple[str, ...] = ()
    reliable: bool = False
    note: str = ""
    structures: Mapping[str, StructureQuality] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def worth_a_look(self) -> bool | None:
        """Whether somebody should look at it; None where nothing is known of any structure."""
        if self.flagged:
            return True
        return None if len(self.unknown) == len(self.structures) else False


def judge(
    model: QualityModel,
    features: Mapping[str, StructureFeatures],
    fold_dice: Mapping[str, float | None] | None = None,
    *,
    record: TrackRecord | None = None,
) -> CaseQuality:
    """What the segmentation of a case is probably worth.

    How far the folds agree cannot be learned from held-out cases (each was held out by one fold
    only). It is taken as it is: two networks that agree less than `LEAST_DICE` cannot both be
    better than that by much.

    Args:
        model: fitted on held-out cases.
        features: of the case, by structure; one that is not named is not judged.
        fold_dice: mean Dice between the predictions of two folds, by structure.
        record: `track_record(model)`, where somebody has computed it.
    """
    agreed, record = fold_dice or {}, record or track_record(model)
    found = {
        name: _judge_structure(predictor, features[name], agreed.get(name))
        for name, predictor in model.structures.items()
        if name in features
    }
    dice = [entry.dice for entry in found.values() if entry.dice is not None]
    distances = [entry.hd95_mm for entry in found.values() if entry.hd95_mm is not None]
    reasons = tuple(f"{name}: {text}" for name, entry in found.items() for text in entry.reasons)
    return CaseQuality(
        dice=_rounded(sum(dice) / len(dice)) if dice else None,
        hd95_mm=_rounded(sum(distances) / len(distances)) if distances else None,
        flagged=bool(reasons),
        reasons=reasons,
        reliable=record.is_reliable,
        note=record.note,
        structures=found,
        unknown=tuple(name for name in found if model.structures[name].dice is None),
    )


def _judge_structure(
    predictor: StructurePredictor, features: StructureFeatures, fold_dice: float | None
) -> StructureQuality:
    if features.volume_ml <= 0:
        missed = _missed(predictor)
        return StructureQuality(fold_dice=fold_dice, flagged=bool(missed), reasons=missed)
    dice, hd95 = predict(predictor, features)
    reasons = []
    if dice is not None and dice < LEAST_DICE:
        reasons.append(f"predicted Dice {dice:.2f}, below {LEAST_DICE:.2f}")
    if hd95 is not None and hd95 > MOST_HD95_MM:
        reasons.append(f"predicted HD95 {hd95:.0f} mm, above {MOST_HD95_MM:.0f} mm")
    if fold_dice is not None and fold_dice < LEAST_DICE:
        reasons.append(
            f"the networks of the folds agree to {fold_dice:.2f} only, below {LEAST_DICE:.2f}"
        )
    if reasons:
        reasons += _causes(predictor, features)
    return StructureQuality(
        _rounded(dice), _rounded(hd95), fold_dice, bool(reasons), tuple(reasons)
    )


def _missed(predictor: StructurePredictor) -> tuple[str, ...]:
    has, all_cases = predictor.reference_cases, predictor.all_cases
    if all_cases and has >= ALWAYS * all_cases:
        return (f"not found, but {has} of {all_cases} training cases have it",)
    return ()


def _causes(predictor: StructurePredictor, features: StructureFeatures) -> Sequence[str]:
    """What is unusual about it, the most telling first."""
    seen = signs_of(predictor, features)
    weights: dict[str, float] = {}
    for line in (predictor.dice, predictor.hd95):
        for name, part in (line.parts(seen) if line else {}).items():
            weights[name] = max(weights.get(name, 0.0), part)
    words = {name: _words(name, predictor, features) for name in seen}
    telling = sorted((name for name in seen if words[name]), key=lambda n: -weights.get(n, 0.0))
    return [words[name] for name in telling[:_MOST_REASONS]]


def _words(name: str, predictor: StructurePredictor, features: StructureFeatures) -> str:
    """What is unusual, in words; "" for what is as usual."""
    feature = {
        "doubt": "expected_dice",
        "entropy": "entropy",
        "mirroring": "mirror_dice",
        "volume": "volume_ml",
        "pieces": "largest_share",
        "border": "border_share",
    }[name]
    value, usual = getattr(features, feature), predictor.usual.get(feature)
    if value is None or usual is None:
        return ""
    low, high = usual
    between = f"usually {low:.2f} to {high:.2f}"
    if name == "doubt" and value < low:
        return f"the model itself counts on a Dice of {value:.2f} only ({between})"
    if name == "entropy" and value > high:
        return f"the model is unsure inside it (entropy {value:.2f}; {between})"
    if name == "mirroring" and value < low:
        return f"the mirrored image gives another result (Dice {value:.2f}; {between})"
    if name == "volume" and not low <= value <= high:
        size = "small" if value < low else "large"
        return f"it is unusually {size}: {value:.3g} ml (usually {low:.3g} to {high:.3g} ml)"
    if name == "pieces" and value < low:
        return f"it lies in {features.pieces} pieces, {1 - value:.0%} outside the largest"
    if name == "border" and value > high:
        return f"the border of the image cuts it off ({value:.0%} of its voxels lie there)"
    return ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
