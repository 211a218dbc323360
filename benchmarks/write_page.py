"""Makes docs/reference/benchmarks.md of the rows in benchmarks/results/.

    python benchmarks/write_page.py [--check]

`--check` writes nothing and exits with 1 where the page is not what the rows give. Nothing of the
page is written by hand: what a row has to say is in its notes, which the row's script writes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from side_by_side import RESULTS, Quantity, median, ratio_of

PAGE = RESULTS.parents[1] / "docs" / "reference" / "benchmarks.md"
NOTHING = "–"
PEERS = "peer's "
FIRST_OF_MACHINE = ("processor", "cores", "memory_gb", "system")

INTRODUCTION = """\
# Side by side with nnU-Net

Both programs do the same work on the same machine: the same data, and the same weights, plan or
split. Each turn is a command of its own, as a user types it; the order alternates, so that
neither profits from a warm disk or a cool processor. Where labels can be compared, they are.

A cell gives the median of the turns and, in brackets, the least and the most. Memory is the peak
of the whole process tree, looked at ten times a second, pages that processes share counted once.
The ratio is ours / nnU-Net's, of the medians; the target is for this ratio where it says ×, and
for our own value otherwise. The file `benchmarks/write_page.py` makes this page of the numbers
that the programs have written to `benchmarks/results`; nobody types them.

To repeat a row, run its command with your own paths to the data; to repeat all:

```
python benchmarks/run_all.py DATA_FOLDER FOLDER
```

nnU-Net sets itself up where it is missing: nnunetv2 2.8.1 with the CPU build of torch, in an
environment of its own, `.peer` beside the scripts. `--peer-python` takes another one. See
[how to run the checks](../how-to/run-checks.md); what was measured of accuracy and equality is
among the [measured results](results.md).
"""

HEADER = """\
| what | quantity | selfseg | nnU-Net | ratio | target | met | turns |
|---|---|---|---|---|---|---|---|
"""


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows in their order; other JSON in the folder is left alone."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    rows = [row for row in found if isinstance(row, dict) and {"quantities", "order"} <= row.keys()]
    return sorted(rows, key=lambda row: (row["order"], row["name"]))


def quantities_of(row: Mapping[str, Any]) -> list[Quantity]:
    """What a row holds."""
    return [Quantity(**content) for content in row["quantities"]]


def page_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    if not rows:
        return INTRODUCTION + "\nNothing has been measured yet.\n"
    parts.append(_summary(rows))
    machines: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        machine = tuple(row["machine"].get(name) for name in FIRST_OF_MACHINE)
        machines.setdefault(machine, []).append(row)
    for (processor, cores, memory, system), some in machines.items():
        parts.append(f"## {cores} cores, {memory} GB\n")
        parts.append(f"{processor}; {cores} cores, {memory} GB memory; {system}.\n")
        parts.append(HEADER + "".join(_lines(some)))
    parts.append("## The rows\n")
    parts += [_section(row) for row in rows]
    return "\n".join(parts).rstrip("\n") + "\n"


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    judged = [(row, q, met(q)) for row in rows for q in quantities_of(row)]
    judged = [entry for entry in judged if entry[2] is not None]
    missed = [(row, quantity) for row, quantity, good in judged if not good]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets are met."
    if not missed:
        return text + "\n"
    names = [f"- {_first(row['what'])}: {q.name}" for row, q in missed]
    return (
        f"{text} Missed, and why is said in [the row's notes](#the-rows):\n\n"
        + "\n".join(names)
        + "\n"
    )


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        quantities = quantities_of(row)
        times = {q.name: q for q in quantities if "wall clock" in q.name}
        for index, quantity in enumerate(quantities):
            ratio = ratio_of(quantity)
            time = times.get(quantity.name.replace("peak memory", "wall clock"), quantity)
            cells = (
                _link(row) if index == 0 else "",
                quantity.name,
                cell(quantity.ours, quantity, died=time is not quantity and None in time.ours),
                cell(quantity.peer, quantity, died=time is not quantity and None in time.peer),
                NOTHING if ratio is None else number(ratio),
                target(quantity),
                {True: "yes", False: "**no**", None: NOTHING}[met(quantity)],
                str(max(len(quantity.ours), len(quantity.peer))),
            )
            lines.append("| " + " | ".join(cells) + " |\n")
    return lines


def _section(row: Mapping[str, Any]) -> str:
    versions = row["versions"]
    peer = [f"{name[len(PEERS) :]} {text}" for name, text in versions.items() if PEERS in name]
    ours = [f"{name} {text}" for name, text in versions.items() if PEERS not in name]
    lines = [f"### {_first(row['what'])}", "", f"```\n{shown_command(row['command'])}\n```", ""]
    lines += [f"- {note}" for note in row["notes"]]
    lines.append(f"- {row['date']}; {', '.join(ours)}")
    if peer:
        lines[-1] += f"; beside {', '.join(peer)}"
    return "\n".join(lines) + "\n"


def _link(row: Mapping[str, Any]) -> str:
    """To the row's section, with the anchor that GitHub and MyST give its heading."""
    what = _first(row["what"])
    kept = "".join(c for c in what.lower() if c.isalnum() or c in " -_")
    return f"[{what}](#{kept.replace(' ', '-')})"


