"""The tables of docs/reference/errors.md about Slicer, made from the rows.

`python -m slicer_module.bad_input_page` in the folder Testing writes them anew; a test sees that
they are.
"""

from __future__ import annotations

from bad_input.page import PAGE, cell, texts
from slicer_module import conftest  # makes the module importable
from slicer_module.bad_input_folders import BATCHES, REVIEWS
from slicer_module.bad_input_models import MODELS, SEQUENCES
from slicer_module.bad_input_processes import DOWNLOADS, KEPT, PROCESSES
from slicer_module.bad_input_rows import Row
from slicer_module.bad_input_segmentations import EXPORTS, TRAINING
from slicer_module.bad_input_volumes import VOLUMES

__all__ = ["conftest"]

GROUPS: dict[str, tuple[Row, ...]] = {
    "Volumes and regions": VOLUMES,
    "Sequences": SEQUENCES,
    "Models in Slicer": MODELS,
    "Segmentations to export": EXPORTS,
    "Segmentations to learn from": TRAINING,
    "Folders to review": REVIEWS,
    "Folders to segment": BATCHES,
    "What is kept between sessions": KEPT,
    "Processes and packages": PROCESSES,
    "Sample data": DOWNLOADS,
}

ROWS: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)

BEGIN = "<!-- made by Testing/slicer_module/bad_input_page.py -->"
END = "<!-- end of Slicer -->"
LONGEST = 60
"""Of a text: one of 300 characters is shown by its first."""


def page(text: str) -> str:
    """The page with the tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """One table per group of rows."""
    parts = []
    for title, rows in GROUPS.items():
        lines = [f"### {title}", "", "| input | page | what is said |", "|---|---|---|"]
        lines += [
            f"| {cell(row.name)} | {row.page} | {'works; ' if row.works else ''}"
            f"{texts(tuple(_shortened(text) for text in row.says))} |"
            for row in rows
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * LONGEST else text[:LONGEST] + "..."


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
