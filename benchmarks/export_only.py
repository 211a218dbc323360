"""The part after the network: from logits at the model's spacing to a written label map.

    python benchmarks/export_only.py CT_FOLDER FOLDER [--peer-python PEER/bin/python]

CT_FOLDER is shared/data/ct_61_structures, upsampled to 1 mm (336 x 303 x 366); the model's
spacing is 1.5 mm (224 x 202 x 244). The logits of 62 heads are made from the CT's labels: each
label has a direction in a space of 16 features, the features are interpolated from 3 mm, and the
logits are their products, rounded to 16 bits as the peer's prediction holds them. Both sides get
the same numbers. Ours also runs from the features and the last layer, which is what our
prediction has at that point.

Every turn is a process of its own. Time is what the process takes to restore and to write,
without imports and without reading the logits; memory is that of the whole process. Row
`export_only`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from inference_ct import CtModel, planned
from inference_export_turn import LABELS_SCHEMA
from inference_sides import (
    LEAST_AGREEMENT,
    MOST_MEMORY,
    MOST_TIME,
    PEER_HALF,
    agreement_of,
    write_peer_plans,
)
from peer_environment import peer_python
from scipy.ndimage import zoom
from side_by_side import (
    OURS,
    PEER,
    Quantity,
    Row,
    Run,
    add_options,
    alternate,
    measure,
    memory_of,
    stage_medians,
    write_row,
)

from selfseg.domain.dataset import CaseFiles
from selfseg.domain.plan import Plan
from selfseg.io.images import read_case, read_label_map
from selfseg.io.json_files import write_json
from selfseg.preprocess.case import preprocess_case

OUR_HALF = Path(__file__).resolve().parent / "inference_export_turn.py"
FEATURES = 16
CERTAINTY = 10.0
"""Logit of a label in its own middle."""

OURS_HEAD = "ours, head after"


@dataclass(frozen=True)
class Inputs:
    """Files of the turns."""

    record: Path
    labels: Path
    logits: Path
    peer_logits: Path
    features: Path
    head: Path


def main() -> int:
    """Prepares what is missing and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("source", type=Path)
    add_options(parser)
    parser.add_argument("--spacing", type=float, default=1.5, help="of the model, in mm")
    parser.add_argument("--native", type=float, default=1.0, help="of the CT, in mm")
    options = parser.parse_args()
    peer = peer_python(options.peer_python)
    model = planned(options.source, options.folder, options.spacing, options.native)
    home = options.folder / f"export_{options.native:g}mm_{options.spacing:g}mm"
    inputs = make_inputs(model, options.source, home)
    peer_folder = write_peer_plans(model.project, model.plan, home)
    measure(PEER, [peer, PEER_HALF, "properties", peer_folder, model.image])
    outputs = {side: home / f"{side.replace(', ', '_').replace(' ', '_')}.nii.gz"
               for side in (OURS, PEER, OURS_HEAD)}  # fmt: skip
    ours = [sys.executable, OUR_HALF]
    about = [inputs.record, inputs.labels]
    commands = {
        OURS: [*ours, inputs.logits, *about, outputs[OURS]],
        PEER: [peer, PEER_HALF, "export", peer_folder, inputs.peer_logits, outputs[PEER]],
        OURS_HEAD: [*ours, inputs.features, *about, outputs[OURS_HEAD], "--head", inputs.head],
    }

    def turn(side: str) -> Callable[[], Run]:
        return lambda: measure(side, commands[side], stages=printed_stages)

    runs = alternate({side: turn(side) for side in commands}, options.repetitions)
    agreement = {}
    if outputs[PEER].is_file():
        theirs = read_label_map(outputs[PEER])[0]
        for side in (OURS, OURS_HEAD):
            agreement[side] = float((read_label_map(outputs[side])[0] == theirs).mean())
            print(f"{side}: agreement {agreement[side]:.6f}, structures {theirs.max()}")
    write_row(row_of(runs, agreement, model.plan, inputs), options.results, peer)
    return 0 if all(share >= LEAST_AGREEMENT for share in agreement.values()) else 1


