"""The pages of the documentation, taken apart: links, headings, commands, programs, code words.

Plain Python over Markdown: what the checks need of it, not all of it. The program's own names are
looked up in its source, which imports nothing.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
INDEX = DOCS / "index.md"
SOURCES = (PROJECT / "Logic", PROJECT / "SelfConfiguringSegmentation")
ROOMS = frozenset(
    path.stem
    for path in (PROJECT / "Logic/selfseg").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
)

_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2`*[ ]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_SHELLS = frozenset({"", "sh", "bash", "console"})
_DATA = frozenset(
    {"csv", "html", "json", "jsonl", "log", "md", "npy", "nrrd", "png", "py", "sqlite", "ui", "zip"}
)


@dataclass(frozen=True)
class Block:
    """A fenced block: the word behind the fence, and what is in it."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its place in the checkout."""
        return self.path.relative_to(PROJECT).as_posix()

    @property
    def text(self) -> str:
        """All of it."""
        return _read(self.path)

    @property
    def prose(self) -> str:
        """Without blocks; the words in `code` are left out too."""
        return _SPAN.sub("``", _FENCE.sub("", self.text))

    @property
    def blocks(self) -> list[Block]:
        """The fenced blocks, in order."""
        found = _FENCE.finditer(self.text)
        return [
            Block(match[3].strip(), re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE))
            for match in found
        ]

    @property
    def code_words(self) -> list[str]:
        """What stands in `code` within the prose, on one line each."""
        spans = _SPAN.finditer(_FENCE.sub("", self.text))
        return [" ".join(match[2].split()) for match in spans]

    @property
    def links(self) -> list[str]:
        """Where links and pictures lead, pages of other sites left out."""
        found = _LINK.findall(self.prose)
        return [target for target in found if not re.match(r"[a-z]+:", target)]

    @property
    def anchors(self) -> set[str]:
        """The places that a link can lead to: headings, as GitHub and MyST name them."""
        found: set[str] = set()
        for heading in _HEADING.findall(_FENCE.sub("", self.text)):
            words = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            number, unique = 0, slug
            while unique in found:
                number += 1
                unique = f"{slug}-{number}"
            found.add(unique)
        return found

    @property
    def commands(self) -> list[list[str]]:
        """The words of every `selfseg ...` in blocks, `selfseg` left out."""
        return [
            words
            for block in self.blocks
            if block.language in _SHELLS
            for line in re.sub(r"\\\n", " ", block.text).splitlines()
            if (words := _selfseg_words(line)) is not None
        ]

    @property
    def programs(self) -> list[str]:
        """The blocks of Python."""
        return [block.text for block in self.blocks if block.language == "python"]


def pages() -> list[Page]:
    """Every page that is shown to somebody."""
    top = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    inside = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return [Page(path) for path in (*top, *inside)]


def navigation() -> dict[str, list[str]]:
    """Of docs/index.md by section: the pages of its toctree, in order, without their ending."""
    found: dict[str, list[str]] = {}
    for block in Page(INDEX).blocks:
        if block.language != "{toctree}":
            continue
        caption = re.search(r"^:caption: (.+)$", block.text, re.MULTILINE)
        assert caption is not None, "every toctree of docs/index.md has a caption"
        found[caption[1]] = [
            line.strip()
            for line in block.text.splitlines()
            if line.strip() and not line.startswith(":")
        ]
    return found


def _selfseg_words(line: str) -> list[str] | None:
    line = re.sub(r"^\$ ", "", line.strip())
    line = re.sub(r"^[\w./\\-]*python[\w.]* -m selfseg\b", "selfseg", line)
    if not re.match(r"selfseg( |$)", line):
        return None
    words = shlex.split(line, comments=True)[1:]
    for index, word in enumerate(words):
        if word in ("|", ">", "&&", ";"):
            return words[:index]
    return words


def exists(dotted: str) -> bool:
    """Whether a module, a name in it, or a member of a class in it is in the source.

    Args:
        dotted: from `selfseg` or `SelfConfiguringSegmentation` on, as `selfseg.io.images`.
    """
    return any(_exists_below(source, dotted.split(".")) for source in SOURCES)


def is_name_of_ours(word: str) -> bool:
    """Whether a word in `code` is meant as a module or a name of the package."""
    parts = word.removesuffix("()").removeprefix("selfseg.").split(".")
    return (
        len(parts) > 1
        and parts[0] in ROOMS
        and parts[-1] not in _DATA
        and all(re.fullmatch(r"[A-Za-z_]\w*", part) for part in parts)
    )


def parameters(module: str, function: str) -> frozenset[str] | None:
    """The names of a function's parameters; None where the module defines no such function."""
    file = PROJECT / "Logic" / Path(*module.split(".")).with_suffix(".py")
    for node in _tree(file).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            return frozenset(argument.arg for argument in given)
    return None


def public_names(module: str, *, taken_from_others: bool = False) -> list[str]:
    """The functions of a module, and those it hands on (`import x as x`); or the latter alone."""
    found = []
    for node in _tree(PROJECT / "Logic" / Path(*module.split(".")).with_suffix(".py")).body:
        if isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.asname == alias.name]
        elif isinstance(node, ast.FunctionDef) and not taken_from_others:
            found += [node.name] if not node.name.startswith("_") else []
    return found


def _exists_below(place: Path, parts: list[str]) -> bool:
    if not parts:
        return True
    first, *rest = parts
    folder, file = place / first, place / f"{first}.py"
    # The module SelfConfiguringSegmentation.py lies beside folders of its library.
    if folder.is_dir() and folder not in SOURCES and _exists_below(folder, rest):
        return True
    if file.is_file():
        return _defines(_tree(file), rest)
    init = place / "__init__.py"
    return init.is_file() and _defines(_tree(init), parts)


def _defines(node: ast.Module | ast.ClassDef, parts: list[str]) -> bool:
    if not parts:
        return True
    first, *rest = parts
    for name, inner in _names(node):
        if name == first:
            return not rest or not isinstance(inner, ast.ClassDef) or _defines(inner, rest)
    return False


def _names(node: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
            for part in ast.walk(statement):  # what a module imports only when it is asked for
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value, statement
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name, statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement
        elif isinstance(statement, ast.ImportFrom | ast.Import):
            for alias in statement.names:
                yield alias.asname or alias.name, statement


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
