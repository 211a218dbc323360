from __future__ import annotations

import json
from typing import Any

import pytest

from selfseg.domain.events import EpochFinished, Notice, ValidationFinished
from selfseg.train.watch import CollapseAlarm, EarlyStopping, composite_score


def epoch(number: int, epochs: int = 100, ema: float | None = None, **dice: Any) -> EpochFinished:
    return EpochFinished("3d", "0", number, epochs, 0.5, 0.5, dice, ema_pseudo_dice=ema)


def validation(number: int, composite: float | None) -> ValidationFinished:
    return ValidationFinished("3d", "0", number, composite=composite)


def alarms(alarm: CollapseAlarm, values: list[float | None], epochs: int = 100) -> list[int]:
    told = []
    for number, value in enumerate(values):
        if alarm.update(epoch(number, epochs, liver=0.9, lesion=value)) is not None:
            told.append(number)
    return told


def test_a_structure_never_found_is_told_once_and_then_rarely() -> None:
    told = alarms(CollapseAlarm(["liver", "lesion"]), [0.0] * 600)
    # The first five epochs do not count; then 5, 50 and 500 epochs without overlap.
    assert told == [9, 54, 504]


def test_the_start_grows_with_the_length_of_the_training() -> None:
    assert alarms(CollapseAlarm(["lesion"]), [0.0] * 50, epochs=1000) == [24]


def test_a_structure_that_collapses_after_it_was_found() -> None:
    alarm = CollapseAlarm(["lesion"])
    values = [0.0] * 4 + [0.6] + [0.5] * 10 + [0.0] * 4
    assert alarms(alarm, values) == []
    notice = alarm.update(epoch(19, lesion=0.0))
    assert notice is not None
    assert notice.level == "warning"
    assert "at best 0.60 before" in notice.text
    for advice in ("selfseg check", "by_structure", "longer", "larger patch", "merge"):
        assert advice in notice.text


def test_a_short_lapse_is_no_collapse() -> None:
    assert alarms(CollapseAlarm(["lesion"]), [0.0, 0.0, 0.0, 0.0, 0.2] * 20) == []


def test_undefined_counts_where_the_training_labels_hold_it() -> None:
    alarm = CollapseAlarm(["lesion"])
    notices = [alarm.update(epoch(i, lesion=None, other=0.0)) for i in range(10)]
    assert notices[:9] == [None] * 9
    assert isinstance(notices[9], Notice)
    assert "neither predicted nor in a watched patch" in notices[9].text
    assert "other" not in notices[9].text


def test_advice_that_is_followed_already_is_not_given() -> None:
    alarm = CollapseAlarm(["lesion"], by_structure=True)
    notices = [alarm.update(epoch(i, lesion=0.0)) for i in range(10)]
    assert "by_structure" not in str(notices[-1])


def test_a_resumed_alarm_goes_on() -> None:
    values: list[float | None] = [0.7, *[0.0] * 30]
    through = CollapseAlarm(["liver", "lesion"])
    told, resumed = [], []
    for number, value in enumerate(values):
        told.append(through.update(epoch(number, liver=0.9, lesion=value)))
    alarm = CollapseAlarm(["liver", "lesion"])
    for number, value in enumerate(values):
        resumed.append(alarm.update(epoch(number, liver=0.9, lesion=value)))
        state = json.loads(json.dumps(alarm.state()))
        alarm = CollapseAlarm(["liver", "lesion"])
        alarm.load(state)
    assert resumed == told
    assert any(told)


def test_the_composite_score() -> None:
    assert composite_score(1.0, 0.0) == 0.0
    assert composite_score(0.8, 5.0) == pytest.approx(0.7 * 0.2 + 0.3 * 0.5)
    assert composite_score(0.8) == pytest.approx(0.14)


def test_stops_after_patience_without_a_better_pseudo_dice() -> None:
    stopping = EarlyStopping(validates=False)
    verdicts = [
        stopping.update(epoch(i, ema=0.5 + 0.01 * min(i, 20) - 0.001 * max(0, i - 20)))
        for i in range(51)
    ]
    assert [v.is_best for v in verdicts] == [True] * 21 + [False] * 30
    assert [v.stop for v in verdicts] == [False] * 50 + [True]
    assert stopping.best_epoch == 20
    assert "epoch 21" in stopping.notice().text
    assert "--checkpoint best" in stopping.notice().text


def test_whole_cases_decide_where_they_are_validated() -> None:
    stopping = EarlyStopping(validates=True)
    scores = {9: 0.5, 19: 0.3, 29: 0.35, 39: 0.31, 49: 0.4}
    stopped = None
    for i in range(60):
        event = validation(i, scores[i]) if i in scores else None
        verdict = stopping.update(epoch(i, ema=0.01 * i), event)  # the pseudo Dice does not count
        assert verdict.is_best == (i in (9, 19))
        if verdict.stop:
            stopped = i
            break
    assert stopped == 49  # 30 epochs and three scores after the best


def test_two_rare_validations_are_too_few_to_stop() -> None:
    stopping = EarlyStopping(patience=30, validates=True)
    verdicts = [
        stopping.update(epoch(i), validation(i, score)) for i, score in ((49, 0.3), (99, 0.4))
    ]
    assert not any(v.stop for v in verdicts)


def test_without_any_score_nothing_stops() -> None:
    stopping = EarlyStopping(patience=1, validates=False)
    assert not any(stopping.update(epoch(i)).stop for i in range(50))


def test_a_resumed_early_stopping_goes_on() -> None:
    emas = [0.5, 0.6, 0.55, 0.61, *[0.6] * 10]
    through = EarlyStopping(5, validates=False)
    expected = [through.update(epoch(i, ema=ema)) for i, ema in enumerate(emas)]
    stopping, found = EarlyStopping(5, validates=False), []
    for i, ema in enumerate(emas):
        found.append(stopping.update(epoch(i, ema=ema)))
        state = json.loads(json.dumps(stopping.state()))
        stopping = EarlyStopping(5, validates=False)
        stopping.load(state)
    assert found == expected
    assert any(verdict.stop for verdict in found)
