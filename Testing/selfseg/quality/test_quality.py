"""Predicted quality: features, regression, ranking, and the reasons that are told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import ModelError
from selfseg.domain.labels import LabelScheme
from selfseg.domain.quality import (
    BEYOND,
    QualityModel,
    Regression,
    StructureFeatures,
    StructurePredictor,
)
from selfseg.io.json_files import read_json, write_json
from selfseg.quality.features import PromisedOverlap, overlap_of_maps, shape_features
from selfseg.quality.judgement import judge
from selfseg.quality.learning import Observation, fit_quality
from selfseg.quality.predictor import FEWEST_CASES, dice_error, dice_of, hd95_error, hd95_of
from selfseg.quality.ranking import rank, rank_pairs, spearman, track_record
from selfseg.quality.regression import fit_regression

LABELS = LabelScheme.from_mapping({"liver": 1, "lesion": 3})
REGIONS = LabelScheme.from_mapping({"whole": [1, 2], "core": 2}, [1, 2])


def _observations(
    count: int, folds: int = 5, noise: float = 0.1, structure: str = "liver", seed: int = 0
) -> list[Observation]:
    """Cases whose promised Dice tells the true one, more or less."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        promised = float(rng.uniform(0.75, 0.97))
        error = (1 - promised) * 1.4 * math.exp(noise * rng.normal())
        features = StructureFeatures(
            volume_ml=float(rng.lognormal(3, 0.2)),
            entropy=float(rng.uniform(0.1, 0.2)),
            expected_dice=promised,
            pieces=1,
            largest_share=1.0,
            border_share=0.0,
        )
        found.append(
            Observation(
                f"case_{index}", str(index % folds), structure, features, 1 - error,
                20 * error, in_reference=True,
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def model() -> QualityModel:
    return fit_quality(_observations(40))


def test_promised_overlap_is_that_of_the_definition():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), size=(4, 5, 6)).astype(np.float32)
    meter = PromisedOverlap(LABELS)
    for plane in probabilities:
        meter.add(plane)
    for head, name in ((1, "liver"), (2, "lesion")):
        inside = probabilities.argmax(axis=-1) == head
        p = probabilities[..., head]
        expected = 2 * p[inside].sum() / (inside.sum() + p.sum())
        assert meter.dice()[name] == pytest.approx(expected, rel=1e-5)


def test_promised_overlap_of_regions_and_of_certainty():
    meter = PromisedOverlap(REGIONS)
    meter.add(np.array([[1.0, 0.0], [0.6, 0.0], [0.4, 0.0]], dtype=np.float32))
    assert meter.dice()["whole"] == pytest.approx(2 * 1.6 / (2 + 2.0))
    assert meter.dice()["core"] is None
    sure = PromisedOverlap(LABELS)
    sure.add(np.eye(3, dtype=np.float32))
    assert sure.dice() == {"liver": 1.0, "lesion": 1.0}


def test_promised_dice_is_kept_by_a_model_that_keeps_its_word():
    rng = np.random.default_rng(2)
    p = rng.beta(0.5, 2, 200_000).astype(np.float32)
    truth = rng.random(p.size) < p
    predicted = p > 0.5
    dice = 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    meter = PromisedOverlap(LabelScheme.from_mapping({"liver": 1}))
    meter.add(np.stack([1 - p, p], axis=-1))
    assert meter.dice()["liver"] == pytest.approx(dice, abs=0.005)


def test_shapes_are_described():
    labels = np.zeros((6, 8, 10), np.uint8)
    labels[0:2, 2:4, 2:4] = 1  # 8 voxels, 4 of them on the first slice
    labels[4, 6, 6] = 1
    found = shape_features(labels, LABELS, (5.0, 2.0, 1.0))
    liver = found["liver"]
    assert liver.volume_ml == pytest.approx(9 * 10 / 1000)
    assert (liver.pieces, liver.largest_share) == (2, pytest.approx(8 / 9))
    assert liver.border_share == pytest.approx(4 / 9)
    assert found["lesion"] == StructureFeatures()


