"""`selfseg run` on a disk that is too small, which grows a little after every failure.

    sudo python benchmarks/full_disk.py FOLDER

The project lies on a file system in memory (tmpfs) of 16 KB at first. The command of
benchmarks/faults.py is given again and again; each time it ends for lack of space, the disk grows
by a twelfth. Every failure must be an error of ours that says so, with exit status 1 and no
traceback, and leave no unfinished file. In the end the project must be the one that an ample disk
gives: the same files and bytes, compared as benchmarks/project_contents.py says. Only
`checkpoint_latest.pt` may be missing: a training that finds no room for it goes on, and says so.

Mounting needs root, or `unshare -rm python benchmarks/full_disk.py FOLDER`. So that the disk fills
up everywhere, the two checks of the free space are switched off, which otherwise refuse a training
and leave out logits while there is still room. Linux only. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from faults import Run, prepare, undisturbed
from project_contents import contents, differences

from selfseg.stages import logits
from selfseg.train import checkpoint

FIRST_KB, GROWTH, MOST_KB = 16, 1.08, 64 * 1024


def mount(place: Path, kilobytes: int, *, again: bool = False) -> None:
    """Makes a small disk, or changes its size."""
    size = f"{'remount,' if again else ''}size={kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)


def problems(folder: Path, name: str, told: str, status: int) -> list[str]:
    """What is wrong with a failed run."""
    wrong = [f"left: {path.name}" for path in (folder / name).rglob(".part-*")]
    if status != 1:
        wrong.append(f"exit status {status}")
    if "Traceback" in told or "what to do" not in told:
        wrong.append("no error in words")
    if not re.search(r"No space left|too full|space", told):
        wrong.append("space is not named")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new, for data and projects")
    options = parser.parse_args()
    began = time.monotonic()
    options.folder.mkdir(parents=True)
    folder, name = options.folder.resolve(), "run_001"
    prepare(folder, short=True)
    logits.SHARE_OF_DISK = 1e9
    checkpoint.ROOM_FACTOR = 0
    undisturbed(folder, "run_000")
    wanted = contents(folder, "run_000")
    place, log = folder / name, folder / f"{name}.log"
    place.mkdir()
    kilobytes, failures, wrong = FIRST_KB, 0, {}
    mount(place, kilobytes)
    try:
        while kilobytes < MOST_KB:
            log.write_text("")
            run = Run(folder, name)
            while run.listen(60):
                pass
            status = run.end()
            if status == 0:
                break
            failures += 1
            told = log.read_text()
            last = run.moments[-1].name if run.moments else "the beginning"
            found = problems(folder, name, told, status)
            first = told.splitlines()[0] if told else "nothing"
            print(
                f"{kilobytes} KB, after {last}: {first}; {', '.join(found) or 'well'}", flush=True
            )
            if found:
                wrong[f"{kilobytes} KB"] = found
            kilobytes = 4 * int(kilobytes * GROWTH / 4 + 1)
            mount(place, kilobytes, again=True)
        end = differences(wanted, contents(folder, name))
        found = [path for path in end if not path.endswith("checkpoint_latest.pt: missing")]
        if found:
            wrong["end"] = found
    finally:
        subprocess.run(["umount", str(place)], check=True)
    minutes = round((time.monotonic() - began) / 60, 1)
    told = {"failures": failures, "kilobytes": kilobytes, "minutes": minutes, "wrong": wrong}
    print(json.dumps(told))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
