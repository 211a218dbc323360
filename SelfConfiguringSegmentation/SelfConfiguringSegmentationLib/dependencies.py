"""The packages that the child process needs, installed when the user first presses Apply.

torch comes from the PyTorch extension, which knows the right build for the machine; the rest
is in Resources/requirements.txt. Nothing is downloaded without a question. Computers without
internet install from a folder of wheels, torch too. Nothing here imports torch: whether it is
there is read from the metadata of the installation.
"""

from __future__ import annotations

import importlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .paths import resources_folder

REQUESTER = "Self-Configuring Segmentation"
TORCH = "torch>=2.10"
"""As in pyproject.toml; a test compares them."""


@dataclass(frozen=True)
class Missing:
    """What is not installed yet: requirements as pip takes them, torch first."""

    packages: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.packages)

    @property
    def text(self) -> str:
        """For the user; empty where nothing is missing."""
        if not self.packages:
            return ""
        return _(
            "Not installed yet: {packages}. You are asked before anything is installed."
        ).format(packages=", ".join(package.partition(">=")[0] for package in self.packages))


def missing() -> Missing:
    """Looks what is installed, in milliseconds: no process is started, nothing is imported.

    Raises:
        RuntimeError: this Slicer is too old.
    """
    packaging = _packaging()
    requirements = packaging.load_requirements(resources_folder() / "requirements.txt")
    wanted = [TORCH, *map(str, requirements)]
    return Missing(tuple(name for name in wanted if not packaging.pip_check(name)))


def install_dependencies(wheel_folder: str | Path = "") -> None:
    """Installs what is missing; returns at once where nothing is.

    Args:
        wheel_folder: everything is installed from the wheels in it, and nothing is downloaded.

    Raises:
        RuntimeError: the user declined, the installation failed, or the PyTorch extension or a
            wheel is not there.
    """
    needed = missing()
    if not needed:
        return
    if _testing():
        raise RuntimeError(
            _("{packages} must be installed first; Slicer's own tests install nothing").format(
                packages=", ".join(needed.packages)
            )
        )
    try:
        if wheel_folder:
            _install_from_folder(needed, Path(wheel_folder))
        else:
            _install_from_the_internet(needed)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            _(
                "the packages could not be installed: the Python console shows why "
                "(no connection, or no space on the disk, most often)"
            )
        ) from error
    importlib.invalidate_caches()
    if left := missing():
        raise RuntimeError(
            _("still not installed: {packages}. Start Slicer again and try once more").format(
                packages=", ".join(left.packages)
            )
        )


def _install_from_the_internet(needed: Missing) -> None:
    if TORCH in needed.packages:
        _install_torch()
    others = [name for name in needed.packages if name != TORCH]
    if others:
        _packaging().pip_ensure(others, requester=REQUESTER)


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(
            _(
                "the PyTorch extension is not installed: install it in the Extensions Manager "
                "and start Slicer again, or choose a folder of wheels under Installation"
            )
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    version = TORCH.removeprefix("torch")
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=version) is None:
        raise RuntimeError(_("PyTorch was not installed, so nothing can be computed"))


def _install_from_folder(needed: Missing, folder: Path) -> None:
    import slicer

    if not any(folder.glob("*.whl")):
        raise RuntimeError(_("the wheel folder {folder} holds no .whl files").format(folder=folder))
    question = _(
        "The missing Python packages are installed from {folder}. Nothing is downloaded. "
        "This changes Slicer's Python environment. Continue?"
    ).format(folder=folder)
    if not slicer.util.confirmOkCancelDisplay(
        question, REQUESTER, detailedText="\n".join(needed.packages)
    ):
        raise RuntimeError(_("the installation was declined"))
    _packaging().pip_install(
        # Only wheels: building from source would run code and want a compiler.
        ["--no-index", "--find-links", str(folder), "--only-binary", ":all:", *needed.packages],
        requester=REQUESTER,
    )


def _packaging() -> Any:
    try:
        return importlib.import_module("slicer.packaging")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            _("this Slicer cannot install Python packages: version 5.12 or later is needed")
        ) from error


def _testing() -> bool:
    import slicer

    application = getattr(slicer, "app", None)
    return application is not None and bool(application.testingEnabled())
