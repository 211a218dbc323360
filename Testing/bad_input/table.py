"""All rows, in the order of docs/reference/errors.md."""

from __future__ import annotations

from .dataset_rows import DATASETS
from .file_rows import FILES
from .model_rows import MODELS
from .predict_rows import PREDICTIONS, SCORES
from .project_rows import PROJECTS
from .rows import Row
from .scan_rows import SCANS

GROUPS: dict[str, tuple[Row, ...]] = {
    "Data sets": DATASETS,
    "Image files": FILES,
    "Projects, plans and trainings": PROJECTS,
    "Images to segment": PREDICTIONS,
    "Label maps to score and to write": SCORES,
    "Models": MODELS,
    "Scans to collect": SCANS,
}

ROWS: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)
