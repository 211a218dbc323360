"""The extension as CMake builds and installs it, and what the catalogue says of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

import selfseg

MODULE = "SelfConfiguringSegmentation"
LIBRARY = Path("lib/Slicer-5.12/qt-scripted-modules")


def run(*command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def build(project_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cmake = shutil.which("cmake")
    makers = [name for name in ("ninja", "make", "nmake", "msbuild") if shutil.which(name)]
    if cmake is None or not makers:
        message = "cmake or ninja/make is missing: the installation of the extension was NOT tested"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("build")
    # Nothing is compiled, so any program passes for a compiler and none has to be installed.
    compilers = [
        f"-DCMAKE_{language}_COMPILER{suffix}"
        for language in ("C", "CXX")
        for suffix in (f"={cmake}", "_FORCED=ON", "_ID=GNU")
    ]
    run(
        *("cmake", "-S", project_folder, "-B", folder, *compilers),
        *(("-G", "Ninja") if "ninja" in makers else ()),
        f"-DSlicer_DIR={Path(__file__).parent / 'cmake'}",
    )
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", build, "--prefix", folder)
    return folder / LIBRARY


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_selfseg_is_installed_beside_the_module(
    installed: Path, project_folder: Path
) -> None:
    source = files_below(project_folder / "Logic" / "selfseg")
    assert {"cli/parser.py", "py.typed", "domain/labels.py"} <= source
    assert files_below(installed / "selfseg") == source


def test_module_and_library_are_installed(installed: Path, project_folder: Path) -> None:
    library = f"{MODULE}Lib"
    assert (installed / f"{MODULE}.py").is_file()
    assert files_below(installed / library) == files_below(project_folder / MODULE / library)


def test_resources_are_installed_beside_the_module(installed: Path, project_folder: Path) -> None:
    assert files_below(installed / "Resources") == files_below(project_folder / "Resources")
    assert (installed / "Resources" / "Icons" / f"{MODULE}.png").is_file()


def test_nothing_else_is_installed(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert names == {f"{MODULE}.py", f"{MODULE}Lib", "Resources", "selfseg"}


def test_installed_module_finds_selfseg_and_resources(installed: Path) -> None:
    code = (
        "from SelfConfiguringSegmentationLib import paths\n"
        "import sys\n"
        "paths.make_selfseg_importable()\n"
        "import selfseg.domain.labels\n"
        "print(paths.resources_folder(), selfseg.__file__, sep='\\n')\n"
    )
    lines = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}")
    resources, package = lines.split("\n")[:2]
    assert Path(resources) == installed / "Resources"
    assert Path(package) == installed / "selfseg" / "__init__.py"


def test_a_new_file_is_noticed_without_configuring_again(build: Path, project_folder: Path) -> None:
    text = (project_folder / "Logic" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert text.count("CONFIGURE_DEPENDS") == 2
    assert any(build.rglob("VerifyGlobs.cmake"))


def test_metadata_for_the_extensions_manager(build: Path) -> None:
    text = (build / f"{MODULE}.s4ext").read_text(encoding="utf-8")
    assert "DEPENDS PyTorch" in text
    assert "CATEGORY Segmentation" in text
    pages = ("segment", "train", "review", "batch")
    assert re.findall(r"docs/images/slicer-(\w+)\.png", text) == list(pages)
    raw = "https://raw.githubusercontent.com/"
    assert re.search(rf"^ICONURL {raw}\S+\.png$", text, re.MULTILINE)


def test_pictures_of_the_catalogue_are_there(project_folder: Path) -> None:
    text = (project_folder / "CMakeLists.txt").read_text(encoding="utf-8")
    names = re.findall(r"/main/(\S+?\.png)", text)
    assert len(names) == 5
    assert [name for name in names if not (project_folder / name).is_file()] == []


def test_the_extension_stays_small(project_folder: Path) -> None:
    """What the Extensions Index asks for: a repository below 100 MB."""
    listed = run("git", "-C", project_folder, "ls-files", "-z").split("\0")
    size = sum(
        (project_folder / name).stat().st_size
        for name in listed
        if name and (project_folder / name).is_file()
    )
    assert size < 20 * 2**20


def test_the_citation_names_this_project_and_the_method(project_folder: Path) -> None:
    text = (project_folder / "CITATION.cff").read_text(encoding="utf-8")
    required = ("cff-version: 1.2.0", f"title: {MODULE}", "message:", "authors:", "license:")
    assert all(re.search(f"^{line}", text, re.MULTILINE) for line in required)
    assert f"version: {selfseg.__version__}" in text
    assert "doi: 10.1038/s41592-020-01008-z" in text


def test_catalogue_entry_has_only_keys_of_schema_1_0_2(project_folder: Path) -> None:
    entry = json.loads((project_folder / f"{MODULE}.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    allowed = {
        "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies",
        "dicom_support_rule", "build_subdirectory", "enabled", "tier",
    }  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(entry) <= allowed
    assert entry["build_dependencies"] == ["PyTorch"]
    assert 1 <= entry["tier"] <= 5
    # The repository's name must begin with Slicer, the extension's must not.
    assert re.search(r"/Slicer\w+(\.git)?$", entry["scm_url"])


def test_requirements_are_pyproject_dependencies_without_torch(project_folder: Path) -> None:
    text = (project_folder / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    listed = {line for line in text.splitlines() if line and not line.startswith("#")}
    project = tomllib.loads((project_folder / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {name for name in project["project"]["dependencies"] if not name.startswith("torch")}
    assert listed == wanted
    assert all(re.fullmatch(r"[A-Za-z0-9-]+>=[0-9.]+", line) for line in listed)


def test_icon_is_128_pixels_square(project_folder: Path) -> None:
    data = (project_folder / "Resources" / "Icons" / f"{MODULE}.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (128, 128)
