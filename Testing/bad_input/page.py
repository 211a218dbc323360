"""The table of docs/reference/errors.md, made from the rows.

`python -m bad_input.page` in the folder Testing writes it anew; a test sees that it is.
"""

from __future__ import annotations

from pathlib import Path

from .table import GROUPS
from .worker_rows import LINES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
BEGIN, END = "<!-- made by Testing/bad_input/page.py -->", "<!-- end -->"
LEFT_OUT = (
    " --device cpu", " --no-tta", " --step 1", " --workers 1", " --epochs 1", " --iterations 1",
    " --library library",
)  # fmt: skip
"""Of the commands: what only keeps the tests quick."""

LONGEST = 70


def page(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """One table per group of rows."""
    parts = []
    for title, rows in GROUPS.items():
        lines = [
            f"### {title}",
            "",
            "| input | command | status | what is said |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {cell(row.name)} | `{_command(row.command)}` | {row.status} | "
            f"{'works; ' if row.status == 0 else ''}{texts(row.says)} |"
            for row in rows
        ]
        parts.append("\n".join(lines) + "\n")
    lines = ["### Lines to the worker", "", "| input | answer | what is said |", "|---|---|---|"]
    lines += [f"| {cell(li.name)} | `{li.answer}` | {texts(li.says)} |" for li in LINES]
    return "\n".join([*parts, "\n".join(lines) + "\n"])


def _command(text: str) -> str:
    for words in LEFT_OUT:
        text = text.replace(words, "")
    return cell(text if len(text) <= LONGEST else text[:LONGEST] + "...")


def texts(said: tuple[str, ...]) -> str:
    """What has to be said, as a cell of a table."""
    return " ... ".join(cell(text) for text in said if text)


def cell(text: str) -> str:
    """A text as a cell of a table."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
