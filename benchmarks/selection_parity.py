"""The selected model and its postprocessing beside nnunetv2's.

    python benchmarks/selection_parity.py --peer-python PEER/bin/python [--count N] [--golden]

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1. Its
`find_best_configuration` and `determine_postprocessing` get the out-of-fold predictions of
Testing/held_out_cases.py as files, and so do our functions in memory, refinements off: random
ones, with spurious components, ties, missing structures, ignore labels, regions. Prints what
differs and exits with 1 if anything does; `--golden` writes the peer's decisions for Testing/.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "Testing"))
sys.path.insert(0, str(PROJECT / "Logic"))

from held_out_cases import CONFIGURATIONS, COUNT, GOLDEN, MadeProblem  # noqa: E402

DATASET = "Dataset777_Made"
TRAINED = "nnUNetTrainer__nnUNetPlans__{}"


# --- in nnunetv2's environment


class _Pool:
    """Does at once what the peer gives to its pool of processes."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def Pool(self, *_: Any, **__: Any) -> _Pool:  # noqa: N802 - multiprocessing's name
        return self

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def starmap(self, function: Any, arguments: Any) -> list[Any]:
        return [function(*entry) for entry in arguments]


def write_problem(problem: MadeProblem, root: Path) -> None:
    """The folders that nnunetv2 works on, as after a validation with --npz."""
    import SimpleITK as sitk

    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "configurations": {name: {"architecture": {}} for name in CONFIGURATIONS},
    }
    dataset: dict[str, Any] = {
        "channel_names": {"0": "MRI"},
        "labels": problem.labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if problem.order is not None:
        dataset["regions_class_order"] = list(problem.order)
    truth = root / "preprocessed" / DATASET / "gt_segmentations"
    truth.mkdir(parents=True)
    (truth.parent / "nnUNetPlans.json").write_text(json.dumps(plans))
    (truth.parent / "dataset.json").write_text(json.dumps(dataset))
    cases = problem.cases()
    for case in cases:
        sitk.WriteImage(sitk.GetImageFromArray(case.reference), str(truth / f"{case.name}.nii.gz"))
    for place, name in enumerate(CONFIGURATIONS):
        trained = root / "results" / DATASET / TRAINED.format(name)
        validation = trained / "fold_0" / "validation"
        validation.mkdir(parents=True)
        (trained / "plans.json").write_text(json.dumps(plans))
        (trained / "dataset.json").write_text(json.dumps(dataset))
        for case in cases:
            probabilities = problem.probabilities(case.logits[place])
            labels = problem.decoded(probabilities)
            image = sitk.GetImageFromArray(labels)
            sitk.WriteImage(image, str(validation / f"{case.name}.nii.gz"))
            np.savez(validation / f"{case.name}.npz", probabilities=probabilities)
            geometry = {
                "sitk_stuff": {
                    "spacing": image.GetSpacing(),
                    "origin": image.GetOrigin(),
                    "direction": image.GetDirection(),
                },
                "spacing": [1.0, 1.0, 1.0],
            }
            with (validation / f"{case.name}.pkl").open("wb") as file:
                pickle.dump(geometry, file)


def decide_as_peer(count: int, output: Path) -> None:
    """Writes nnunetv2's decisions on all problems."""
    import multiprocessing

    multiprocessing.get_context = lambda *_: _Pool()  # type: ignore[assignment,return-value]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            root = Path(folder) / str(number)
            for key in ("raw", "preprocessed", "results"):
                (root / key).mkdir(parents=True)
                os.environ[f"nnUNet_{key}"] = str(root / key)
            problem = MadeProblem(number)
            write_problem(problem, root)
            found.append(_peer_decision(root))
    output.write_text(json.dumps(found))


def _peer_decision(root: Path) -> dict[str, Any]:
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration
    from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing

    models = [
        {"plans": "nnUNetPlans", "configuration": name, "trainer": "nnUNetTrainer"}
        for name in CONFIGURATIONS
    ]
    results = root / "results" / DATASET
    merged = results / TRAINED.format(CONFIGURATIONS[0]) / "crossval_results_folds_0"
    best: list[str] | None
    try:
        decided = find_best_configuration(DATASET, models, num_processes=1, folds=(0,))
        chosen = decided["best_model_or_ensemble"]
        best = [model["configuration"] for model in chosen["selected_model_or_models"]]
        scores = list(decided["all_results"].values())
        source = Path(chosen["postprocessing_file"]).parent
        after = chosen["result_on_crossval_post_pp"]
    except IndexError:
        # A structure without any score makes every mean NaN, and then nothing is the best.
        best, scores, source, after = None, [], merged, None
        determine_postprocessing(
            str(merged),
            str(root / "preprocessed" / DATASET / "gt_segmentations"),
            str(merged / "plans.json"),
            str(merged / "dataset.json"),
            1,
        )
    steps = json.loads((source / "postprocessing.json").read_text())["postprocessing_kwargs"]
    return {
        "best": best,
        "scores": scores,
        "steps": [_values(step["labels_or_regions"]) for step in steps],
        "after": after if after == after else None,
    }


def _values(entry: Any) -> list[int]:
    if isinstance(entry, list):
        return sorted({value for part in entry for value in _values(part)})
    return [int(entry)]


# --- ours


def compare(golden: list[dict[str, Any]]) -> tuple[int, int]:
    """Prints every difference; how many problems differ, and how many scores."""
    from selection_decisions import differences, our_decision

    wrong = 0
    worst = 0.0
    for number, expected in enumerate(golden):
        problem = MadeProblem(number)
        decided = our_decision(problem, only=0 if expected["best"] is None else None)
        found = differences(decided, expected)
        if expected["scores"]:
            worst = max(
                worst,
                *(abs(a - b) for a, b in zip(decided.scores, expected["scores"], strict=True)),
            )
        for line in found:
            print(f"{problem.name}: {line}")
        wrong += bool(found)
    print(f"largest difference of a candidate's mean Dice: {worst:.1e}")
    return wrong, len(golden)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer is not None:
        decide_as_peer(options.count, options.as_peer)
        return 0
    if options.peer_python is None:
        golden = json.loads(GOLDEN.read_text())[: options.count]
    else:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "decisions.json"
            words = (str(options.peer_python), __file__, "--as-peer", str(output))
            began = time.monotonic()
            subprocess.run(
                [*words, "--count", str(options.count)], check=True, stdout=subprocess.DEVNULL
            )
            print(f"nnunetv2 decided in {time.monotonic() - began:.0f} s")
            golden = json.loads(output.read_text())
    if options.golden:
        GOLDEN.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in golden) + "\n]\n")
    began = time.monotonic()
    wrong, count = compare(golden)
    stepped = sum(bool(entry["steps"]) for entry in golden)
    paired = sum(len(entry["best"] or ()) == 2 for entry in golden)
    print(
        f"{count - wrong} of {count} decided alike in {time.monotonic() - began:.0f} s; in "
        f"{stepped} some postprocessing stays, in {paired} a pair wins"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
