"""What Slicer's application adds to the `slicer` package: a scene and the logic of its modules.

`slicer-core` brings MRML and the logic classes for real; only their owner is missing.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any


class Module:
    """A loaded module, as far as its logic."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def bind_scene(cache_folder: Path | None = None) -> None:
    """Gives the `slicer` package an empty scene, and the modules that segmentations need.

    Args:
        cache_folder: where Slicer's downloads go.
    """
    import slicer

    from . import packaging, scripted_loadable_module

    if "slicer.i18n" not in sys.modules:
        scripted_loadable_module.install()
        packaging.install()
    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkMRMLApplicationLogic()
    application_logic.SetMRMLScene(scene)
    if cache_folder is not None:
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(str(cache_folder))
        scene.SetCacheManager(cache)
    slicer.mrmlScene = scene
    slicer.modules = types.SimpleNamespace()
    for name, kind in (
        ("volumes", slicer.vtkSlicerVolumesLogic),
        ("segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
    ):
        logic = kind()
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        setattr(slicer.modules, name, Module(logic))
    # Without a scene it does not look for Slicer's own lists, which are not in slicer-core.
    slicer.modules.terminologies = Module(slicer.vtkSlicerTerminologiesModuleLogic())
