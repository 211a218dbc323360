"""Where things are: installed, everything lies beside the module; in the source tree it does not.

| | installed | source tree |
|---|---|---|
| selfseg | `<module folder>/selfseg` | `<module folder>/../Logic/selfseg` |
| Resources | `<module folder>/Resources` | `<module folder>/../Resources` |

This is the one place that knows the difference, and the one place that changes `sys.path`.
"""

from __future__ import annotations

import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[1]


def logic_folder(module_folder: Path = MODULE_FOLDER) -> Path:
    """The folder that holds the package `selfseg`; also the child process's PYTHONPATH.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    return _first_with("selfseg/__init__.py", (module_folder, module_folder.parent / "Logic"))


def resources_folder(module_folder: Path = MODULE_FOLDER) -> Path:
    """The folder that holds UI/, Icons/ and requirements.txt.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    inside = _first_with("Resources/requirements.txt", (module_folder, module_folder.parent))
    return inside / "Resources"


def make_selfseg_importable() -> None:
    """Puts `selfseg`'s folder on `sys.path`, where Slicer loads the module from the source tree.

    Installed, the folder is on the path already, because Slicer loads the module from it.
    """
    folder = str(logic_folder())
    if folder not in sys.path:
        sys.path.append(folder)


def _first_with(name: str, folders: tuple[Path, ...]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise FileNotFoundError(
        f"{name} is in none of {', '.join(map(str, folders))}: "
        "install the extension SelfConfiguringSegmentation again"
    )
