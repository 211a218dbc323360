"""The tables of bad input in Slicer: large enough, and on the page as they are."""

from __future__ import annotations

from bad_input.page import PAGE
from slicer_module.bad_input_page import ROWS, page


def test_the_tables_are_large_enough_and_names_are_unique() -> None:
    assert len(ROWS) >= 140
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_shows_the_tables() -> None:
    """`python -m slicer_module.bad_input_page` in the folder Testing writes them anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