def make_inputs(model: CtModel, source: Path, home: Path) -> Inputs:
    """Logits and features at the model's spacing, and what restoring them needs."""
    names = ("record.json", "labels.json", "logits.npy", "peer_logits.npy", "features.npy")
    inputs = Inputs(*(home / name for name in names), head=home / "head.npz")
    if inputs.head.is_file():
        return inputs
    home.mkdir(parents=True, exist_ok=True)
    raw = read_case(CaseFiles("ct", (model.image,), None), None, with_labels=False)
    (configuration,) = model.plan.configurations
    record = preprocess_case(raw, model.plan, configuration).record
    del raw
    write_json(inputs.record, record, schema=record.schema)
    write_json(inputs.labels, model.plan.description.labels, schema=LABELS_SCHEMA)
    coarse = read_label_map(source / "labels.nii.gz")[0]
    values = np.unique(coarse)  # numbered in this order: inference_ct.py
    directions = np.random.default_rng(0).standard_normal((len(values), FEATURES))
    directions = np.float32(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    sparse = directions[np.searchsorted(values, coarse)]  # (Z, Y, X, 16) at 3 mm
    shape = record.shape_after_resampling
    factors = [n / m for n, m in zip(shape, coarse.shape, strict=True)]
    features = np.empty((*shape, FEATURES), np.float16)
    for channel in range(FEATURES):
        part = np.ascontiguousarray(sparse[..., channel])
        features[..., channel] = zoom(part, factors, order=1, mode="nearest", grid_mode=True)
    weights = CERTAINTY * directions
    logits = np.empty((*shape, len(values)), np.float16)
    for z, plane in enumerate(features):
        logits[z] = plane.astype(np.float32) @ weights.T
    np.save(inputs.features, features)
    np.save(inputs.logits, logits)
    np.save(inputs.peer_logits, np.ascontiguousarray(np.moveaxis(logits, -1, 0)))
    np.savez(inputs.head, weights=weights, bias=np.zeros(len(values), np.float32))
    return inputs


def printed_stages(lines: Sequence[tuple[float, str]], _: float) -> dict[str, float]:
    """What a turn says of itself."""
    found = [json.loads(text) for _, text in lines if text.startswith('{"stages"')]
    return dict(found[-1]["stages"]) if found else {}


def row_of(
    runs: Mapping[str, Sequence[Run]], agreement: Mapping[str, float], plan: Plan, inputs: Inputs
) -> Row:
    """Both ways of ours against the peer's one."""
    heads = plan.description.labels.head_count
    shape = np.load(inputs.logits, mmap_mode="r").shape[:3]
    quantities = []
    for name, side in (("from logits", OURS), ("head after", OURS_HEAD)):
        compared = {OURS: runs[side], PEER: runs[PEER]}
        seconds = {one: [seconds_in(run) for run in some] for one, some in compared.items()}
        quantities.append(
            Quantity(f"wall clock, {name}", "s", seconds[OURS], seconds[PEER], MOST_TIME)
        )
        memory = memory_of(compared, at_most=MOST_MEMORY)
        quantities.append(
            Quantity(f"peak memory, {name}", "GB", memory.ours, memory.peer, MOST_MEMORY)
        )
    whole = {side: statistics.median(run.seconds for run in some) for side, some in runs.items()}
    notes = [
        "the time leaves out imports and reading the logits; the whole processes took "
        + ", ".join(f"{side} {seconds:.1f} s" for side, seconds in whole.items()),
        "memory is that of the whole process; ours reads the logits slab by slab, as its "
        "prediction makes them, the peer's prediction has all of them at once",
        f'"{OURS_HEAD}": from the {FEATURES} features below the last layer, as our prediction does',
        *stage_medians(runs),
    ]
    what = f"Export only: {heads} heads at {shape}, restored to the CT's grid and written"
    quantities += agreement_of(agreement)
    return Row("export_only", 42, what, quantities, notes)


def seconds_in(run: Run) -> float | None:
    """Restoring and writing; None where the process died."""
    seconds = math.fsum(run.stages.get(name, math.nan) for name in ("restore", "write"))
    return None if math.isnan(seconds) or not run.survived else seconds


if __name__ == "__main__":
    raise SystemExit(main())
