"""What the module needs to know of a model before and after it runs: name, channels, structures.

Read with the standard library alone: a model can be chosen before any package is installed. What
is read here is only shown; whoever predicts reads it again and checks every byte.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selfseg.domain.anatomy import appearances_of
from selfseg.domain.appearance import Appearance, Code
from selfseg.domain.errors import ModelError, SelfsegError
from selfseg.domain.labels import Label, LabelScheme

MAX_BYTES = 256 * 2**20

Form = Literal["project", "bundle", "file", "onnx"]
"""A project's folder, a model bundle as a folder or packed as one file, a folder of ONNX graphs."""

BUNDLE_ENDING = ".selfseg"


@dataclass(frozen=True)
class Model:
    """A trained model, as far as the interface shows it.

    Args:
        folder: where it lies; a file, if its form is "file".
        name: what people call it.
        channel_names: in the order in which images are given.
        labels: its structures.
        appearances: colours and codes, one per structure.
        version: "" where it has none.
        summary: what it segments in what.
        licence: of the weights; "" where nobody has said.
        dice: mean over the structures on cases that it had not seen; None where unknown.
        dice_by_structure: likewise.
        folds: of its networks; none where it is not trained.
        form: what lies in `folder`.
    """

    folder: Path
    name: str
    channel_names: tuple[str, ...]
    labels: LabelScheme
    appearances: tuple[Appearance, ...] = ()
    version: str = ""
    summary: str = ""
    licence: str = ""
    dice: float | None = None
    dice_by_structure: Mapping[str, float] = field(default_factory=dict)
    folds: tuple[str, ...] = ()
    form: Form = "project"

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.name} {self.version}".rstrip()

    @property
    def structure_names(self) -> tuple[str, ...]:
        """In the order of the label scheme."""
        return tuple(label.name for label in self.labels.foreground)


def read_model(folder: Path) -> Model:
    """Reads the description of a model of any form.

    Raises:
        ModelError: there is no model, or it cannot be read.
    """
    folder = Path(folder)
    if folder.suffix.lower() == BUNDLE_ENDING and folder.is_file():
        return _read(folder, lambda: _bundle(folder, _PackedBundle(folder), "file"))
    if (folder / "bundle.json").is_file():
        return _read(folder / "bundle.json", lambda: _bundle(folder, _Folder(folder), "bundle"))
    if (folder / "onnx.json").is_file():
        return _read(folder / "onnx.json", lambda: _onnx(folder))
    plans = sorted(folder.glob("plans/*.json"))
    if not plans:
        raise ModelError(
            "this is no model folder",
            expected="a project that `selfseg run` has made, a model bundle, or ONNX graphs",
            found="none of them" if folder.is_dir() else "no such folder",
            cure="choose another folder; nnU-Net models must be imported first",
            path=folder,
        )
    return _read(plans[0], lambda: _project(folder, plans[0]))


def _read(path: Path, read: Any) -> Model:
    try:
        model: Model = read()
    except SelfsegError:
        raise
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ModelError(
            "the model's description cannot be read",
            expected="a model written by selfseg, with its channels and labels",
            found=f"{type(error).__name__}: {error}",
            cure="restore the file, or import or train the model again",
            path=path,
        ) from error
    return model


class _Folder:
    """The JSON files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Any:
        """A file's content; None where there is no such file."""
        path = self._folder / name
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{name} is too large")
        return json.loads(path.read_text(encoding="utf-8"))


class _PackedBundle:
    """The JSON files of a bundle in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str) -> Any:
        """A file's content; None where there is no such file."""
        with zipfile.ZipFile(self._path) as archive:
            try:
                entry = archive.getinfo(name)
            except KeyError:
                return None
            with archive.open(entry) as stream:
                # The size that the archive states is not trusted.
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ValueError(f"{name} is too large")
            return json.loads(data)


def _bundle(folder: Path, files: _Folder | _PackedBundle, form: Form) -> Model:
    raw = files.read("bundle.json")
    scores = files.read("scores.json") or {}
    return _described(folder, raw, scores, form)


def _onnx(folder: Path) -> Model:
    return _described(folder, _Folder(folder).read("onnx.json"), {}, "onnx")


def _described(folder: Path, raw: Any, scores: Any, form: Form) -> Model:
    card, description = raw["card"], raw["description"]
    labels = _labels(description["labels"])
    means = scores.get("mean", {})
    dice = {
        label.name: float(value)
        for label in labels.foreground
        if (value := means.get(label.key, {}).get("Dice")) is not None
    }
    mean = scores.get("foreground_mean", {}).get("Dice")
    return Model(
        folder=folder,
        name=str(card["name"]),
        channel_names=tuple(map(str, description["channel_names"])),
        labels=labels,
        appearances=tuple(_appearance(entry) for entry in raw["appearances"]),
        version=str(card["version"]),
        summary=str(card.get("summary", "")),
        licence=str(card.get("licence", "")),
        dice=None if mean is None else float(mean),
        dice_by_structure=dice,
        folds=_folds_of(raw["members"]),
        form=form,
    )


def _project(folder: Path, plan: Path) -> Model:
    """All plans of a project are made for the same data set, so any of them names its labels."""
    files = _Folder(folder)
    description = files.read(f"plans/{plan.name}")["description"]
    labels = _labels(description["labels"])
    selection = files.read("selection.json") or {}
    dice = selection.get("dice")
    folds = _folds_of(selection.get("members", ()))
    return Model(
        folder=folder,
        name=str(description["name"]),
        channel_names=tuple(map(str, description["channel_names"])),
        labels=labels,
        appearances=appearances_of(labels),
        licence=str(description.get("licence", "")),
        dice=None if dice is None else float(dice),
        dice_by_structure={
            str(name): float(value)
            for name, value in selection.get("dice_by_structure", {}).items()
            if value is not None
        },
        folds=folds or _trained_folds(folder),
        form="project",
    )


def _folds_of(members: Sequence[Any]) -> tuple[str, ...]:
    """The folds that every member has."""
    (first, *others) = [tuple(map(str, member["folds"])) for member in members] or [()]
    return tuple(fold for fold in first if all(fold in other for other in others))


def _trained_folds(folder: Path) -> tuple[str, ...]:
    found = {
        weights.parent.name.removeprefix("fold_")
        for weights in folder.glob("runs/*/*/fold_*/weights_final.safetensors")
    }
    return tuple(sorted(found - {"all"}, key=lambda fold: fold.zfill(9))) or tuple(sorted(found))


def _labels(raw: Mapping[str, Any]) -> LabelScheme:
    order = raw.get("regions_class_order")
    return LabelScheme(
        foreground=tuple(
            Label(
                name=str(label["name"]),
                values=tuple(int(value) for value in label["values"]),
                colour=_colour(label.get("colour")),
                code=label.get("code"),
            )
            for label in raw["foreground"]
        ),
        regions_class_order=None if order is None else tuple(int(value) for value in order),
        ignore=raw.get("ignore"),
    )


def _appearance(raw: Mapping[str, Any]) -> Appearance:
    colour = _colour(raw["colour"])
    if colour is None:
        raise ValueError("a structure has no colour")
    codes = (_code(raw.get(part)) for part in ("category", "type", "modifier"))
    return Appearance(str(raw["name"]), colour, *codes)


def _code(raw: Any) -> Code | None:
    return None if raw is None else Code(raw["scheme"], raw["value"], raw["meaning"])


def _colour(raw: Any) -> tuple[int, int, int] | None:
    if raw is None:
        return None
    red, green, blue = (int(part) for part in raw)
    return red, green, blue
