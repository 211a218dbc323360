"""Runs all side-by-side benchmarks, one after the other, and writes the page of them.

    python benchmarks/run_all.py DATA_FOLDER FOLDER [--rows NAME ...] [--peer-python P]

DATA_FOLDER holds Dataset004_Hippocampus, Dataset201_SunnybrookLV and ct_61_structures, MRICRON
(`--mricron`) the brain of Debian's mricron-data; FOLDER keeps models and what was prepared. A row
that fails does not stop the others. All of it takes hours on two cores, most of them nnU-Net's;
`--list` shows the rows and their commands.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from peer_environment import peer_python
from side_by_side import RESULTS

HERE = Path(__file__).resolve().parent
HIPPOCAMPUS = "DATA/Dataset004_Hippocampus"
SUNNYBROOK = "DATA/Dataset201_SunnybrookLV"
CT = "DATA/ct_61_structures"
MRICRON = Path("/usr/share/mricron/templates")

ROWS = {
    "planning": f"planning.py {HIPPOCAMPUS} FOLDER",
    "preprocessing_hippocampus": f"preprocessing.py hippocampus {HIPPOCAMPUS} FOLDER",
    "preprocessing_brain": "preprocessing.py brain MRICRON FOLDER",
    "preprocessing_sunnybrook": f"preprocessing.py sunnybrook {SUNNYBROOK} FOLDER",
    "training": f"training_speed.py {HIPPOCAMPUS} FOLDER",
    "training_loader": f"training_speed.py {HIPPOCAMPUS} FOLDER --loader",
    "time_to_dice": f"time_to_dice.py {HIPPOCAMPUS} FOLDER",
    "time_to_dice_small": f"time_to_dice.py {HIPPOCAMPUS} FOLDER --plan small",
    "small_cases": f"inference_small_cases.py {HIPPOCAMPUS} FOLDER",
    "many_classes": f"inference_many_classes.py {CT} FOLDER --no-tta",
    "export": f"export_only.py {CT} FOLDER",
    "large_ct": f"large_ct.py {CT} FOLDER",
    "model_import": f"model_import.py {HIPPOCAMPUS} FOLDER",
    "start_up": "start_up.py FOLDER",
}
"""What follows `python benchmarks/`; every row has a folder of its own in FOLDER."""


def command_of(name: str, data: Path, folder: Path, mricron: Path = MRICRON) -> list[str]:
    """The words of a row's command."""
    words = ROWS[name].split()
    own = {"FOLDER": str(folder / name), "MRICRON": str(mricron)}
    places = [
        own.get(word, str(data / word[5:]) if word.startswith("DATA/") else word)
        for word in words[1:]
    ]
    return [sys.executable, str(HERE / words[0]), *places]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="show the rows, run nothing")
    parser.add_argument("--peer-python", type=Path, help="one that has nnunetv2 2.8.1")
    parser.add_argument("--mricron", type=Path, default=MRICRON, help="folder of the brain")
    parser.add_argument("--repetitions", type=int, help="default: each row's own")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name}: python benchmarks/{ROWS[name]}" for name in options.rows))
        return 0
    peer = peer_python(options.peer_python)
    common = ["--peer-python", str(peer), "--results", str(options.results)]
    if options.repetitions is not None:
        common += ["--repetitions", str(options.repetitions)]
    failed = []
    for name in options.rows:
        command = command_of(
            name, options.data.resolve(), options.folder.resolve(), options.mricron
        )
        print(f"{name}: {shlex.join(command[1:])}", flush=True)
        Path(options.folder, name).mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        code = subprocess.run([*command, *common]).returncode
        state = "done" if code == 0 else f"FAILED with {code}"
        print(f"{name}: {state} after {(time.monotonic() - began) / 60:.1f} min", flush=True)
        if code:
            failed.append(name)
    page = [sys.executable, str(HERE / "write_page.py")]
    if options.results.resolve() == RESULTS:
        subprocess.run(page, check=True)
    if failed:
        print(f"failed, or its outputs are not equal: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
