"""Every text that users see can be translated, and Slicer's tools find it.

Slicer's `update_translations.py` rewrites `_("...")` to `translate("<context>", "...")` with a
regular expression and hands the file to lupdate, so the argument has to be plain string
literals; the context is the file's name, which `slicer.i18n.tr` finds at run time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "SelfConfiguringSegmentation"

SHOWN = {
    "text", "toolTip", "title", "windowTitle", "placeholderText", "statusTip", "specialValueText",
    "suffix", "prefix", "noneDisplay", "nullText",
}  # fmt: skip
"""Properties whose text users read."""

SHOWING = {
    "setText", "setToolTip", "setWindowTitle", "setTitle", "setStatusTip", "setPlaceholderText",
    "addTab", "setTabText", "addRow", "setHeaderLabels", "setHorizontalHeaderLabels",
    "infoDisplay", "warningDisplay", "errorDisplay", "confirmOkCancelDisplay",
    "confirmYesNoDisplay", "confirmRetryCloseDisplay", "showStatusMessage", "question",
    "getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName",
    "addAction", "addMenu", "QLabel", "QPushButton", "QAction", "QTableWidgetItem",
}  # fmt: skip
"""Functions whose texts users read."""


def sources() -> list[Path]:
    return sorted(MODULE_FOLDER.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(MODULE_FOLDER).as_posix()


each_source = pytest.mark.parametrize("path", sources(), ids=name_of)


def calls_of(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


@each_source
def test_translated_texts_are_plain_literals(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for call in calls_of(ast.parse(text), "_"):
        where = f"{name_of(path)}:{call.lineno}"
        (argument,) = call.args
        assert isinstance(argument, ast.Constant), f"{where}: not a literal"
        source = ast.get_source_segment(text, call) or ""
        assert re.fullmatch(r'_\(\s*".+"\s*\)', source, re.DOTALL), f"{where}: not found by Slicer"


@each_source
def test_the_name_of_the_translation_is_not_used_for_anything_else(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any(calls_of(tree, "_")):
        return
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert any(
        node.module == "slicer.i18n" and ("tr", "_") in [(a.name, a.asname) for a in node.names]
        for node in imported
    ), "import it at file scope: from slicer.i18n import tr as _"
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.Lambda) and binds(function, "_"):
            assert not any(calls_of(function, "_")), (
                f"{name_of(path)}:{function.lineno}: _ is not the translation here"
            )


def binds(function: ast.AST, name: str) -> bool:
    """Whether an argument or a variable of the function, or of one within it, has the name."""
    return any(
        (isinstance(node, ast.arg) and node.arg == name)
        or (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        for node in ast.walk(function)
    )


@each_source
def test_no_text_is_shown_untranslated(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    shown: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = [target for target in node.targets if isinstance(target, ast.Attribute)]
            if any(target.attr in SHOWN for target in targets):
                shown.append(node.value)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in SHOWING:
                shown.extend(node.args)
    untranslated = [text for expression in shown for text in sentences(expression)]
    assert not untranslated, f"{name_of(path)}: not translated: {untranslated}"


def sentences(expression: ast.expr) -> Iterator[str]:
    """Literals with words that the expression shows as they are."""
    if isinstance(expression, ast.Constant):
        # Single lower-case words and names of files are keys, not text.
        if isinstance(expression.value, str) and re.search(
            r"[A-Z][a-z]|[a-z] [a-z]", expression.value
        ):
            yield expression.value
    elif isinstance(expression, ast.JoinedStr):
        for part in expression.values:
            if isinstance(part, ast.Constant) and re.search(r"[A-Za-z]{3}", str(part.value)):
                yield str(part.value)
    elif isinstance(expression, ast.IfExp):
        yield from sentences(expression.body)
        yield from sentences(expression.orelse)
    elif isinstance(expression, ast.BoolOp):
        for part in expression.values:
            yield from sentences(part)
    elif isinstance(expression, ast.BinOp):
        yield from sentences(expression.left)
        yield from sentences(expression.right)
    elif isinstance(expression, ast.List | ast.Tuple):
        for part in expression.elts:
            yield from sentences(part)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('"Choose a model."', ["Choose a model."]),
        ('f"{count} structures" if count else ""', [" structures"]),
        ('_("Choose a model.")', []),
        ('"auto"', []),
        ('["Case", _("Image")]', ["Case"]),
    ],
)
def test_untranslated_texts_are_recognised(code: str, found: list[str]) -> None:
    assert list(sentences(ast.parse(code, mode="eval").body)) == found