def test_a_picture_has_no_border_through_the_plane():
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, 2:5, 2:5] = 3
    found = shape_features(labels, LABELS, (999.0, 2.0, 2.0))["lesion"]
    assert found.border_share == 0
    assert found.volume_ml == pytest.approx(9 * 4 / 100)


def test_overlap_of_two_label_maps():
    first = np.array([[[1, 1, 0, 3]]])
    second = np.array([[[1, 0, 0, 0]]])
    assert overlap_of_maps(first, second, LABELS) == {"liver": pytest.approx(2 / 3), "lesion": 0.0}
    assert overlap_of_maps(second, second, LABELS)["lesion"] is None


@given(st.floats(0, 1))
def test_errors_and_scores_are_each_others_inverse(value: float):
    assert dice_of(dice_error(value)) == pytest.approx(value, abs=1e-9)
    assert hd95_of(hd95_error(100 * value)) == pytest.approx(100 * value, abs=1e-9)


def test_a_line_is_found_again():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(200, 3)) * (1, 5, 0.1)
    target = 2 + 0.5 * table[:, 0] + 0.2 * table[:, 1]
    line = fit_regression(("a", "b", "c"), table, target)
    guess = [line.predict(dict(zip("abc", row, strict=True))) for row in table]
    assert np.abs(guess - target).max() < 0.1
    assert line.weights[2] == pytest.approx(0, abs=0.01)


def test_weights_are_never_negative_and_constants_do_no_harm():
    rng = np.random.default_rng(4)
    table = np.stack([rng.normal(size=50), np.ones(50)], axis=1)
    line = fit_regression(("a", "b"), table, -table[:, 0])
    assert line.weights == (0.0, 0.0)
    assert math.isfinite(line.predict({"a": 3.0, "b": 2.0}))
    with pytest.raises(ValueError, match="1 cases"):
        fit_regression(("a",), np.ones((1, 1)), np.ones(1))


def test_few_cases_keep_to_what_is_expected_and_many_overrule_it():
    rng = np.random.default_rng(5)
    table = rng.normal(size=(100, 1))
    nothing = rng.normal(size=100) * 0.01
    assert fit_regression(("a",), table, nothing, {"a": 1.0}).weights[0] < 0.1
    few = fit_regression(("a",), table[:4], np.array([1.0, 1.0, 1.0, 1.01]), {})
    assert few.weights[0] < 0.05
    right = fit_regression(("a",), table, table[:, 0] + 0.5 * rng.normal(size=100), {"a": 1.0})
    assert right.weights[0] == pytest.approx(table.std(), rel=0.1)


def test_beyond_what_was_seen_a_feature_is_cut_off():
    table = np.linspace(0, 1, 20)[:, None]
    line = fit_regression(("a",), table, table[:, 0])
    far, near = line.predict({"a": 100.0}), line.predict({"a": 1 + BEYOND * table.std()})
    assert far == pytest.approx(near)
    assert line.predict({}) == line.intercept


def test_spearman_is_that_of_scipy():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(6)
    for _ in range(20):
        one, other = rng.integers(0, 6, 30).astype(float), rng.integers(0, 6, 30).astype(float)
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) is None


def test_rankings_say_how_little_few_cases_tell():
    assert rank_pairs([]).verdict == "too few cases"
    assert rank_pairs([(0.1 * i, 0.1 * i) for i in range(4)]).spearman is None
    perfect = rank_pairs([(0.01 * i, 0.01 * i) for i in range(30)])
    assert (perfect.verdict, perfect.error) == ("good", 0.0)
    rng = np.random.default_rng(7)
    chance = rank_pairs([(float(a), float(b)) for a, b in rng.random((30, 2))])
    assert chance.verdict == "none"
    assert chance.low < 0 < chance.high


def test_the_predictor_ranks_cases_it_has_not_seen(model: QualityModel):
    assert model.left_out == "fold"
    ranking = rank(model)
    assert ranking.cases == 40
    assert ranking.spearman > 0.9
    assert ranking.error < 0.5 * ranking.error_of_mean
    assert rank(model, "liver", metric="hd95_mm").spearman > 0.8
    assert rank(model, "nobody").cases == 0


