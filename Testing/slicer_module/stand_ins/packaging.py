"""Stands in for `slicer.packaging` of Slicer 5.12, as far as it is used."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

from packaging.requirements import Requirement


def load_requirements(path: str | Path) -> list[Requirement]:
    """Each line that is neither empty nor a comment nor an option of pip's."""
    lines = map(str.strip, Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def pip_check(req: str | Requirement) -> bool:
    """Whether it is installed in a version that fits, by the metadata alone."""
    requirement = Requirement(str(req))
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(
    requirements: str | Requirement | list[str | Requirement],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    raise AssertionError("tests install nothing: replace slicer.packaging.pip_ensure")


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: object = None,
    completedCallback: object = None,
) -> list[str] | None:
    raise AssertionError("tests install nothing: replace slicer.packaging.pip_install")


def install() -> None:
    """Makes `import slicer.packaging` work."""
    import slicer

    module = types.ModuleType("slicer.packaging")
    for function in (load_requirements, pip_check, pip_ensure, pip_install):
        setattr(module, function.__name__, function)
    sys.modules[module.__name__] = module
    slicer.packaging = module
