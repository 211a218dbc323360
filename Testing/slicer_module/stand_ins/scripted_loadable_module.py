"""Stands in for `slicer.ScriptedLoadableModule`, which `slicer-core` does not bring."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import types
import unittest
from typing import Any


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def onReload(self) -> None:
        """Runs the module's file again, then `cleanup` of the old widget; setting up is the
        caller's, who owns the window."""
        path = sys.modules[self.moduleName].__file__
        spec = importlib.util.spec_from_file_location(self.moduleName, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.moduleName] = module
        spec.loader.exec_module(module)
        self.cleanup()


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        """The one of the scene; it is made where there is none."""
        import slicer

        scene, kind = slicer.mrmlScene, "vtkMRMLScriptedModuleNode"
        found = scene.GetSingletonNode(self.moduleName, kind)
        if found is not None:
            return found
        node = scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(scene.GenerateUniqueName(self.moduleName))
        return scene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    pass


def install() -> None:
    """Makes `from slicer.ScriptedLoadableModule import ...` work."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for kind in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, kind.__name__, kind)
    sys.modules[module.__name__] = module
    translation = types.ModuleType("slicer.i18n")
    translation.tr = tr
    translation.translate = translate
    sys.modules[translation.__name__] = translation


def tr(text: str) -> str:
    """Gives the text back, after what Slicer's own does to find the file's name as context."""
    if not isinstance(text, str):
        raise TypeError(f"only text can be translated, not {text!r}")
    caller = inspect.currentframe().f_back
    inspect.getsourcefile(caller)
    return text


def translate(context: str, text: str) -> str:
    """Gives the text back; the context is a class of Qt's or a module of Slicer's."""
    if not re.fullmatch(r"\w+", context):
        raise ValueError(f"no context of a translation: {context!r}")
    return text
