"""PySide6 seen as PythonQt shows Qt to Slicer's modules.

Properties are attributes that can be read and assigned, signals are connected by their C++
signature, and whatever does not exist is refused. Plain PySide6 would accept
`button.enabled = False` and do nothing, so a test against it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from PySide6 import QtCore, QtWidgets
except ImportError as error:  # said loudly: without it no panel is tested
    raise ImportError(
        "PySide6 cannot be imported, so the panels cannot be tested. Install it with "
        "`pip install PySide6-Essentials`; on Linux it also needs the system libraries "
        f"libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 and a font. ({error})"
    ) from error


def application() -> QtWidgets.QApplication:
    """The one QApplication of this process."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication(["tests"])


def adapt(value: Any) -> Any:
    """Wraps Qt objects, also in lists; anything else is passed on as it is."""
    if isinstance(value, QtCore.QObject | QtWidgets.QLayout):
        return PythonQtObject(value)
    if isinstance(value, list | tuple):
        return type(value)(adapt(entry) for entry in value)
    return value


def unwrap(value: Any) -> Any:
    """The PySide6 object behind a wrapped one."""
    return object.__getattribute__(value, "_object") if isinstance(value, PythonQtObject) else value


class PythonQtObject:
    """One QObject with PythonQt's manners."""

    def __init__(self, wrapped: QtCore.QObject) -> None:
        object.__setattr__(self, "_object", wrapped)

    def __getattr__(self, name: str) -> Any:
        wrapped = unwrap(self)
        if name == "name":
            return wrapped.objectName()
        if _has_property(wrapped, name):
            return adapt(wrapped.property(name))
        if name.startswith("_") or not callable(getattr(wrapped, name, None)):
            raise AttributeError(f"{_kind(wrapped)} has no attribute {name!r}")
        if isinstance(getattr(type(wrapped), name, None), QtCore.Signal):
            raise AttributeError(f"{name!r} is a signal of {_kind(wrapped)}: use connect")
        method = getattr(wrapped, name)
        return lambda *arguments: adapt(method(*map(unwrap, arguments)))

    def __setattr__(self, name: str, value: Any) -> None:
        wrapped = unwrap(self)
        if name == "name":
            name = "objectName"
        if not _has_property(wrapped, name):
            raise AttributeError(f"{_kind(wrapped)} has no property {name!r} to assign to")
        if not wrapped.setProperty(name, unwrap(value)):
            raise TypeError(f"{_kind(wrapped)}.{name} does not take {value!r}")

    def __eq__(self, other: object) -> bool:
        return unwrap(self) is unwrap(other)

    def __hash__(self) -> int:
        return id(unwrap(self))

    def className(self) -> str:
        """The C++ name of the class."""
        return _kind(unwrap(self))

    def connect(self, signature: str, receiver: Callable[..., object]) -> None:
        """Connects a signal named by its C++ signature, as "clicked(bool)"."""
        wrapped = unwrap(self)
        own = getattr(wrapped, "CPP_SIGNALS", {})
        if signature in own:
            own_signal = getattr(wrapped, own[signature])
            own_signal.connect(lambda *arguments: receiver(*map(adapt, arguments)))
            return
        meta = wrapped.metaObject()
        normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
        if meta.indexOfSignal(normal) < 0:
            raise ValueError(f"{_kind(wrapped)} has no signal {signature!r}")
        name, _, arguments = signature.rstrip(")").partition("(")
        count = len([argument for argument in arguments.split(",") if argument])
        getattr(wrapped, name).connect(
            lambda *values: receiver(*(adapt(value) for value in values[:count]))
        )


def _has_property(wrapped: QtCore.QObject, name: str) -> bool:
    return wrapped.metaObject().indexOfProperty(name) >= 0


def _kind(wrapped: QtCore.QObject) -> str:
    return type(wrapped).__name__
