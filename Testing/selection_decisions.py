"""Our decisions on the made predictions of held_out_cases.py, and how they differ from a peer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from held_out_cases import CONFIGURATIONS, MadeProblem
from selfseg.domain.bundle import Member, PostprocessingStep
from selfseg.domain.case import PreprocessRecord
from selfseg.domain.geometry import Geometry, Shape3
from selfseg.domain.labels import LabelScheme
from selfseg.infer.ensemble import Vote, decide
from selfseg.select.candidates import best, candidates_from
from selfseg.select.components import parts_of
from selfseg.select.dice_table import DiceTable, dice_row
from selfseg.select.postprocessing import choose_steps
from selfseg.select.trials import Scorer, score_after, score_parts


@dataclass(frozen=True)
class Decision:
    best: list[str]
    scores: list[float]
    steps: list[list[int]]
    after: float


def scheme_of(problem: MadeProblem) -> LabelScheme:
    return LabelScheme.from_mapping(problem.labels, problem.order)


def our_decision(problem: MadeProblem, only: int | None = None) -> Decision:
    """The best candidate and its steps; of candidate `only`, if that is given."""
    scheme, cases = scheme_of(problem), problem.cases()
    members = [Member("plain", name, ("0",)) for name in CONFIGURATIONS]
    candidates = candidates_from(members)
    predictions = []
    for candidate in candidates:
        places = [members.index(member) for member in candidate]
        maps = []
        for case in cases:
            votes = [_vote(case.logits[place]) for place in places]
            maps.append(decide(votes, scheme))
        predictions.append(maps)
    tables = [
        DiceTable(
            np.array(
                [
                    dice_row(case.reference, labels, scheme)
                    for case, labels in zip(cases, maps, strict=True)
                ]
            )
        )
        for maps in predictions
    ]
    winner = best(tables, as_peer=True) if only is None else only
    pairs = [(case.reference, m) for case, m in zip(cases, predictions[winner], strict=True)]
    chosen = choose_steps(scorer_of(pairs, scheme), scheme, as_peer=True)
    return Decision(
        [member.configuration for member in candidates[winner]],
        [table.mean_of_defined for table in tables],
        [_values(step, scheme) for step in chosen.steps],
        chosen.table.mean_of_defined,
    )


def scorer_of(pairs: Sequence[tuple[Any, Any]], scheme: LabelScheme) -> Scorer:
    """As `stages.select` scores them: from components, or on the images for regions."""
    if not scheme.has_regions:
        return score_parts([parts_of(*pair, scheme) for pair in pairs], scheme)
    return scorer_on_images(pairs, scheme)


def scorer_on_images(pairs: Sequence[tuple[Any, Any]], scheme: LabelScheme) -> Scorer:
    def score(sequences: Sequence[tuple[PostprocessingStep, ...]]) -> list[DiceTable]:
        rows = [score_after(*pair, scheme, sequences) for pair in pairs]
        return [DiceTable(np.array([row[k] for row in rows])) for k in range(len(sequences))]

    return score


def differences(ours: Decision, peer: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    found = []
    if peer["best"] is not None and ours.best != peer["best"]:
        found.append(f"selected {ours.best}, nnunetv2 {peer['best']}")
    if ours.steps != peer["steps"]:
        found.append(f"steps {ours.steps}, nnunetv2 {peer['steps']}")
    for what, mine, theirs in (
        *(("a candidate's Dice", *pair) for pair in zip(ours.scores, peer["scores"], strict=False)),
        ("Dice after postprocessing", ours.after, peer["after"]),
    ):
        if theirs is not None and abs(mine - theirs) > 1e-12:
            found.append(f"{what} {mine}, nnunetv2 {theirs}")
    return found


def _vote(logits: Any) -> Vote:
    shape: Shape3 = logits.shape[1:]
    spacing = (1.0, 1.0, 1.0)
    grid = Geometry(shape, spacing, (0.0, 0.0, 0.0))
    record = PreprocessRecord(
        grid, (0, 1, 2), (0, 0, 0), shape, shape, spacing, shape, spacing, shape
    )
    return Vote(np.moveaxis(logits, 0, -1).astype(np.float16), record, None)


def _values(step: PostprocessingStep, scheme: LabelScheme) -> list[int]:
    if step.kind == "largest_component_all":
        return list(scheme.values)
    (name,) = step.structures
    return sorted(next(label.values for label in scheme.foreground if label.name == name))