def shown_command(command: str) -> str:
    """Without the options that say where the peer is and where the row goes."""
    words = shlex.split(command)
    for option in ("--peer-python", "--results"):
        while option in words:
            place = words.index(option)
            del words[place : place + 2]
    return shlex.join(words)


def cell(values: Sequence[float | None], quantity: Quantity, *, died: bool = False) -> str:
    """Median and range with the unit (MB below a tenth of a GB), or why there is none.

    `died`: this is the memory of turns of which one or more ended for want of it.
    """
    if not values:
        return NOTHING
    reached = [value for value in values if value is not None]
    lost = len(values) - len(reached)
    reason = "died of memory" if "wall clock" in quantity.name else "not reached"
    middle = median(values)
    if middle is None:
        return reason if lost == len(values) else f"{reason} in {lost} of {len(values)} turns"
    scale, unit = (1000, "MB") if quantity.unit == "GB" and middle < 0.1 else (1, quantity.unit)
    text = f"{number(scale * middle)} {unit}".rstrip()
    if len(values) > 1:
        text += f" ({number(scale * min(reached))} to {number(scale * max(reached))}"
        text += f"; {reason} in {lost})" if lost else ")"
    return text + (", then died" if died else "")


def target(quantity: Quantity) -> str:
    """What was aimed at."""
    wanted = []
    if quantity.at_most is not None:
        wanted.append(f"≤ {quantity.at_most:g} ×")
    if quantity.at_least is not None:
        wanted.append(f"≥ {quantity.at_least:g} ×")
    if quantity.limit is not None:
        wanted.append(f"≤ {quantity.limit:g} {quantity.unit}".rstrip())
    if quantity.least is not None:
        wanted.append(f"≥ {quantity.least:g} {quantity.unit}".rstrip())
    return ", ".join(wanted) or NOTHING


def met(quantity: Quantity) -> bool | None:
    """Whether every target is met; None where there is none.

    A peer that was tried and did not get there is beaten by us who did. What is for ours alone
    holds in every turn, not only in the median.
    """
    ours, ratio = median(quantity.ours), ratio_of(quantity)
    found = []
    if quantity.at_most is not None or quantity.at_least is not None:
        if ratio is None:
            found.append(ours is not None and bool(quantity.peer))
        else:
            most = float("inf") if quantity.at_most is None else quantity.at_most
            least = 0.0 if quantity.at_least is None else quantity.at_least
            found.append(least <= ratio <= most)
    for bound, sign in ((quantity.limit, 1), (quantity.least, -1)):
        if bound is not None:
            whole = bool(quantity.ours)
            found.append(
                whole and all(v is not None and sign * v <= sign * bound for v in quantity.ours)
            )
    return all(found) if found else None


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100; five decimals between 0.99 and 1."""
    if 0.99 <= value < 1:
        return f"{value:.5f}"
    decimals = 3 if abs(value) < 1 else max(0, 3 - len(str(int(abs(value)))))
    return f"{value:.{decimals}f}"


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    text = page_of(read_rows(options.results))
    if options.check:
        there = options.page.read_text(encoding="utf-8") if options.page.is_file() else ""
        if there == text:
            return 0
        print(f"{options.page.name} is not what the rows give: python benchmarks/write_page.py")
        return 1
    options.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
