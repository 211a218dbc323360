"""Our fingerprint of a data set beside nnunetv2's: values, seconds and memory.

    python benchmarks/fingerprint_parity.py --peer-python PEER/bin/python DATASET_FOLDER...

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1. The data set folders
are in nnU-Net's raw format. Exits with 1 where a shape, spacing or ratio differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil

PEER = """
import json, sys
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
    DatasetFingerprintExtractor,
)
if __name__ == "__main__":
    DatasetFingerprintExtractor(sys.argv[1], int(sys.argv[2])).run(overwrite_existing=True)
"""


def ours(folder: Path, workers: int, output: Path) -> None:
    from selfseg.domain.events import silent
    from selfseg.fingerprint.batch import take_fingerprint
    from selfseg.io.datasets import open_dataset
    from selfseg.io.images import read_case

    data = open_dataset(folder)
    read = partial(read_case, labels=data.description.labels)
    fingerprint = take_fingerprint(data.cases, read, workers=workers, reporter=silent)
    intensities = fingerprint.foreground_intensities
    names = ("mean", "median", "std", "min", "max", "percentile_00_5", "percentile_99_5")
    report = {
        "spacings": fingerprint.spacings,
        "shapes_after_crop": fingerprint.shapes_after_crop,
        "median_relative_size_after_cropping": fingerprint.median_relative_size_after_cropping,
        "foreground_intensity_properties_per_channel": {
            str(c): {name: getattr(p, name) for name in names} for c, p in enumerate(intensities)
        },
    }
    output.write_text(json.dumps(report))


def watched(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Runs a command; seconds and the peak of its and its children's unique memory (MB)."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        watch, peak = psutil.Process(process.pid), 0.0
        while process.poll() is None:
            total = 0
            try:
                for one in (watch, *watch.children(recursive=True)):
                    try:
                        total += one.memory_full_info().uss
                    except psutil.Error:
                        continue
            except psutil.Error:
                continue
            peak = max(peak, total / 2**20)
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        if process.returncode:
            log.seek(0)
            raise SystemExit(log.read().decode())
    return seconds, peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write-ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    if options.write_ours:
        ours(options.folders[0], options.workers, options.write_ours)
        return 0
    same = True
    for folder in (f.resolve() for f in options.folders):
        with tempfile.TemporaryDirectory() as temporary:
            scratch = Path(temporary)
            places = {"nnUNet_raw": folder.parent, "nnUNet_preprocessed": scratch}
            environment = os.environ | {key: str(path) for key, path in places.items()}
            environment |= {"nnUNet_results": str(scratch), "OMP_NUM_THREADS": "1"}
            (scratch / "peer.py").write_text(PEER)
            arguments = [str(scratch / "peer.py"), folder.name, str(options.workers)]
            peer_cost = watched([options.peer_python, *arguments], environment)
            theirs = json.loads((scratch / folder.name / "dataset_fingerprint.json").read_text())
            mine_file = scratch / "ours.json"
            arguments = ["--workers", str(options.workers), "--write-ours", str(mine_file)]
            our_cost = watched([sys.executable, __file__, *arguments, str(folder)], os.environ)
            mine = json.loads(mine_file.read_text())
        print(
            f"{folder.name}: peer {peer_cost[0]:.1f} s, {peer_cost[1]:.0f} MB; "
            f"ours {our_cost[0]:.1f} s, {our_cost[1]:.0f} MB"
        )
        for key in ("spacings", "shapes_after_crop", "median_relative_size_after_cropping"):
            same &= mine[key] == theirs[key]
            print(f"  {key}: {'identical' if mine[key] == theirs[key] else 'DIFFERENT'}")
        key = "foreground_intensity_properties_per_channel"
        for channel, values in theirs[key].items():
            for name, value in values.items():
                exact = mine[key][channel][name]
                print(
                    f"  channel {channel} {name}: peer {value:.6g}, ours {exact:.6g}, "
                    f"difference {(exact - value) / max(abs(value), 1e-9):+.2e} of it"
                )
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
