"""Opens a report inside Slicer, or in the browser where Slicer is built without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_open_pages: list[Any] = []
"""Python's hold on the windows: without it they would close at once."""


def show_report(path: Path) -> None:
    """Shows an HTML file in a window of its own."""
    import qt
    import slicer

    url = qt.QUrl.fromLocalFile(str(path))
    if not hasattr(slicer, "qSlicerWebWidget"):
        qt.QDesktopServices.openUrl(url)
        return
    page = slicer.qSlicerWebWidget()
    page.setAttribute(qt.Qt.WA_DeleteOnClose, False)
    page.windowTitle = path.parent.parent.name
    page.resize(1100, 850)
    page.url = url.toString()
    page.show()
    _open_pages[:] = [shown for shown in _open_pages if shown.visible]
    _open_pages.append(page)
