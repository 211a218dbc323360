"""PySide6 seen as PythonQt shows Qt to Slicer's modules.

| | PythonQt, and here |
|---|---|
| properties of QObjects | attributes that can be read and assigned; a call fails |
| items, colours, sizes and other values | methods only; nothing can be assigned |
| enums | `qt.Qt.Checked`, a number; the long form `qt.Qt.CheckState.Checked` is refused |
| signals | connected by their C++ signature, as "clicked(bool)" |
| what does not exist | refused |

Plain PySide6 would accept `button.enabled = False` and do nothing, so a test against it would
prove nothing. It also swallows errors raised in receivers: `receivers` keeps them, and the
fixture `module_widget` fails on them.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import sys
from collections.abc import Callable
from typing import Any

from slicer_module.receivers import guarded

try:
    from PySide6 import QtCore, QtWidgets
    from shiboken6 import Shiboken
except ImportError as error:  # said loudly: without it no panel is tested
    raise ImportError(
        "PySide6 cannot be imported, so the panels cannot be tested. Install it with "
        "`pip install PySide6-Essentials`; on Linux it also needs the system libraries "
        f"libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 and a font. ({error})"
    ) from error

if sys.version_info < (3, 12):
    # PySide6 is built for Pythons in which these live for ever and are not counted. In 3.11 each
    # signal and each setter would take a reference away, until the interpreter aborts.
    for _constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1 << 40

CONNECTIONS = "_connections_of_receivers"
"""A dynamic property: the connections live and die with their QObject."""

BLOCKING = {
    "QFileDialog": (
        "getExistingDirectory", "getOpenFileName", "getOpenFileNames", "getSaveFileName",
    ),
    "QInputDialog": ("getText", "getMultiLineText", "getInt", "getDouble", "getItem"),
    "QMessageBox": ("question", "warning", "information", "critical", "about"),
    "QColorDialog": ("getColor",),
}  # fmt: skip
"""Static functions that wait for the user. A test replaces them, for example with
`monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(folder))`; the
functions that ask for files return text (PySide6's return pairs)."""


def application() -> QtWidgets.QApplication:
    """The one QApplication of this process."""
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication(["tests"])


def adapt(value: Any) -> Any:
    """Wraps what belongs to Qt, also in lists; anything else is passed on as it is."""
    if isinstance(value, QtCore.QObject):
        return PythonQtObject(value)
    if isinstance(value, enum.Enum):
        return PythonQtEnum(value)
    if isinstance(value, Shiboken.Object):
        return PythonQtValue(value)
    if type(value) in (list, tuple):
        return type(value)(adapt(entry) for entry in value)
    return value


def unwrap(value: Any) -> Any:
    """The PySide6 object behind a wrapped one."""
    if isinstance(value, PythonQtValue):
        return object.__getattribute__(value, "_object")
    if isinstance(value, PythonQtEnum):
        return value.member
    if type(value) in (list, tuple):
        return type(value)(unwrap(entry) for entry in value)
    return value


class PythonQtEnum(int):
    """A member of an enum, or several members of a flag: a number."""

    member: enum.Enum

    def __new__(cls, member: enum.Enum) -> PythonQtEnum:
        number = super().__new__(cls, member.value)
        number.member = member
        return number

    def __or__(self, other: int) -> Any:
        return self._combined(other, int(self) | int(other))

    def __and__(self, other: int) -> Any:
        return self._combined(other, int(self) & int(other))

    def __invert__(self) -> Any:
        return PythonQtEnum(~self.member) if isinstance(self.member, enum.Flag) else ~int(self)

    __ror__, __rand__ = __or__, __and__

    def _combined(self, other: int, value: int) -> Any:
        return PythonQtEnum(type(self.member)(value)) if isinstance(other, PythonQtEnum) else value


class PythonQtValue:
    """A Qt object that is no QObject, with PythonQt's manners: methods and nothing else."""

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "_object", wrapped)

    def __getattr__(self, name: str) -> Any:
        wrapped = unwrap(self)
        if name.startswith("_") or not callable(getattr(wrapped, name, None)):
            raise AttributeError(f"{_kind(wrapped)} has no attribute {name!r}")
        return _method(wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{_kind(unwrap(self))} has no property {name!r} to assign to")

    def __eq__(self, other: object) -> bool:
        return bool(unwrap(self) == unwrap(other))

    def __hash__(self) -> int:
        return hash(unwrap(self))


class PythonQtObject(PythonQtValue):
    """One QObject with PythonQt's manners."""

    def __getattr__(self, name: str) -> Any:
        wrapped = unwrap(self)
        if name == "name":
            return wrapped.objectName()
        if _has_property(wrapped, name):
            return adapt(wrapped.property(name))
        if isinstance(getattr(type(wrapped), name, None), QtCore.Signal):
            raise AttributeError(f"{name!r} is a signal of {_kind(wrapped)}: use connect")
        return super().__getattr__(name)

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
        signal, count = _signal(wrapped, signature)
        taken = _argument_limit(receiver)
        checked = guarded(receiver, f"{wrapped.objectName() or _kind(wrapped)}: {signature}")

        def pass_on(*values: Any) -> None:
            checked(*(adapt(value) for value in values[:taken]))

        receive = _with_arguments(pass_on, count)
        signal.connect(receive)
        connections = wrapped.property(CONNECTIONS) or _Connections()
        connections.entries.append((signature, receiver, signal, receive))
        wrapped.setProperty(CONNECTIONS, connections)

    def disconnect(self, signature: str, receiver: Callable[..., object]) -> None:
        """Takes back what `connect` did with the same arguments."""
        wrapped = unwrap(self)
        connections = wrapped.property(CONNECTIONS) or _Connections()
        for entry in connections.entries:
            if entry[:2] == (signature, receiver):
                entry[2].disconnect(entry[3])
                connections.entries.remove(entry)
                return
        raise ValueError(f"{_kind(wrapped)}: {signature!r} is not connected with {receiver}")


class _Connections:
    def __init__(self) -> None:
        self.entries: list[tuple[str, Any, Any, Any]] = []


class PythonQtClass:
    """A class of Qt: makes wrapped objects, gives its enums and static functions.

    Assigned attributes take the place of its own, which is how a test answers a dialog.
    """

    def __init__(self, wrapped: type) -> None:
        object.__setattr__(self, "_class", wrapped)
        object.__setattr__(self, "_replaced", {})

    def __call__(self, *arguments: Any) -> Any:
        return adapt(self._class(*map(unwrap, arguments)))

    def __getattr__(self, name: str) -> Any:
        if name in self._replaced:
            return self._replaced[name]
        value = getattr(self._class, name, None)
        if name.startswith("_") or value is None or isinstance(value, enum.EnumType):
            raise AttributeError(f"PythonQt's {self._class.__name__} has no {name!r}")
        if isinstance(value, enum.Enum):
            return PythonQtEnum(value)
        if name in BLOCKING.get(self._class.__name__, ()):
            return _waits_for_the_user(f"{self._class.__name__}.{name}")
        return _method(self._class, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._replaced[name] = value

    def __delattr__(self, name: str) -> None:
        del self._replaced[name]


def _method(owner: Any, name: str) -> Callable[..., Any]:
    if name in ("exec", "exec_") and isinstance(owner, QtCore.QObject):
        return _waits_for_the_user(f"{_kind(owner)}.{name}")
    method = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        return adapt(method(*map(_argument, arguments)))

    return call


def _argument(value: Any) -> Any:
    plain = unwrap(value)
    if callable(plain) and not isinstance(plain, type | Shiboken.Object):
        return guarded(plain, getattr(plain, "__qualname__", repr(plain)))
    return plain


def _waits_for_the_user(name: str) -> Callable[..., Any]:
    """Nobody is there to answer, so the test must: with `monkeypatch.setattr`."""

    def refuse(*_: Any) -> Any:
        answer = answers.get(name)
        if answer is None:
            raise AssertionError(
                f"{name} waits for the user: the test must answer in qt_adapter.answers[{name!r}]"
            )
        return answer(*_)

    return refuse


answers: dict[str, Callable[..., Any]] = {}
"""What dialogs and menus answer: "QMenu.exec_" -> function of its arguments; by tests, with
`monkeypatch.setitem`."""


def _with_arguments(function: Callable[..., None], count: int | None) -> Callable[..., None]:
    """A function that takes just so many: PySide6 gives one that takes any number none at all."""
    return {
        0: lambda: function(),
        1: lambda a: function(a),
        2: lambda a, b: function(a, b),
        3: lambda a, b, c: function(a, b, c),
        4: lambda a, b, c, d: function(a, b, c, d),
        None: function,
    }[count]


def _argument_limit(receiver: Callable[..., object]) -> int | None:
    """PythonQt gives a receiver no more arguments than it takes; None where it takes any number."""
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except ValueError:  # built in
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(parameter.kind in (0, 1) for parameter in parameters)


def _signal(wrapped: QtCore.QObject, signature: str) -> tuple[Any, int | None]:
    """The signal, and the number of its arguments (None: unknown)."""
    own = getattr(wrapped, "CPP_SIGNALS", {})
    if signature in own:
        return getattr(wrapped, own[signature]), None
    normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if wrapped.metaObject().indexOfSignal(normal) < 0:
        raise ValueError(f"{_kind(wrapped)} has no signal {signature!r}")
    name, _, arguments = signature.rstrip(")").partition("(")
    return getattr(wrapped, name), len([text for text in arguments.split(",") if text])


def _has_property(wrapped: QtCore.QObject, name: str) -> bool:
    return wrapped.metaObject().indexOfProperty(name) >= 0


def _kind(wrapped: Any) -> str:
    return type(wrapped).__name__
