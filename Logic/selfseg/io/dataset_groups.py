"""Which cases belong together: those of one patient, which must not be torn apart by a fold.

Said in dataset.json, `"groups": {"case_01": "patient_a", ...}` or
`"groups": {"patient_a": ["case_01", ...]}`, or in a table `groups.csv` beside it with the columns
case and group.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..domain.dataset import Fault
from .dataset_json import FILE_NAME

GROUPS_NAME = "groups.csv"
KEY = "groups"

LARGEST_TABLE = 64 * 2**20
"""Bytes: a line of a case has some tens."""

_EXAMPLE = '"groups": {"case_01": "patient_a", "case_02": "patient_a"}'


def read_groups(
    folder: Path, mapping: Mapping[str, Any], identifiers: Sequence[str], faults: list[Fault]
) -> dict[str, str] | None:
    """The group of every case; a case that is not named is a group of its own.

    Args:
        folder: of the data set.
        mapping: the content of its dataset.json, which has the last word.
        identifiers: the cases there are.
        faults: what is wrong is added here.

    Returns:
        Group by case; None where nothing is said, or what is said cannot be used.
    """
    path = folder / FILE_NAME
    if KEY in mapping:
        named = _from_mapping(mapping[KEY])
        expected, cure = f"for example {_EXAMPLE}", f'correct "{KEY}", or remove it'
    else:
        path = folder / GROUPS_NAME
        if not path.is_file():
            return None
        named = _from_table(path)
        expected = "text in UTF-8, the first line `case,group`, each case once"
        cure = "correct the table, or remove it"
    if named is None:
        faults.append(
            Fault(
                "invalid-groups",
                path,
                "it is not clear which cases belong together",
                expected,
                "another form, or a case in two groups",
                cure,
            )
        )
        return None
    unknown = sorted(set(named) - set(identifiers))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        faults.append(
            Fault(
                "group-unknown-case",
                path,
                "the groups name cases that the data set does not have",
                f"names out of the {len(identifiers)} training cases",
                ", ".join(unknown[:5]) + more,
                "correct the names",
                severity="warning",
            )
        )
    # A case's own name could be that of a group of others.
    return {name: named.get(name, f"case {name}") for name in identifiers}


def _from_mapping(value: object) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    named: dict[str, str] = {}
    for key, entry in value.items():
        if isinstance(entry, str):
            pairs = [(key, entry)]
        elif isinstance(entry, list) and all(isinstance(name, str) for name in entry):
            pairs = [(name, key) for name in entry]
        else:
            return None
        for name, group in pairs:
            if named.setdefault(name, group) != group:
                return None
    return named


def _from_table(path: Path) -> dict[str, str] | None:
    try:
        if path.stat().st_size > LARGEST_TABLE:
            return None
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        rows = list(csv.DictReader(text.splitlines(), delimiter=";" if ";" in first else ","))
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    named: dict[str, str] = {}
    for row in rows:
        name, group = (str(row.get(column) or "").strip() for column in ("case", "group"))
        if not name or not group or named.setdefault(name, group) != group:
            return None
    return named or None
