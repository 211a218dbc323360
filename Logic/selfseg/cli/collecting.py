"""The verb `collect`: segmented scans as they lie about, made one data set."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import StopRequest
from ..domain.errors import UsageError
from ..domain.events import Reporter
from ..domain.wording import counted

if TYPE_CHECKING:
    from ..collect.collection import CollectedCase, Collection, Problem

SHOWN_CASES = 5
"""Named with a problem; the state of every case is in its own line."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Lets the verb understand its options."""
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help="folder of images with label maps or .seg.nrrd, .mrb or .mrml scene, .csv table, "
        ".json collection file, DICOM folder",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DATASET", help="folder to write")
    parser.add_argument("--name", default="", help="of the data set (default: the folder's)")
    parser.add_argument(
        "--channel", action="append", default=[], metavar="NAME", help="one per channel, in order"
    )
    parser.add_argument(
        "--missing",
        choices=("problem", "empty", "ignore", "exclude"),
        default="problem",
        help="what it means that a structure has no segment in a case",
    )
    parser.add_argument(
        "--structure", action="append", default=[], metavar="NAME", help="take only these"
    )
    parser.add_argument(
        "--rename", action="append", default=[], metavar="FROM=TO", help="of segments"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="VALUE=NAME",
        help="what a value of plain label maps (NIfTI, NRRD, MHA) means: 1=liver",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="CASE")
    parser.add_argument(
        "--skip-problems", action="store_true", help="leave out cases with problems"
    )
    parser.add_argument("--dry-run", action="store_true", help="look only, write nothing")


def collect(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Looks through the sources, writes the data set, and prints what was found."""
    from .. import pipeline
    from ..collect.collection import CollectOptions

    if options.output is None and not options.dry_run:
        raise UsageError(
            "nothing says where the data set is to be written",
            expected="-o DATASET, or --dry-run to look only",
            found="neither",
            cure="add one of them",
        )
    output = None if options.dry_run else options.output
    collection = pipeline.collect(
        options.sources,
        output,
        options=CollectOptions(
            name=options.name or (options.output.name if options.output is not None else ""),
            channels=tuple(options.channel),
            missing=options.missing,
            structures=tuple(options.structure),
            renames=dict(_pair(text, "--rename FROM=TO") for text in options.rename),
            label_names=_label_names(options.label),
            excluded=tuple(options.exclude),
        ),
        skip_problems=options.skip_problems,
        reporter=reporter,
        should_stop=stop,
    )
    if options.progress != "json":
        _print(collection, output)
    faulty = any(case.state == "problem" for case in collection.cases)
    return 1 if faulty and not options.skip_problems else 0


def _print(collection: Collection, output: Path | None) -> None:
    for case in collection.cases:
        print(f"{case.identifier}: {case.state}; {_contents(case)}")
        for note in case.notes:
            print(f"    {note}")
    _print_problems(collection.cases)
    for note in collection.notes:
        print(note)
    for structure in collection.structures:
        print(f"{structure.name}: in {counted(structure.cases, 'case')}")
    print(f"{len(collection.ready)} of {len(collection.cases)} cases are ready")
    if output is not None:
        print(output)


def _print_problems(cases: Sequence[CollectedCase]) -> None:
    """Each problem once, with the cases that have it."""
    found: dict[Problem, list[str]] = defaultdict(list)
    for case in cases:
        for problem in dict.fromkeys(case.problems):
            found[problem].append(case.identifier)
    for problem, names in found.items():
        more = f" and {len(names) - SHOWN_CASES} more" if len(names) > SHOWN_CASES else ""
        print(
            f"problem of {counted(len(names), 'case')}: {problem.what} [{problem.kind}]\n"
            f"    what to do: {problem.cure}\n"
            f"    in {', '.join(names[:SHOWN_CASES])}{more}"
        )


def _contents(case: CollectedCase) -> str:
    if case.grid is None:
        return "no image"
    size = " x ".join(str(n) for n in reversed(case.grid.shape))
    names = [segment.name for segment in case.segments if segment.structure is not None]
    channels = counted(len(case.images), "channel")
    return f"{size} voxels, {channels}; {', '.join(names) or 'no structure'}"


def _label_names(texts: list[str]) -> dict[int, str]:
    names = {}
    for text in texts:
        value, name = _pair(text, "--label VALUE=NAME")
        if not value.isdecimal() or int(value) == 0:
            raise _wrong("--label VALUE=NAME with a whole number above 0", text)
        names[int(value)] = name
    return names


def _pair(text: str, form: str) -> tuple[str, str]:
    first, mark, second = text.partition("=")
    if not mark or not first.strip() or not second.strip():
        raise _wrong(form, text)
    return first.strip(), second.strip()


def _wrong(expected: str, found: str) -> UsageError:
    return UsageError("an option has no meaning", expected=expected, found=found, cure="correct it")
