"""What the selected model's segmentations are probably worth, learned from its held-out cases.

    one configuration: features of its judged folds -+
    several: features of their mean probabilities   -+-> beside the scores of the selected model,
                                                         postprocessing included -> quality.json

Fusion with atlases changes the scores, not the features: those are of what the networks say.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..domain.events import Notice, Reporter
from ..domain.quality import QualityModel, StructureFeatures
from ..domain.selection import Selection
from ..evaluate.results import read_case_scores
from ..io.bundle_layout import QUALITY_FILE
from ..io.json_files import read_json
from ..quality.ranking import track_record
from .calibrate import CALIBRATION_FILE, SAMPLES_FILE, fit_mean
from .candidate_scores import (
    FEATURES_FILE,
    FEATURES_SCHEMA,
    MeanFeatures,
    average_members,
)
from .held_out import Contest
from .quality import fitted_to, measure_folds, observations_of
from .selected import SELECTION_FOLDER


def learn_selected(
    contest: Contest, selection: Selection, *, workers: int | None, reporter: Reporter
) -> QualityModel:
    """Learns the predictor of the selected model, and stores it with the selection.

    The mean of several configurations gets a temperature of its own as well.

    Args:
        contest: the held-out cases.
        selection: what was chosen; its label maps are scored in `selection/validation.json`.
        workers: processes; by cores and memory otherwise.
        reporter: is told how well held-out cases are ranked.
    """
    folder = contest.project.folder / SELECTION_FOLDER
    labels = contest.dataset.description.labels
    if len(selection.members) > 1 or selection.atlas is not None:
        features = _features_of_mean(contest, selection, workers, reporter)
    else:
        place = contest.members.index(selection.members[0])
        runs = [contest.runs[place, fold] for fold in selection.members[0].folds]
        found = measure_folds(runs, contest.checkpoint)
        features = {name: seen for fold in found for name, seen in fold.cases.items()}
        (folder / FEATURES_FILE).unlink(missing_ok=True)
    if len(selection.members) > 1:
        fit_mean(folder, selection.members, labels)
    else:
        for name in (SAMPLES_FILE, CALIBRATION_FILE):
            (folder / name).unlink(missing_ok=True)
    scores = read_case_scores(folder / "validation.json")
    model = fitted_to(
        observations_of(features, scores, contest.held_out, labels), folder / QUALITY_FILE
    )
    record = track_record(model)
    text = (
        f"predicted quality: {record.note}"
        if record.note
        else (
            f"predicted Dice ranks held-out cases with a correlation of {record.dice.spearman:.2f}"
        )
    )
    reporter(Notice(text))
    return model


def _features_of_mean(
    contest: Contest, selection: Selection, workers: int | None, reporter: Reporter
) -> Mapping[str, Mapping[str, StructureFeatures]]:
    path = contest.project.folder / SELECTION_FOLDER / FEATURES_FILE
    # `select` has just written those of a pair; those of one member and atlases are made here.
    if len(selection.members) == 1:
        average_members(contest, selection.members, workers, reporter)
    return read_json(path, MeanFeatures, schema=FEATURES_SCHEMA).cases
