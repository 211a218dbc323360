"""Which postprocessing is worth its risk, decided on held-out predictions.

First the method's own two questions (RECIPE): is only the largest component of all foreground
kept, then, structure by structure in declared order, only its largest? Then, where asked for,
refinements of each structure: its k largest components, dropping components below a learned
size, filling holes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..domain.bundle import PostprocessingStep
from ..domain.labels import LabelScheme
from ..domain.selection import TriedStep
from .dice_table import DiceTable, number_or_none
from .trials import Scorer, Steps

COMPONENT_COUNTS = (2, 3)
"""Of the k largest components; 1 is the method's own question."""

SMALLEST_SIZES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Voxels below which a component may be dropped, to choose from."""


@dataclass(frozen=True)
class Chosen:
    """The steps that stay, the scores with them, and everything that was tried."""

    steps: Steps
    table: DiceTable
    tested: tuple[TriedStep, ...]


def choose_steps(score: Scorer, labels: LabelScheme, *, as_peer: bool = False) -> Chosen:
    """The method's postprocessing.

    The largest component of everything must improve the mean over structures and make no
    structure worse. The largest component of a structure must improve that structure.

    Args:
        score: of the held-out predictions.
        labels: the structures.
        as_peer: decides as nnunetv2 2.8.1: where a structure has no score at all, because it is
            in no reference and in no prediction, there is no mean that could improve.
    """

    def mean(table: DiceTable) -> float:
        return table.mean if as_peer else table.mean_of_defined

    (now,) = score([()])
    steps: Steps = ()
    tested = []
    everything = PostprocessingStep("largest_component_all")
    (after,) = score([(everything,)])
    rises = bool(mean(after) > mean(now))
    kept = rises and not _harmed(now, after, labels)
    if kept:
        reason = "the mean rises and no structure gets worse"
    elif rises:
        reason = f"{_listed(_harmed(now, after, labels))} would get worse"
    else:
        reason = "the mean does not rise"
    tested.append(_trial(everything, kept, now, after, labels, reason))
    if kept:
        steps, now = (everything,), after
    for place, label in enumerate(labels.foreground):
        if len(labels.foreground) == 1:
            break
        step = PostprocessingStep("largest_component", (label.name,))
        (after,) = score([(*steps, step)])
        kept = bool(after.by_structure[place] > now.by_structure[place])
        reason = f"{label.name} {'gets better' if kept else 'does not get better'}"
        tested.append(_trial(step, kept, now, after, labels, reason))
        if kept:
            steps, now = (*steps, step), after
    return Chosen(steps, now, tuple(tested))


def refine(
    chosen: Chosen,
    score: Scorer,
    score_images: Scorer,
    labels: LabelScheme,
    folds: Sequence[str],
    *,
    told: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """Tries what the method does not, structure by structure.

    A number that a step needs is learned on all folds but one and scored on the cases of that
    one, fold by fold: a step stays where the structure is better with numbers learned without
    the cases they are judged on, the mean rises and no structure gets worse. The number that
    stays is the one learned on all.

    Args:
        chosen: the method's steps.
        score: of the held-out predictions, for steps on components.
        score_images: likewise, for any steps.
        labels: the structures.
        folds: the fold that held each case out.
        told: is told what is tried.
    """
    parts = _folds(folds)
    for place, label in enumerate(labels.foreground):
        told(f"components of {label.name}")
        chosen = _refine_components(chosen, score, labels, place, parts)
    told("holes")
    return _fill_holes(chosen, score_images, labels)


def _refine_components(
    chosen: Chosen,
    score: Scorer,
    labels: LabelScheme,
    place: int,
    parts: Sequence[NDArray[np.bool_]],
) -> Chosen:
    name = labels.foreground[place].name
    # What is tried takes the place of the structure's "largest component", if that was chosen.
    largest = PostprocessingStep("largest_component", (name,))
    if len(labels.foreground) == 1:
        largest = PostprocessingStep("largest_component_all")
    others = tuple(step for step in chosen.steps if step != largest)
    families = (
        [
            PostprocessingStep("k_largest_components", (name,), count=count)
            for count in COMPONENT_COUNTS
        ],
        [
            PostprocessingStep("remove_small_components", (name,), min_voxels=size)
            for size in SMALLEST_SIZES
        ],
    )
    options = [step for family in families for step in family]
    tables = dict(zip(options, score([(*others, step) for step in options]), strict=True))
    now, tested, winners = chosen.table, list(chosen.tested), []
    for family in families:
        honest = now.values.copy()
        for part in parts:
            best = _best(family, {s: tables[s].rows(~part) for s in family}, place)
            honest[part] = tables[best].values[part]
        step = _best(family, tables, place)
        reason = _reason(now, DiceTable(honest), tables[step], labels, place)
        won = not reason
        text = "better on folds that its number was not learned from" if won else reason
        tested.append(_trial(step, won, now, DiceTable(honest), labels, text))
        if won:
            winners.append(step)
    if not winners:
        return Chosen(chosen.steps, now, tuple(tested))
    winner = _best(winners, tables, place)
    for number, trial in enumerate(tested):
        if trial.kept and trial.step in winners and trial.step != winner:
            tested[number] = replace(trial, kept=False, reason="another step is better still")
        if trial.kept and trial.step == largest:
            tested[number] = replace(trial, kept=False, reason=f"{winner.kind} is better still")
    return Chosen((*others, winner), tables[winner], tuple(tested))


def _fill_holes(chosen: Chosen, score: Scorer, labels: LabelScheme) -> Chosen:
    options = [PostprocessingStep("fill_holes", (label.name,)) for label in labels.foreground]
    now, *tables = score([chosen.steps, *((*chosen.steps, step) for step in options)])
    tested, winners = list(chosen.tested), []
    for place, (step, table) in enumerate(zip(options, tables, strict=True)):
        reason = _reason(now, table, table, labels, place)
        text = reason or f"{step.structures[0]} gets better"
        tested.append(_trial(step, not reason, now, table, labels, text))
        if not reason:
            winners.append(step)
    if not winners:
        return Chosen(chosen.steps, chosen.table, tuple(tested))
    # Two structures may enclose the same hole, which the first one gets.
    (together,) = score([(*chosen.steps, *winners)])
    if len(winners) > 1 and (
        _harmed(now, together, labels) or not together.mean_of_defined > now.mean_of_defined
    ):
        winners, together = winners[:1], tables[options.index(winners[0])]
        tested = [
            replace(trial, kept=False, reason="not together with another structure")
            if trial.step.kind == "fill_holes" and trial.step not in winners and trial.kept
            else trial
            for trial in tested
        ]
    return Chosen((*chosen.steps, *winners), together, tuple(tested))


def _best(
    steps: Sequence[PostprocessingStep],
    tables: dict[PostprocessingStep, DiceTable],
    place: int,
) -> PostprocessingStep:
    values = np.array([tables[step].by_structure[place] for step in steps])
    values[np.isnan(values)] = -np.inf
    return steps[int(values.argmax())]


def _reason(
    now: DiceTable, honest: DiceTable, learned: DiceTable, labels: LabelScheme, place: int
) -> str:
    """Why a refinement is refused; "" where it is not."""
    for table in (honest, learned):
        if not table.by_structure[place] > now.by_structure[place]:
            return f"{labels.foreground[place].name} does not get better"
        worse = _harmed(now, table, labels)
        if worse:
            return f"{_listed(worse)} would get worse"
        if not table.mean_of_defined > now.mean_of_defined:
            return "the mean does not rise"
    return ""


def _harmed(before: DiceTable, after: DiceTable, labels: LabelScheme) -> list[str]:
    worse = after.by_structure < before.by_structure
    return [label.name for label, bad in zip(labels.foreground, worse, strict=True) if bad]


def _trial(
    step: PostprocessingStep,
    kept: bool,
    before: DiceTable,
    after: DiceTable,
    labels: LabelScheme,
    reason: str,
) -> TriedStep:
    old, new = before.named(labels), after.named(labels)
    return TriedStep(
        step,
        kept,
        number_or_none(before.mean_of_defined),
        number_or_none(after.mean_of_defined),
        {name: (old[name], new[name]) for name in old if old[name] != new[name]},
        reason,
    )


def _folds(names: Sequence[str]) -> list[NDArray[np.bool_]]:
    """Which cases each fold holds out; two halves where there is a single fold."""
    held = np.array([str(name) for name in names])
    if len(set(held)) < 2:
        held = np.array([str(place % 2) for place in range(len(held))])
    return [held == name for name in sorted(set(held))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
