"""What the documentation says is there: pages, places, commands, programs, names and files.

The full build, with its warnings as errors, is `python3 start.py docs`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import re
import tomllib
from functools import cache
from pathlib import Path

from documentation_pages import (
    DOCS,
    INDEX,
    PROJECT,
    Page,
    exists,
    is_name_of_ours,
    navigation,
    pages,
    parameters,
    public_names,
)
from selfseg import __version__
from selfseg.cli.parser import make_parser

PAGES = pages()

OPTIONS_OF_OTHERS = frozenset({"--index-url", "--no-index", "--platform", "--python-version"})
"""Of pip, in prose."""

NOT_OF_THE_CHECKOUT = frozenset({"SelfConfiguringSegmentation/trainings.json"})
"""Files beside Slicer's settings."""

IN_SLICER = frozenset({"slicer", "qt", "ctk", "vtk"})
"""Modules that only Slicer's Python has."""

AMERICAN = re.compile(
    r"\b(colou?rized?|colors?|colored|grays?|grayscale|cent(?:er|ers|ered|ering)|behaviors?"
    r"|label(?:ed|ing)|model(?:ed|ing)|cancel(?:ed|ing)|favors?|fib(?:er|ers)|neighbors?"
    r"|neighboring|tumors?|artifacts?|catalogs?|analyz\w+"
    r"|(?:normal|optim|initial|general|minim|maxim|parallel|random|regular|standard|summar|util"
    r"|visual|recogn|organ|priorit|emphas|special|real|categor|character)iz(?:e[ds]?|ing|ations?))\b",
    re.IGNORECASE,
)

OF_ONE_MACHINE = re.compile(r"(?<![\w.~])/(?:root|work|home/\w+|Users/\w+|mnt|scratch)/")


def test_links_lead_to_pages_and_places_that_exist() -> None:
    wrong = []
    for page in PAGES:
        for target in page.links:
            place, _, anchor = target.partition("#")
            path = (page.path.parent / place).resolve() if place else page.path
            if not path.exists() or (anchor and anchor not in Page(path).anchors):
                wrong.append(f"{page.name}: {target}")
    assert not wrong


def test_pages_link_only_within_the_built_documentation() -> None:
    # What is outside of docs/ is not part of the built pages; a name in `code` says it as well.
    outside = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in page.links
        if DOCS in page.path.parents
        and not (page.path.parent / target.partition("#")[0]).resolve().is_relative_to(DOCS)
    ]
    assert not outside


def test_every_page_is_in_the_navigation_once() -> None:
    listed = sorted(name for names in navigation().values() for name in names)
    there = sorted(
        page.path.relative_to(DOCS).with_suffix("").as_posix()
        for page in PAGES
        if DOCS in page.path.parents and page.path != INDEX
    )
    assert listed == there, "add the page to a toctree of docs/index.md, and a line above it"


def test_the_index_shows_what_the_navigation_lists() -> None:
    shown = [link.partition("#")[0].removesuffix(".md") for link in Page(INDEX).links]
    listed = [name for names in navigation().values() for name in names]
    assert list(dict.fromkeys(shown)) == listed


def test_commands_are_understood() -> None:
    parser, wrong = make_parser(), []
    for page in PAGES:
        for words in page.commands:
            complaint = io.StringIO()
            with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
                try:
                    parser.parse_args(words)
                except SystemExit as end:
                    if end.code:
                        wrong.append(f"{page.name}: selfseg {' '.join(words)}")
            if wrong and wrong[-1].startswith(page.name):
                wrong.append(complaint.getvalue())
    assert not wrong


def test_verbs_and_options_named_in_the_text_exist() -> None:
    wrong = []
    for page in PAGES:
        for code in page.code_words:
            known = options_for(code)
            options = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", code)
            if known is None or not known.issuperset(options):
                wrong.append(f"{page.name}: {code}")
    assert not wrong


def test_programs_compile_and_what_they_name_exists() -> None:
    wrong = []
    for page in PAGES:
        for program in page.programs:
            for node in ast.walk(ast.parse(program)):
                wrong += [
                    f"{page.name} imports {dotted}"
                    for dotted in imported(node)
                    if not is_importable(dotted)
                ]
                if isinstance(node, ast.Call):
                    wrong += [f"{page.name}: {fault}" for fault in faults_of_call(node)]
    assert not wrong


def test_names_of_the_package_exist() -> None:
    wrong = [
        f"{page.name}: {word}"
        for page in PAGES
        for word in page.code_words
        if is_name_of_ours(word)
        and not exists("selfseg." + word.removesuffix("()").removeprefix("selfseg."))
    ]
    assert not wrong


def test_files_of_the_checkout_that_are_named_exist() -> None:
    folders = r"(?:benchmarks|Testing|docs|Logic|Resources|SelfConfiguringSegmentation|\.ci)"
    named = re.compile(rf"(?<![\w./]){folders}/[\w./-]*\w")
    places = (PROJECT, PROJECT / "Logic/selfseg", PROJECT / "Logic")
    wrong = []
    for page in PAGES:
        for text in (*page.code_words, *(block.text for block in page.blocks)):
            wrong += [
                f"{page.name}: {found}"
                for found in named.findall(text)
                if found not in NOT_OF_THE_CHECKOUT and not (PROJECT / found).exists()
            ]
        for text in page.code_words:
            if re.fullmatch(r"(?:[a-z_]+/)+[a-z_0-9]+\.py", text) and not any(
                (place / text).is_file() for place in places
            ):
                wrong.append(f"{page.name}: {text}")
    assert not wrong


