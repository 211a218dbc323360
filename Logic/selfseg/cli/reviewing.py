"""The verb `review-log`: what reviewers have decided about a folder of segmentations."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ..console import StopRequest
from ..domain.events import Reporter


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `review-log` understands."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of segmentations")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the whole log as a table")
    parser.add_argument("--json", action="store_true", help="print the last decisions as JSON")


def review_log(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Prints how the review stands, and writes the log as a table."""
    from ..review.cases import read_review_folder
    from ..review.decisions import tally
    from ..review.log import ReviewLog
    from ..review.tables import write_log_table

    cases = read_review_folder(options.folder).cases
    log = ReviewLog.of(options.folder)
    log.check()
    decisions = log.decisions()
    latest = {decision.case: decision for decision in decisions}
    if options.csv is not None:
        write_log_table(options.csv, decisions)
    if options.json:
        print(json.dumps({case: asdict(found) for case, found in sorted(latest.items())}, indent=2))
        return 0
    counts = tally((case.identifier for case in cases), latest)
    print(
        f"{counts.decided} of {counts.cases} cases reviewed: {counts.approved} approved, "
        f"{counts.edited} edited, {counts.rejected} rejected"
    )
    if counts.corrected_share is not None:
        print(f"corrected: {counts.corrected_share:.0%} of those reviewed")
    for case in cases:
        found = latest.get(case.identifier)
        if found is not None:
            comment = f": {found.comment}" if found.comment else ""
            print(f"  {found.case}  {found.verdict} by {found.reviewer}, {found.time}{comment}")
    return 0
