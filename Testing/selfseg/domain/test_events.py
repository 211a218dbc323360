from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from selfseg.domain.events import (
    KINDS,
    CaseFailed,
    CaseFinished,
    CasesFound,
    EpochFinished,
    Event,
    IterationFinished,
    ModelReady,
    Notice,
    PlanExplained,
    Progress,
    StageFinished,
    StageStarted,
    ValidationFinished,
)

EXAMPLES: tuple[Event, ...] = (
    StageStarted("train", 3, "case"),
    Progress("train", 1, 3, 4.5),
    StageFinished("train", 3.0),
    Notice("look"),
    IterationFinished(3, 0.5, 0.01, 0.1, 20.0, 60.0, 2**30, 250),
    EpochFinished("3d", "0", 1, 9, 0.3, 0.4, {"a": None, "b": 0.5}),
    ValidationFinished("3d", "0", 1, {"a": 0.5}, {"a": None}, {"a": 0.4}, 0.5, cases=2),
    CaseFinished("a", 2.0, scores={"a": None}),
    CasesFound(("a", "b"), ("a",)),
    CaseFailed("a", "broken", cure="mend it"),
    PlanExplained("plain", ({"title": "t", "text": "x"},), ({"name": "2d"},), 100, 5, 2**20),
    ModelReady("liver", "1.0.0", "liver", 0.9, 5),
)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_kind_is_one_json_object(event: Event) -> None:
    content = json.loads(json.dumps(event.as_dict(), allow_nan=False))
    kind = KINDS[content.pop("event")]
    assert kind is type(event)
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
    assert kind(**plain) == event


def test_every_kind_is_known() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        # Rooms above have events of their own, which no training logs.
        ours = [k for k in kind.__subclasses__() if k.__module__ == kind.__module__]
        return {k for child in ours for k in (child, *below(child))}

    assert set(KINDS.values()) == below(Event) == {type(event) for event in EXAMPLES}


def test_what_is_no_number_is_none_and_numpy_is_plain() -> None:
    dice: Any = {"a": np.float32(0.5), "b": math.nan, "c": np.float64(math.inf)}
    event = EpochFinished("3d", "0", 1, 9, math.inf, math.nan, dice, memory_bytes=np.int64(3))  # type: ignore[arg-type]
    text = json.dumps(event.as_dict(), allow_nan=False)
    content = json.loads(text)
    assert content["train_loss"] is None
    assert content["validation_loss"] is None
    assert content["pseudo_dice"] == {"a": 0.5, "b": None, "c": None}
    assert content["memory_bytes"] == 3
