"""The packages that the child process needs, installed when the user first presses Apply.

torch comes from the PyTorch extension, which knows the right build for the machine; the rest
is in Resources/requirements.txt. Nothing is downloaded without a question.
"""

from __future__ import annotations

from .paths import resources_folder

REQUESTER = "Self-Configuring Segmentation"


def install_dependencies() -> None:
    """Installs what is missing; returns at once where nothing is.

    Raises:
        RuntimeError: the user declined, or the PyTorch extension is not installed.
    """
    import slicer

    _install_torch()
    requirements = slicer.packaging.load_requirements(resources_folder() / "requirements.txt")
    slicer.packaging.pip_ensure(requirements, requester=REQUESTER)


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "the PyTorch extension is not installed: install it in the Extensions Manager "
            "and start Slicer again"
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if not logic.torchInstalled() and logic.installTorch(askConfirmation=True) is None:
        raise RuntimeError("PyTorch was not installed, so nothing can be segmented")
