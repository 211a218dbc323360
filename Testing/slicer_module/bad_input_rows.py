"""What one row of the table of bad input in Slicer is, and what is demanded of it."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import slicer
from SelfConfiguringSegmentationLib.running import Running
from SelfConfiguringSegmentationLib.segment import exchange

from selfseg.domain.errors import SelfsegError

SECONDS = 5.0
"""What a row may take; that much is demanded of the whole command line too."""

DEEP = "[" * 100_000
"""JSON for which no parser has the stack."""

PATIENCE = 4
"""Times as long may go by where other tests keep the machine busy."""


@dataclass
class Desk:
    """What a row works with.

    Args:
        scene: the MRML scene, empty at first.
        place: an empty folder.
        temporary: the folder for temporary files, empty as well.
        logic: the module's logic.
        model: what it segments with.
        patch: pytest's, undone after the row.
    """

    scene: Any
    place: Path
    temporary: Path
    logic: Any = None
    model: Path | None = None
    patch: Any = None
    log: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)

    def remember(self) -> None:
        """Takes the scene as it is now for what it has to be in the end."""
        self.before = state_of(self.scene)


@dataclass(frozen=True)
class Row:
    """One bad input, and what the module makes of it.

    Args:
        name: of the input, for people.
        page: where it is met.
        says: texts that must all be in what is said, in any case; of what works, in its result.
        given: makes the input; what it returns goes to `use`.
        use: what the user does; raises an error, or returns what came of it as text.
        works: the input is odd, and has to work all the same.
        leaves: patterns of new files below the desk's place.
    """

    name: str
    page: str
    says: tuple[str, ...]
    given: Callable[[Desk], Any]
    use: Callable[[Desk, Any], Any]
    works: bool = False
    leaves: tuple[str, ...] = ()


@pytest.fixture
def desk(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """An empty desk; temporary files go to a folder of their own."""
    made = Desk(scene, tmp_path / "place", tmp_path / "temporary", patch=monkeypatch)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)  # Slicer always has one
    made.place.mkdir()
    made.temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made.temporary))
    monkeypatch.setattr(exchange, "MEMORY_FOLDER", made.temporary)
    return made


def judge(row: Row, desk: Desk) -> None:
    """Does what the row says, and demands words, haste, and things as they were."""
    given = row.given(desk)
    desk.remember()
    files = _files(desk.place)
    error: Exception | None = None
    result: Any = ""
    computed, started = time.process_time(), time.monotonic()
    try:
        result = row.use(desk, given)
    except (SelfsegError, RuntimeError) as found:
        error = found
    passed, computed = time.monotonic() - started, time.process_time() - computed
    said = "\n".join([str(result) if error is None else shown(error), *desk.log])
    assert (error is None) == row.works, said
    missing = [text for text in row.says if text.lower() not in said.lower()]
    assert not missing, f"{missing} not in:\n{said}"
    assert "Traceback" not in said
    assert computed < SECONDS
    assert passed < PATIENCE * SECONDS
    if not row.works:
        found = differences(desk.before, state_of(desk.scene))
        assert not found, "\n".join(found)
    new = [name for name in _files(desk.place) if name not in files]
    beyond = [n for n in new if not any(fnmatch.fnmatch(n, pattern) for pattern in row.leaves)]
    assert not beyond
    changed = [name for name, what in files.items() if _files(desk.place).get(name) != what]
    assert not [n for n in changed if not any(fnmatch.fnmatch(n, p) for p in row.leaves)]
    assert list(desk.temporary.iterdir()) == []


def shown(error: Exception) -> str:
    """What a page makes of an error: the first line as its status, all of it in the log."""
    log: list[str] = []
    running = Running(on_change=lambda: None, on_log=log.append, on_done=lambda result: None)
    running.fail(error)
    text = "\n".join(log)
    if isinstance(error, SelfsegError):
        first = error.what.splitlines()[0]
        assert running.status == f"Failed: {first}"
        for title in ("expected:", "found:", "what to do:"):
            assert title in text, text
    return f"{running.status}\n{text}"


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was."""
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def state_of(scene: Any) -> dict[str, Any]:
    """Every node: its name, voxels, transform, references and segments."""
    return {
        node.GetID(): _node_state(node)
        for node in (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
    }


def _node_state(node: Any) -> tuple[Any, ...]:
    found: list[Any] = [node.GetClassName(), node.GetName()]
    if node.IsA("vtkMRMLTransformableNode"):
        found.append(node.GetTransformNodeID())
    if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None:
        image = node.GetImageData()
        found.append((image.GetAddressAsString(""), image.GetMTime()))
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        found += [
            segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())
        ]
    return tuple(found)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Mode and size of every file below a folder, of folders their mode alone."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        size = 0 if path.is_dir() or path.name == ".lock" else status.st_size
        found[str(path.relative_to(folder))] = (status.st_mode, size)
    return found


def volume(name: str = "scan", voxels: Any = None, matrix: Any = None, kind: str = "") -> Any:
    """A volume of the scene: by default a sound one without any symmetry."""
    from slicer_module.conftest import OBLIQUE, asymmetric_voxels

    return slicer.util.addVolumeFromArray(
        asymmetric_voxels() if voxels is None else voxels,
        OBLIQUE if matrix is None else matrix,
        name,
        kind or None,
    )
