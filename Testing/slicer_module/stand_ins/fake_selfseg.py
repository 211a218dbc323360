"""A child process that behaves like `selfseg predict` at its edges, for tests of jobs.

Its first argument says what to do: label (thresholds the first input image), fail, crash,
wait (until standard input is closed), deaf (starts a child of its own, then ignores everything),
forget (succeeds without writing), parent-only (leaves a child that keeps the pipes open).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def emit(**event: object) -> None:
    print(json.dumps(event), flush=True)


def label(arguments: list[str]) -> int:
    import SimpleITK as sitk

    image = sitk.ReadImage(arguments[arguments.index("-i") + 1])
    output = Path(arguments[arguments.index("-o") + 1])
    output.mkdir()
    for done in range(1, 5):
        emit(event="progress", stage="predict", done=done, total=4, eta_seconds=4.0 - done)
    labels = sitk.Cast(image > 1000, sitk.sitkUInt8)
    sitk.WriteImage(labels, str(output / "case.nii.gz"))
    emit(event="notice", text="thresholded", level="info")
    return 0


def main(behaviour: str, arguments: list[str]) -> int:
    emit(event="stage_started", stage="predict", total=1, unit="case")
    if behaviour == "label":
        return label(arguments)
    if behaviour == "fail":
        print("something harmless", file=sys.stderr)
        print("the model is broken\n  what to do: train it again", file=sys.stderr)
        return 1
    if behaviour == "crash":
        os._exit(77)
    if behaviour == "wait":
        print("{not json", flush=True)
        sys.stdin.read()
        return 130
    if behaviour == "deaf":
        emit(event="notice", text=f"child {subprocess.Popen(SLEEPER).pid}", level="info")
        time.sleep(60)
    if behaviour == "parent-only":
        emit(event="notice", text=f"child {subprocess.Popen(SLEEPER).pid}", level="info")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
