"""Slicer imports every module file when it starts: ours must cost next to nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

LIGHT_SLICER = """
import json, sys, time, types
slicer = types.ModuleType("slicer")
base = types.ModuleType("slicer.ScriptedLoadableModule")
for name in ("", "Widget", "Logic", "Test"):
    setattr(base, "ScriptedLoadableModule" + name, type("ScriptedLoadableModule" + name, (), {}))
words = types.ModuleType("slicer.i18n")
words.tr = words.translate = lambda *texts: texts[-1]
sys.modules.update(
    {"slicer": slicer, "slicer.ScriptedLoadableModule": base, "slicer.i18n": words}
)
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
started = time.perf_counter()
import SelfConfiguringSegmentation
seconds = time.perf_counter() - started
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""

HEAVY = {"torch", "numpy", "scipy", "SimpleITK", "skimage", "matplotlib", "blosc2", "msgspec"}


def test_module_file_imports_fast_and_light(project_folder: Path) -> None:
    folder = project_folder / "SelfConfiguringSegmentation"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", LIGHT_SLICER, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    total = time.perf_counter() - started
    seconds, imported = json.loads(done.stdout)
    assert seconds < 0.5, f"{seconds:.2f} s of {total:.2f} s in all"
    assert not HEAVY & {name.partition(".")[0] for name in imported}
    assert not any(
        name.startswith(("selfseg", "SelfConfiguringSegmentationLib")) for name in imported
    )


def sources() -> list[Path]:
    folder = Path(__file__).resolve().parents[2] / "SelfConfiguringSegmentation"
    return sorted(folder.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_nothing_is_executed_or_imported_from_others_at_file_scope(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed_imports = sys.stdlib_module_names | {
        "slicer",
        "selfseg",
        "SelfConfiguringSegmentationLib",
    }
    for node in tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [] if node.level else [node.module or ""]
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} is executed"
            continue
        else:
            assert isinstance(node, ast.Assign | ast.AnnAssign | ast.ClassDef | ast.FunctionDef), (
                f"line {node.lineno} is executed"
            )
            continue
        assert {name.partition(".")[0] for name in names} <= allowed_imports


def test_the_library_never_imports_torch() -> None:
    """The child process computes; the process of the application must not load torch."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.partition(".")[0] == "torch"], path
