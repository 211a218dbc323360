"""What a project and the model made of it hold, so that two runs of a command can be compared.

All files of the project and of the library of models count, their names and their bytes, but for
what says when and how fast something was done:

- `*.json` and `log.jsonl`: without the fields in `OF_TIME`, the notices in `OF_FAULTS`, and the
  project's own path;
- `manifest.json` of the model: without the hash of `bundle.json`, which says when it was made;
- `checkpoint_latest.pt`: its tensors and numbers, without the same fields;
- `report.html`, `progress.png`: they show times, and must be whole;
- `.lock`: an empty file that is there or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

OF_TIME = frozenset(
    ("seconds", "eta_seconds", "samples_per_second", "memory_bytes", "created", "log_position")
)
"""Fields that say when or how fast something was done."""

OF_FAULTS = ("going on after", "the training goes on")
"""Notices in the log of a training that was stopped, or found the disk full."""

SHOWN_ONLY = {".html": b"</html>", ".png": b"IEND"}
"""Files for people, with times in them, and what stands near the end of a whole one."""


def contents(folder: Path, name: str) -> dict[str, str]:
    """Every file of a project and its library, with a digest of what must not differ."""
    found = {}
    for root in (folder / name, folder / f"{name}_models"):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name != ".lock":
                key = f"{root.name.replace(name, 'project')}/{path.relative_to(root)}"
                found[key] = hashlib.sha256(b"".join(comparable(path, folder / name))).hexdigest()
            elif path.is_dir():
                found[f"{root.name.replace(name, 'project')}/{path.relative_to(root)}/"] = ""
    return found


def comparable(path: Path, project: Path) -> Iterator[bytes]:
    """What of a file must not differ."""
    data = path.read_bytes()
    if path.suffix in SHOWN_ONLY:
        whole = SHOWN_ONLY[path.suffix] in data[-64:]
        yield b"whole" if whole else data
    elif path.suffix == ".pt":
        yield from _parts(torch.load(path, weights_only=True))
    elif path.suffix in (".json", ".jsonl"):
        text = data.replace(str(project).encode(), b"PROJECT")
        text = text.replace(project.name.encode(), b"PROJECT")
        for line in text.splitlines() if path.suffix == ".jsonl" else [text]:
            value = json.loads(line)
            if path.name == "manifest.json":
                value["files"] = [file for file in value["files"] if file["path"] != "bundle.json"]
            if not any(text in str(value) for text in OF_FAULTS):
                yield from _parts(value)
    else:
        yield data


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            if key not in OF_TIME:
                yield str(key).encode()
                yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, torch.Tensor):
        yield value.contiguous().numpy().tobytes()
    else:
        yield repr(value).encode()


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """What a project has too much, too little, or otherwise."""
    wrong = []
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            kind = "left over" if path not in wanted else "differs"
            wrong.append(f"{path}: {kind if path in found else 'missing'}")
    return wrong
