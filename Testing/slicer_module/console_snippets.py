"""The snippets for Slicer's Python console in the documentation, run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run_snippets(page: str, replaced: Mapping[str, str]) -> dict[str, Any]:
    """Runs every Python block of a page, one after the other.

    Args:
        page: below docs/.
        replaced: what stands in for what in the text, such as paths.

    Returns:
        the names that they defined.
    """
    import slicer

    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks, f"{page} has no snippet"
    names: dict[str, Any] = {"slicer": slicer}
    for block in blocks:
        for old, new in replaced.items():
            assert old in text, f"{page} does not say {old}"
            block = block.replace(old, new)
        exec(compile(block, page, "exec"), names)  # noqa: S102 - our own documentation
    return names
