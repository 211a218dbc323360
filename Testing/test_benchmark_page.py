"""The page of the side-by-side benchmarks: made of the rows, and what it says of made-up ones."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    """A script of benchmarks/, which is no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        specification = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = sys.modules.setdefault(name, importlib.util.module_from_spec(specification))
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


side_by_side = load("side_by_side")
page = load("write_page")
Quantity = side_by_side.Quantity


def row(name: str = "made", order: int = 10, **changes: Any) -> dict[str, Any]:
    machine = {"processor": "A", "cores": 2, "memory_gb": 24, "system": "Linux x86_64"}
    quantities = [Quantity("wall clock", "s", [1.0, 3.0, 2.0], [8.0, 9.0, 10.0], at_most=0.25)]
    made = {
        "name": name,
        "order": order,
        "what": f"{name} of 20 cases",
        "quantities": quantities,
        "notes": ["the labels are equal"],
        "command": "python benchmarks/start_up.py F --peer-python PEER_PYTHON --results r",
        "date": "2026-11-21",
        "machine": machine,
        "versions": {"python": "3.11.7", "selfseg": "0.1.0", "peer's nnunetv2": "2.8.1"},
    } | changes
    return made | {"quantities": [asdict(quantity) for quantity in made["quantities"]]}


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][1:]


def test_the_page_is_what_the_rows_give() -> None:
    command = [sys.executable, str(BENCHMARKS / "write_page.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_page_that_differs_is_told(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "write_page.py"), "--page", str(tmp_path / "p.md")]
    command += ["--results", str(tmp_path)]
    assert subprocess.run([*command, "--check"], stdout=subprocess.DEVNULL).returncode == 1
    assert subprocess.run(command).returncode == 0
    assert subprocess.run([*command, "--check"]).returncode == 0
    assert "Nothing has been measured yet." in (tmp_path / "p.md").read_text(encoding="utf-8")


def test_a_row_tells_medians_ranges_ratio_and_target() -> None:
    text = page.page_of([row()])
    (cells,) = table(text)
    assert cells[:3] == [
        "[Made of 20 cases](#made-of-20-cases)",
        "wall clock",
        "2.00 s (1.00 to 3.00)",
    ]
    assert cells[3:] == ["9.00 s (8.00 to 10.0)", "0.222", "≤ 0.25 ×", "yes", "3"]
    assert "1 of 1 targets are met.\n" in text
    assert "### Made of 20 cases\n\n```\npython benchmarks/start_up.py F\n```\n" in text
    assert "- the labels are equal\n" in text
    assert "2026-11-21; python 3.11.7, selfseg 0.1.0; beside nnunetv2 2.8.1" in text


def test_what_was_missed_is_told_plainly() -> None:
    slow = Quantity("wall clock", "s", [5.0], [9.0], at_most=0.25)
    text = page.page_of([row(quantities=[slow])])
    assert table(text)[0][-2] == "**no**"
    assert "0 of 1 targets are met. Missed" in text
    assert "- Made of 20 cases: wall clock\n" in text


def test_rows_are_ordered_and_grouped_by_machine() -> None:
    other = {"processor": "B", "cores": 16, "memory_gb": 128, "system": "Linux x86_64"}
    rows = [row("first"), row("second", 20, machine=other), row("third", 30)]
    text = page.page_of(rows)
    places = [text.index(f"| [{name} of") for name in ("First", "Third", "Second")]
    assert places == sorted(places)
    assert text.count("\n## ") == 3


@pytest.mark.parametrize(
    ("ours", "peer", "targets", "expected"),
    [
        ([1.0], [4.0], {"at_most": 0.25}, True),
        ([1.1], [4.0], {"at_most": 0.25}, False),
        ([3.0], [2.0], {"at_least": 1.5}, True),
        ([2.0], [2.0], {"at_least": 1.5}, False),
        ([1.0], [None], {"at_most": 0.25}, True),
        ([None], [None], {"at_most": 0.25}, False),
        ([None, None, 1.0], [2.0], {"at_most": 1.0}, False),
        ([1.0], [], {}, None),
        ([11.0, 12.0], [], {"limit": 12.0}, True),
        ([11.0, 11.0, 12.5], [], {"limit": 12.0}, False),
        ([0.9995], [], {"least": 0.999}, True),
        ([0.99], [], {"least": 0.999}, False),
        ([1.0], [9.0], {"at_most": 0.5, "limit": 0.5}, False),
    ],
)
def test_targets(ours: Any, peer: Any, targets: Any, expected: bool | None) -> None:
    assert page.met(Quantity("wall clock", "s", ours, peer, **targets)) is expected


@pytest.mark.parametrize(
    ("quantity", "died", "expected"),
    [
        (Quantity("wall clock", "s", [None, None]), False, "died of memory"),
        (Quantity("wall clock", "s", [None, None, 2.0]), False, "died of memory in 2 of 3 turns"),
        (Quantity("wall clock", "s", [1.0, 2.0, None]), False,
         "2.00 s (1.00 to 2.00; died of memory in 1)"),
        (Quantity("to Dice 0.85", "s", [None]), False, "not reached"),
        (Quantity("peak memory", "GB", [14.06]), True, "14.1 GB, then died"),
        (Quantity("peak memory", "GB", [0.0281]), False, "28.1 MB"),
        (Quantity("label agreement", "", [0.99992]), False, "0.99992"),
        (Quantity("wall clock", "s", [350.7]), False, "351 s"),
        (Quantity("wall clock", "s", []), False, "–"),
    ],
)  # fmt: skip
def test_cells(quantity: Any, died: bool, expected: str) -> None:
    assert page.cell(quantity.ours, quantity, died=died) == expected


def test_every_row_of_run_all_is_a_script_that_takes_its_words() -> None:
    run_all = load("run_all")
    for name in run_all.ROWS:
        words = run_all.command_of(name, Path("data"), Path("folder"))
        assert Path(words[1]).is_file(), name
        assert str(Path("folder", name)) in words
        assert not any(word.startswith("DATA/") or word == "FOLDER" for word in words)
