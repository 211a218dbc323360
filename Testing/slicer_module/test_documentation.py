"""The pages for Slicer's users name what is really on the screen, and files that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
PAGES = sorted([*DOCS.glob("how-to/slicer*.md"), DOCS / "tutorial/slicer.md"])

ELSEWHERE = {"Self-Configuring Segmentation", "Cancel", "Check this one"}
"""Bold words that are shown, but not from a .ui file: the module's title, buttons and lines that
change."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def texts_on_the_screen() -> set[str]:
    found = set()
    for path in (PROJECT / "Resources/UI").glob("*.ui"):
        found |= set(re.findall(r"<string[^>]*>([^<]+)<", path.read_text(encoding="utf-8")))
        found.add(path.stem.removesuffix("Panel"))
    return found


def bold_words(text: str) -> Iterator[str]:
    for words in re.findall(r"\*\*([^*]+)\*\*", text):
        yield " ".join(words.split())


@each_page
def test_what_is_bold_is_on_the_screen(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.stem == "slicer-privacy":
        return  # bold there is emphasis
    missing = set(bold_words(text)) - texts_on_the_screen() - ELSEWHERE
    assert not missing


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            assert (page.parent / path).exists(), target
            if heading:
                linked = (page.parent / path).read_text(encoding="utf-8")
                headings = re.findall(r"^#+ (.+)$", linked, re.MULTILINE)
                slugs = {
                    re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings
                }
                assert heading in slugs, target