def test_pages_that_the_source_names_exist() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)}: {named}"
        for place in ("Logic", "SelfConfiguringSegmentation", "Resources", "benchmarks")
        for path in (PROJECT / place).rglob("*")
        if path.suffix in (".py", ".ui", ".html") and ".peer" not in path.parts
        for named in re.findall(r"docs/[\w./-]+\.md", path.read_text(encoding="utf-8"))
        if not (PROJECT / named).is_file()
    ]
    assert not wrong


def test_the_public_page_lists_every_function_of_the_pipeline() -> None:
    page = Page(DOCS / "reference/public-api.md")
    (row,) = [line for line in page.text.splitlines() if line.startswith("| `selfseg.pipeline` |")]
    listed = set(re.findall(r"`(\w+)`", row))
    assert all(exists(f"selfseg.pipeline.{name}") for name in listed)
    described = Page(DOCS / "reference/python-api.md").text
    for name in public_names("selfseg.pipeline"):
        assert name in listed
    for name in public_names("selfseg.pipeline", taken_from_others=True):
        assert f"selfseg.pipeline.{name}\n" in described


def test_the_readme_tells_every_verb() -> None:
    told = set(Page(PROJECT / "README.md").code_words)
    assert {verb for verb in verbs() if " " not in verb} <= told


def test_there_is_one_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "selfseg.__version__"}
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    assert "## Unreleased" in Page(PROJECT / "CHANGELOG.md").text


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    assert not [page.name for page in PAGES if OF_ONE_MACHINE.search(page.text)]


def test_spelling_is_british() -> None:
    wrong = [
        f"{page.name}: {match[0]}" for page in PAGES for match in AMERICAN.finditer(page.prose)
    ]
    assert not wrong


# What the checks look things up in.


@cache
def verbs() -> dict[str, frozenset[str]]:
    """The options of every verb; those of `model` are "model export" and so on, too."""
    found: dict[str, frozenset[str]] = {}

    def add(prefix: str, parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    found[f"{prefix}{name}"] = frozenset(
                        option for inner in sub._actions for option in inner.option_strings
                    )
                    add(f"{prefix}{name} ", sub)

    add("", make_parser())
    return found


def options_for(code: str) -> frozenset[str] | None:
    """The options that may stand in some `code`; None where it names a verb that is none."""
    words = code.split()
    if words[:1] != ["selfseg"] or not re.fullmatch(r"[a-z][a-z-]*", "".join(words[1:2])):
        return options_of_ours()
    return verbs().get(" ".join(words[1:3]), verbs().get(words[1]))


@cache
def options_of_ours() -> frozenset[str]:
    """Of all verbs, of the scripts in benchmarks/ and the tests, and of programs that we name."""
    scripts = [*(PROJECT / "benchmarks").glob("*.py"), *(PROJECT / "Testing").rglob("conftest.py")]
    scripts += [PROJECT / "Testing/selfseg/preprocess/test_case.py", PROJECT / "start.py"]
    named = {
        option
        for path in scripts
        for option in re.findall(r"--[a-z][a-z0-9-]+", path.read_text(encoding="utf-8"))
    }
    return frozenset().union(*verbs().values(), named, OPTIONS_OF_OTHERS, {"--version"})


def imported(node: ast.AST) -> list[str]:
    """The dotted names that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def is_importable(dotted: str) -> bool:
    """Whether it can be imported, looked up without importing anything of ours."""
    first = dotted.partition(".")[0]
    if first == "selfseg" or first.startswith("SelfConfiguringSegmentation"):
        return exists(dotted)
    return first in IN_SLICER or importlib.util.find_spec(first) is not None


def faults_of_call(call: ast.Call) -> list[str]:
    """What is wrong with a call `pipeline.NAME(...)`; nothing is with other calls."""
    function = call.func
    if not (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "pipeline"
    ):
        return []
    if not exists(f"selfseg.pipeline.{function.attr}"):
        return [f"there is no pipeline.{function.attr}"]
    known = parameters("selfseg.pipeline", function.attr)
    given = {keyword.arg for keyword in call.keywords if keyword.arg}
    if known is None:  # one that the pipeline takes from another module as it is
        return []
    return [f"pipeline.{function.attr} has no {name}" for name in sorted(given - known)]


def test_the_checks_would_notice(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# One\n\n[a](b.md#c) `[not](this.md)`\n\n```\nselfseg run X \\\n  -p Y  # why\n"
        "```\n\n## Two: `three`\n\n```python\nimport nothing_of_this_name\n```\n",
        encoding="utf-8",
    )
    page = Page(path)
    assert page.links == ["b.md#c"]
    assert page.anchors == {"one", "two-three"}
    assert page.commands == [["run", "X", "-p", "Y"]]
    assert [imported(node) for node in ast.parse(page.programs[0]).body] == [
        ["nothing_of_this_name"]
    ]
    assert not is_importable("nothing_of_this_name")
    assert exists("selfseg.domain.plan.Plan.previous_values")
    assert not exists("selfseg.domain.plan.Plan.no_such_thing")
    assert not exists("selfseg.infer.engine.no_such_thing")
    assert is_name_of_ours("infer.engine.predict_slabs")
    assert not is_name_of_ours("report.html")
