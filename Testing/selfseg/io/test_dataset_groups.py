from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfseg.domain.dataset import Fault
from selfseg.io.dataset_groups import read_groups

CASES = ("a", "b", "c")


def read(folder: Path, mapping: dict[str, object]) -> tuple[dict[str, str] | None, list[Fault]]:
    faults: list[Fault] = []
    return read_groups(folder, mapping, CASES, faults), faults


@pytest.mark.parametrize(
    "value", [{"a": "p", "b": "p"}, {"p": ["a", "b"]}, {"p": ["a", "b"], "c": "case c"}]
)
def test_both_forms_in_dataset_json(tmp_path: Path, value: object) -> None:
    groups, faults = read(tmp_path, {"groups": value})
    assert groups == {"a": "p", "b": "p", "c": "case c"}
    assert not faults


@pytest.mark.parametrize(
    "text", ["case,group\na,p\nb,p\n", "\ufeffgroup;age;case\r\np;3;a\r\np;4;b\r\n"]
)
def test_a_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    assert read(tmp_path, {})[0] == {"a": "p", "b": "p", "c": "case c"}
    # dataset.json has the last word.
    assert read(tmp_path, {"groups": {"a": "q"}})[0] == {"a": "q", "b": "case b", "c": "case c"}


@pytest.mark.parametrize("value", [[], "a", {"a": 1}, {"a": "p", "q": ["a"]}, {"p": [1]}])
def test_what_is_not_clear_is_a_fault(tmp_path: Path, value: object) -> None:
    groups, faults = read(tmp_path, {"groups": value})
    assert groups is None
    assert [fault.kind for fault in faults] == ["invalid-groups"]
    assert faults[0].severity == "error"


@pytest.mark.parametrize("text", ["", "case;patient\na;p\n", "case,group\na,p\na,q\n", "\xff"])
def test_a_broken_table_is_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "groups.csv").write_bytes(text.encode("latin-1"))
    assert [fault.kind for fault in read(tmp_path, {})[1]] == ["invalid-groups"]


def test_unknown_cases_are_worth_a_warning(tmp_path: Path) -> None:
    groups, faults = read(tmp_path, json.loads('{"groups": {"z": "p", "a": "p"}}'))
    assert groups == {"a": "p", "b": "case b", "c": "case c"}
    assert [(fault.kind, fault.severity) for fault in faults] == [("group-unknown-case", "warning")]


def test_nothing_said(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == (None, [])
