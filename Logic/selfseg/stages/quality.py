"""Learning from held-out cases what a new segmentation is probably worth, and telling it.

    judged folds -> of each held-out case: label map, logits (kept, or predicted again)
                 -> features beside its scores -> fit -> quality.json of the configuration
    a new case   -> the same features, taken while it is predicted -> `judge`

A held-out case is predicted by one network and a new one by the mean of all folds, which is a
little better and a little less sure: what is predicted is the Dice of a single network, and
tends to be too low rather than too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crossvalidate.splits import ALL
from ..domain.bundle import Member
from ..domain.case import FloatArray
from ..domain.events import Notice, Progress, StageFinished, StageStarted
from ..domain.geometry import Shape3
from ..domain.labels import LabelScheme
from ..domain.plan import Plan
from ..domain.quality import QualityModel, StructureFeatures
from ..domain.stopping import check_stop
from ..evaluate.scores import CaseScores, read_case_scores
from ..infer.engine import Backend, Slab
from ..infer.restore import restore
from ..io.bundle_layout import QUALITY_SCHEMA
from ..io.case_store import StoredCase
from ..io.images import read_label_map
from ..io.json_files import read_json, write_json
from ..io.logit_store import read_logits
from ..quality.features import overlap_of_maps
from ..quality.learning import Observation, digest_of, fit_quality
from .calibrate import calibration_of
from .first_stage import weights_digest
from .fold import FoldRun
from .logits import logits_folder, read_judged, without_logits
from .models import load_backend
from .quality_files import quality_file
from .quality_meter import QualityMeter
from .segment import predict_case

FEATURES_SCHEMA = "selfseg.quality-features/1"
FEATURES_FILE = "quality_features.json"


@dataclass(frozen=True)
class FoldFeatures:
    """`quality_features.json` of a training: what was seen of its held-out cases.

    `weights` and `temperature` say of which predictions; `cases` are by name and structure.
    """

    weights: str
    temperature: float
    mirrored: bool
    cases: Mapping[str, Mapping[str, StructureFeatures]]


def learn_quality(
    runs: Sequence[FoldRun], *, checkpoint: str, mirrored: bool = False, predict: bool = True
) -> QualityModel | None:
    """Learns the predictor of one configuration from its judged folds, and stores it.

    Quick where nothing has changed.

    Args:
        runs: folds of one configuration; "all" and those that are not judged are left out.
        checkpoint: the weights that were judged, "final" or "best".
        mirrored: also takes how far the plain prediction agrees with the mirrored one: one more
            pass over every case, then and at prediction.
        predict: predicts held-out cases again whose logits were not kept.

    Returns:
        the predictor; None where no fold is judged, or where cases would have to be predicted.
    """
    judged = [run for run in runs if run.fold != ALL and run.is_judged]
    if not judged:
        return None
    (first, *_) = judged
    if not predict and not all(is_measurable(run, checkpoint=checkpoint) for run in judged):
        text = f"the quality of {first.configuration} is not learned: its logits were not kept for "
        text += "lack of room; `selfseg select` predicts them again"
        first.reporter(Notice(text))
        return None
    observations: list[Observation] = []
    for run, seen in zip(judged, measure_folds(judged, checkpoint, mirrored=mirrored), strict=True):
        scores = read_case_scores(run.folder / "validation.json")
        fold_of = dict.fromkeys(seen.cases, run.fold)
        observations += observations_of(seen.cases, scores, fold_of, run.plan.description.labels)
    path = quality_file(first.project, first.plan.name, first.configuration)
    return fitted_to(observations, path)


def fitted_to(observations: Sequence[Observation], path: Path) -> QualityModel:
    """The predictor that a file keeps, fitted anew where it was learned from something else."""
    if path.is_file():
        known = read_json(path, QualityModel, schema=QUALITY_SCHEMA)
        if known.learned_from == digest_of(observations):
            return known
    model = fit_quality(observations)
    write_json(path, model, schema=QUALITY_SCHEMA)
    return model


def measure_folds(
    runs: Sequence[FoldRun], checkpoint: str, *, mirrored: bool = False
) -> list[FoldFeatures]:
    """The features of some judged folds of one configuration, at its temperature."""
    (first, *_) = runs
    folds = tuple(run.fold for run in runs)
    member = Member(first.plan.name, first.configuration, folds)
    temperature = calibration_of(first.project, [member]).temperature
    return [
        measure_fold(run, checkpoint=checkpoint, temperature=temperature, mirrored=mirrored)
        for run in runs
    ]


def measure_fold(
    run: FoldRun, *, checkpoint: str, temperature: float, mirrored: bool = False
) -> FoldFeatures:
    """The features of a judged fold's held-out cases; those of an earlier call where they fit."""
    path, weights = run.folder / FEATURES_FILE, weights_digest(run, checkpoint)
    if path.is_file():
        known = read_json(path, FoldFeatures, schema=FEATURES_SCHEMA)
        if (known.weights, known.temperature, known.mirrored) == (weights, temperature, mirrored):
            return known
    names, start = run.split.validation, run.clock()
    stage = f"learn when to doubt {run.configuration} fold {run.fold}"
    run.reporter(StageStarted(stage, total=len(names), unit="case"))
    cases = run.stored(names)
    missing = {case.identifier for case in without_logits(run, cases, weights)}
    measure = _Measure(run, checkpoint, temperature, mirrored)
    found = {}
    for done, case in enumerate(cases):
        check_stop(run.should_stop)
        found[case.identifier] = measure.case(case, kept=case.identifier not in missing)
        run.reporter(Progress(stage, done + 1, len(cases)))
    features = FoldFeatures(weights, temperature, mirrored, found)
    write_json(path, features, schema=FEATURES_SCHEMA)
    run.reporter(StageFinished(stage, seconds=run.clock() - start))
    return features