def test_a_predictor_without_information_is_not_praised():
    rng = np.random.default_rng(8)
    entries = [
        replace(entry, dice=float(rng.uniform(0.7, 0.95)), hd95_mm=float(rng.uniform(1, 9)))
        for entry in _observations(60)
    ]
    for folds in (5, 1):
        model = fit_quality([replace(e, fold=str(i % folds)) for i, e in enumerate(entries)])
        ranking = rank(model)
        # Leaving cases out must not rank them upside down either.
        assert abs(ranking.spearman or 0) < 0.35
        assert ranking.verdict in ("none", "too few cases")
        assert model.left_out == ("fold" if folds > 1 else "case")


def test_a_record_says_what_it_is_worth(model: QualityModel):
    good = track_record(model)
    assert good.is_reliable
    assert good.note == ""
    assert judge(model, {"liver": _observations(1)[0].features}).reliable
    rng = np.random.default_rng(8)
    chance = fit_quality(
        [
            replace(entry, dice=float(rng.uniform(0.7, 0.95)), hd95_mm=float(rng.uniform(1, 9)))
            for entry in _observations(60)
        ]
    )
    judged = judge(chance, {"liver": _observations(1)[0].features})
    assert not judged.reliable
    assert judged.note.startswith("not reliable on this data: predicted Dice cannot be told")
    assert "HD95 cannot be told from chance" in judged.note
    assert judged.dice is not None  # it is told all the same
    few = judge(fit_quality(_observations(4)), {"liver": _observations(1)[0].features})
    assert few.note == (
        "this model was judged on 4 held-out cases; from 10 on it can say which results to look at"
    )
    assert judge(fit_quality(_observations(1)), {}).note.startswith(
        "this model was judged on 1 held-out case;"
    )


def test_a_feature_that_one_case_lacks_is_left_out_everywhere():
    entries = _observations(30)
    lacking = replace(entries[0], features=replace(entries[0].features, entropy=None))
    model = fit_quality([lacking, *entries[1:]])
    line = model.structures["liver"].dice
    assert line is not None
    assert "entropy" not in line.names
    assert len(model.held_out) == 30


def test_a_model_knows_what_it_was_learned_from(model: QualityModel):
    assert model.learned_from == fit_quality(_observations(40)).learned_from
    assert model.learned_from != fit_quality(_observations(40, seed=1)).learned_from


@pytest.mark.parametrize(
    "change",
    [{"deviations": (0.0,)}, {"weights": ()}, {"intercept": math.nan}, {"means": (math.inf,)}],
)
def test_lines_that_are_none_are_refused(change: dict[str, object]):
    line = Regression(("doubt",), (0.0,), (1.0,), (-1.0,), (1.0,), (0.5,), 0.0, 1.0)
    with pytest.raises(ModelError, match="predictor of the quality"):
        replace(line, **change)
    with pytest.raises(ModelError, match="spread above 0"):
        StructurePredictor(3, 3, 3, volume_spread=0.0)


def test_too_few_cases_are_said_to_be_too_few():
    model = fit_quality(_observations(FEWEST_CASES - 1))
    assert model.structures["liver"].dice is None
    assert model.held_out == ()
    assert rank(model).verdict == "too few cases"
    judged = judge(model, {"liver": _observations(1)[0].features})
    assert judged.unknown == ("liver",)
    assert (judged.dice, judged.flagged, judged.worth_a_look) == (None, False, None)


def test_what_was_not_found_is_not_learned_from():
    entries = [
        replace(entry, features=StructureFeatures(), dice=0.0, hd95_mm=None)
        if index % 2
        else replace(entry, hd95_mm=None if index % 4 else entry.hd95_mm)
        for index, entry in enumerate(_observations(40))
    ]
    model = fit_quality(entries)
    assert model.structures["liver"].cases == 20
    assert model.structures["liver"].dice is not None
    assert len(model.held_out) == 40
    assert rank(model).cases == 20
    assert fit_quality([]).structures == {}


