"""What is installed before anything runs: with consent, from the internet or a folder of wheels."""

from __future__ import annotations

import builtins
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic
from SelfConfiguringSegmentationLib import dependencies
from SelfConfiguringSegmentationLib.dependencies import TORCH, install_dependencies, missing

from slicer_module.windows import module_widget, picture, qt_application

__all__ = ["module_widget", "qt_application"]

INSTALL = SelfConfiguringSegmentationLogic.installDependencies
"""The real one: the fixture `module_widget` puts another in its place."""


@pytest.fixture
def packaging() -> Any:
    return sys.modules["slicer.packaging"]


@pytest.fixture
def installed(packaging: Any, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names that count as installed; empty at first."""
    names: set[str] = set()
    monkeypatch.setattr(
        packaging, "pip_check", lambda requirement: str(requirement).partition(">=")[0] in names
    )
    return names


@pytest.fixture
def installs(
    packaging: Any, installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, Any]]:
    """What was asked for, in order; it is installed then."""
    asked: list[tuple[str, Any]] = []

    def install(name: str, requirements: list[str], **options: Any) -> None:
        asked.append((name, requirements))
        assert options == {"requester": dependencies.REQUESTER}
        installed.update(word.partition(">=")[0] for word in requirements)

    for name in ("pip_ensure", "pip_install"):
        monkeypatch.setattr(
            packaging, name, lambda *words, name=name, **options: install(name, *words, **options)
        )
    return asked


@pytest.fixture
def pytorch(
    installed: set[str], installs: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> types.ModuleType:
    """The PyTorch extension; `answer` is what the user says to its question."""
    module = types.ModuleType("PyTorchUtils")
    module.answer = True

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation: bool = False,
            forceComputationBackend: str | None = None,
            torchVersionRequirement: str | None = None,
            torchvisionVersionRequirement: str | None = None,
        ) -> object:
            assert askConfirmation
            if not module.answer:
                return None
            installs.append(("torch", torchVersionRequirement))
            installed.add("torch")
            return types.ModuleType("torch")

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Questions asked; they are answered with OK."""
    asked: list[str] = []

    def confirm(text: str, *_: Any, **details: Any) -> bool:
        asked.append(text + "\n" + details.get("detailedText", ""))
        return True

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return asked


def test_what_is_missing_is_known_without_a_process(
    installed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    imported = set(sys.modules)
    found = missing()
    assert found.packages[:2] == (TORCH, "numpy>=1.26")
    assert len(found.packages) == 17
    assert found.text.startswith("Not installed yet: torch, numpy, SimpleITK")
    installed.update(name.partition(">=")[0] for name in found.packages)
    assert not missing()
    assert missing().text == ""
    assert set(sys.modules) - imported <= {"PyTorchUtils"}


def test_the_test_environment_lacks_nothing() -> None:
    assert missing().packages == ()


def test_torch_comes_from_its_extension_and_the_rest_from_pip(
    installs: list[tuple[str, Any]], installed: set[str], pytorch: Any
) -> None:
    installed.update({"numpy", "scipy"})
    install_dependencies()
    (first, second) = installs
    assert first == ("torch", ">=2.10")
    assert second[0] == "pip_ensure"
    assert "blosc2>=3.0" in second[1]
    assert not {"numpy>=1.26", "scipy>=1.11", TORCH} & set(second[1])
    install_dependencies()
    assert len(installs) == 2


def test_a_declined_question_installs_nothing(installs: list[Any], pytorch: Any) -> None:
    pytorch.answer = False
    with pytest.raises(RuntimeError, match="PyTorch was not installed"):
        install_dependencies()
    assert installs == []


def test_without_the_pytorch_extension_the_way_out_is_named(
    installs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "PyTorchUtils":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RuntimeError, match="Extensions Manager"):
        install_dependencies()
    assert installs == []


def test_a_wheel_folder_needs_no_network(
    installs: list[tuple[str, Any]], questions: list[str], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"no \.whl files"):
        install_dependencies(tmp_path)
    (tmp_path / "numpy-2.4.6-py3-none-any.whl").touch()
    install_dependencies(str(tmp_path))
    ((name, words),) = installs
    assert name == "pip_install"
    assert words[:5] == ["--no-index", "--find-links", str(tmp_path), "--only-binary", ":all:"]
    assert TORCH in words
    assert len(questions) == 1
    assert "Nothing is downloaded" in questions[0]
    assert TORCH in questions[0]


def test_a_wheel_folder_is_asked_about_too(
    installs: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy-2.4.6-py3-none-any.whl").touch()
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_, **__: False)
    with pytest.raises(RuntimeError, match="declined"):
        install_dependencies(tmp_path)
    assert installs == []


def test_failed_installations_are_told(
    packaging: Any, installed: set[str], pytorch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip install")

    monkeypatch.setattr(packaging, "pip_ensure", fail)
    with pytest.raises(RuntimeError, match="Python console"):
        install_dependencies()
    monkeypatch.setattr(packaging, "pip_ensure", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match=r"still not installed: numpy>=1\.26"):
        install_dependencies()


def test_slicers_own_tests_install_nothing(
    installs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    application = types.SimpleNamespace(testingEnabled=lambda: True)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    with pytest.raises(RuntimeError, match="must be installed first"):
        install_dependencies()
    assert installs == []


def test_an_old_slicer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    with pytest.raises(RuntimeError, match=r"5\.12"):
        missing()


def test_torch_is_the_one_of_pyproject(project_folder: Path) -> None:
    project = tomllib.loads((project_folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert TORCH in project["project"]["dependencies"]


def test_the_box_opens_where_something_is_missing_and_installs(
    module_widget: Any,
    qt_application: Any,
    installed: set[str],
    installs: list[tuple[str, Any]],
    questions: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(SelfConfiguringSegmentationLogic, "installDependencies", INSTALL)
    ui = module_widget.setup_panel._ui
    module_widget.enter()
    assert ui.setupBox.collapsed is False
    assert ui.statusLabel.text.startswith("Not installed yet: torch, numpy")
    qt_application.processEvents()
    picture(module_widget, "setup-missing", tmp_path)
    (tmp_path / "numpy-2.4.6-py3-none-any.whl").touch()
    ui.wheelFolder.currentPath = str(tmp_path)
    ui.installButton.click()
    assert [name for name, _ in installs] == ["pip_install"]
    assert ui.statusLabel.text == "Everything is installed."
    assert ui.installButton.enabled is False
    assert ui.setupBox.collapsed is True
