"""Fingerprint and plan of a data set: time and memory, beside nnunetv2.

    python benchmarks/planning.py DATASET FOLDER

DATASET is Dataset004_Hippocampus (200 cases). Ours is `selfseg plan` into a new project, the
peer's `nnUNetv2_plan_and_preprocess --no_pp` into an empty folder. Each side uses the number of
processes that is its default: ours one per core, the peer's 8. In further turns, which have no
target, the peer is told to use as many as we do. Exits with 1 where the plans differ in patch,
spacing, batch or configurations.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from peer_environment import peer_python
from preparation_sides import (
    LIKE_OURS,
    add_side_options,
    cores,
    different_decisions,
    emptied,
    our_command,
    our_plan,
    peer_command,
    peer_folders,
    peer_number,
    peer_plan,
)
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
    seconds_of,
    write_row,
)

NAME, ORDER = "fingerprint_and_plan", 10
TARGET = 0.5


def main() -> int:
    """Measures and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    add_side_options(parser)
    options = parser.parse_args()
    python = peer_python(options.peer_python)
    project, preprocessed = options.folder / "ours", options.folder / "peer"

    def ours() -> Run:
        emptied(options.folder / "ours")
        return measure(OURS, our_command("plan", options.dataset, "-p", project))

    def peer(side: str, *words: object) -> Run:
        emptied(preprocessed)
        given = ("-d", peer_number(options.dataset), "--no_pp", *words)
        command = peer_command(python, "nnUNetv2_plan_and_preprocess", *given)
        return measure(side, command, environment=peer_folders(options.dataset, preprocessed))

    sides: dict[str, Callable[[], Run]] = {OURS: ours, PEER: partial(peer, PEER)}
    if not options.defaults_only:
        sides[LIKE_OURS] = partial(peer, LIKE_OURS, "-npfp", cores())
    runs = alternate(sides, options.repetitions)
    different = different_decisions(our_plan(project), peer_plan(preprocessed, options.dataset))
    for line in different:
        print(f"DIFFERENT: {line}")
    row = Row(
        NAME,
        ORDER,
        f"fingerprint and plan of {cases_in(options.dataset)} cases of {options.dataset.name}",
        [
            seconds_of(runs, at_most=TARGET),
            memory_of(runs, at_most=TARGET),
            *as_many_processes(runs),
        ],
        (
            f"as many processes as each side takes by itself: ours one per core ({cores()}), "
            "the peer's 8",
            "patch, spacing, batch and configurations are "
            + ("NOT the same" if different else "the same"),
        ),
    )
    write_row(row, options.results, python)
    return 1 if different else 0


def as_many_processes(runs: dict[str, list[Run]]) -> list[Quantity]:
    """Time and memory beside the peer told to use as many processes as we do; no target."""
    if LIKE_OURS not in runs:
        return []
    pair = {OURS: runs[OURS], PEER: runs[LIKE_OURS]}
    return [
        replace(quantity, name=f"{quantity.name}, {cores()} processes each")
        for quantity in (seconds_of(pair), memory_of(pair))
    ]


def cases_in(dataset: Path) -> int:
    """Number of training cases."""
    return sum(1 for path in (dataset / "labelsTr").iterdir() if not path.name.startswith("."))


if __name__ == "__main__":
    raise SystemExit(main())