def test_bad_cases_are_flagged_with_their_reasons(model: QualityModel):
    good = _observations(1)[0].features
    fine = judge(model, {"liver": replace(good, expected_dice=0.95, volume_ml=20.0)})
    assert not fine.flagged
    assert fine.dice == pytest.approx(0.93, abs=0.03)
    bad = judge(
        model,
        {"liver": replace(good, expected_dice=0.6, volume_ml=2.0, entropy=0.5,
                          largest_share=0.7, pieces=4)},
    )  # fmt: skip
    assert bad.flagged
    reasons = " | ".join(bad.reasons)
    assert "liver: predicted Dice 0." in reasons
    assert "below 0.70" in reasons
    assert "counts on a Dice of 0.60 only" in reasons
    assert len(bad.structures["liver"].reasons) <= 5


def test_distances_flag_too():
    far = [replace(entry, hd95_mm=100 * (1 - entry.dice)) for entry in _observations(40)]
    model = fit_quality(far)
    judged = judge(model, {"liver": replace(far[0].features, expected_dice=0.8)})
    assert any("predicted HD95" in reason and "above 15 mm" in reason for reason in judged.reasons)


def test_folds_that_disagree_flag_a_case_that_looks_good(model: QualityModel):
    good = replace(_observations(1)[0].features, expected_dice=0.95)
    judged = judge(model, {"liver": good}, {"liver": 0.55})
    assert judged.structures["liver"].reasons[0] == (
        "the networks of the folds agree to 0.55 only, below 0.70"
    )
    assert not judge(model, {"liver": good}, {"liver": 0.9}).flagged


def test_a_structure_that_everyone_has_is_missed_where_it_is_not_found(model: QualityModel):
    judged = judge(model, {"liver": StructureFeatures()})
    assert judged.reasons == ("liver: not found, but 40 of 40 training cases have it",)
    rare = fit_quality(
        [replace(e, in_reference=i % 2 == 0) for i, e in enumerate(_observations(40))]
    )
    assert not judge(rare, {"liver": StructureFeatures()}).flagged


def test_every_cause_has_words(model: QualityModel):
    usual = {
        "expected_dice": (0.8, 0.9), "entropy": (0.1, 0.2), "mirror_dice": (0.8, 0.9),
        "volume_ml": (10.0, 30.0), "largest_share": (0.99, 1.0), "border_share": (0.0, 0.01),
    }  # fmt: skip
    odd = replace(model, structures={"liver": replace(model.structures["liver"], usual=usual)})
    base = StructureFeatures(20.0, 0.15, 0.85, 0.85, 1, 1.0, 0.0)
    for change, words in (
        ({"expected_dice": 0.3}, "counts on a Dice of 0.30 only (usually 0.80 to 0.90)"),
        ({"entropy": 0.6}, "unsure inside it (entropy 0.60"),
        ({"mirror_dice": 0.4}, "mirrored image gives another result"),
        ({"volume_ml": 2.0}, "unusually small: 2 ml (usually 10 to 30 ml)"),
        ({"volume_ml": 90.0}, "unusually large: 90 ml"),
        ({"largest_share": 0.75, "pieces": 3}, "in 3 pieces, 25% outside the largest"),
        ({"border_share": 0.2}, "cuts it off (20% of its voxels lie there)"),
    ):
        judged = judge(odd, {"liver": replace(base, **change)}, {"liver": 0.1})
        assert words in " | ".join(judged.reasons)


def test_the_model_is_data(model: QualityModel, tmp_path: Path):
    write_json(tmp_path / "quality.json", model, schema="selfseg.quality/1")
    again = read_json(tmp_path / "quality.json", QualityModel, schema="selfseg.quality/1")
    assert again == model


def test_structures_are_judged_by_their_own_lines():
    easy = _observations(30)
    hard = [replace(e, dice=max(0.0, e.dice - 0.2)) for e in _observations(30, structure="lesion")]
    model = fit_quality(easy + hard)
    judged = judge(
        model, {"liver": easy[0].features, "lesion": hard[0].features, "other": easy[0].features}
    )
    assert judged.structures["liver"].dice > judged.structures["lesion"].dice + 0.1
    assert judged.dice == pytest.approx(
        (judged.structures["liver"].dice + judged.structures["lesion"].dice) / 2
    )
    assert "other" not in judged.structures