def is_measurable(run: FoldRun, *, checkpoint: str) -> bool:
    """Whether the features of a judged fold are there, or can be had without predicting."""
    path, weights = run.folder / FEATURES_FILE, weights_digest(run, checkpoint)
    if path.is_file() and read_json(path, FoldFeatures, schema=FEATURES_SCHEMA).weights == weights:
        return True
    return not without_logits(run, run.stored(run.split.validation), weights)


def observations_of(
    features: Mapping[str, Mapping[str, StructureFeatures]],
    scores: Sequence[CaseScores],
    fold_of: Mapping[str, str],
    scheme: LabelScheme,
) -> list[Observation]:
    """Features and scores of held-out cases, put together.

    Args:
        features: by case and structure.
        scores: of the cases.
        fold_of: the fold that held each case out.
        scheme: the structures.
    """
    found = []
    for case in scores:
        seen = features.get(case.identifier, {})
        for label in scheme.foreground:
            metrics = case.metrics.get(label.key, {})
            if label.name in seen and metrics:
                found.append(
                    Observation(
                        case.identifier,
                        fold_of[case.identifier],
                        label.name,
                        seen[label.name],
                        metrics.get("Dice"),
                        metrics.get("HD95"),
                        bool(metrics.get("n_ref")),
                    )
                )
    return found


@dataclass
class _Measure:
    run: FoldRun
    checkpoint: str
    temperature: float
    mirrored: bool
    _backend: Backend | None = None

    def case(self, case: StoredCase, *, kept: bool) -> Mapping[str, StructureFeatures]:
        """The features of one held-out case; its label map lies where judging has put it."""
        plan, folder = self.run.plan, self.run.folder
        path = (
            folder / "validation" / f"{case.identifier}{self.run.dataset.description.file_ending}"
        )
        labels, grid = read_label_map(path)
        maps: NDArray[Any]
        if kept:
            maps = read_logits(logits_folder(self.run), case.identifier)
        else:
            judged = read_judged(self.run)
            mirror = judged is None or judged.mirror
            maps = np.moveaxis(self.predicted(case, plan, mirror=mirror), 0, -1)
        scheme = plan.description.labels
        meter = QualityMeter(scheme, _shape(maps), temperature=self.temperature)
        meter.take(Slab(0, maps))
        agreement = None
        if self.mirrored:
            plain = restore(self.predicted(case, plan, mirror=False), case.record, scheme)
            agreement = overlap_of_maps(labels, plain, scheme)
        return meter.features(labels, grid.spacing, mirror_dice=agreement)

    def predicted(self, case: StoredCase, plan: Plan, *, mirror: bool) -> FloatArray:
        """Logits (K, Z, Y, X) of the network that has not seen the case."""
        run = self.run
        if self._backend is None:
            self._backend = load_backend(
                run.project, plan, run.configuration, (run.fold,), self.checkpoint, run.device
            )
        return predict_case(
            case.load(),
            self._backend,
            plan,
            run.configuration,
            mirror=mirror,
            should_stop=run.should_stop,
        )


def _shape(maps: NDArray[Any]) -> Shape3:
    return (maps.shape[0], maps.shape[1], maps.shape[2])
