"""A folder of segmentations as the list that a reviewer works through, the worst first.

Reads what `selfseg predict` writes (label maps and predictions.json), and takes plain folders of
label maps or `.seg.nrrd` files too. Looks at names and notes only, never at voxels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..domain.errors import FileFormatError, ImageError, ProjectError
from ..domain.labels import Label, LabelScheme

PREDICTIONS_FILE = "predictions.json"
SCHEMA_NAME = "selfseg.predictions"
DATASET_FILE = "dataset.json"
IMAGE_FOLDER = "images"

ENDINGS = (
    ".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff", ".bmp",
)  # fmt: skip
"""Of label maps; longer ones come before those that they end with."""

IMAGE_ENDINGS = (*ENDINGS, ".jpg", ".jpeg")

MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Expectation:
    """What is expected of one structure; None where nothing can be said."""

    name: str
    dice: float | None = None
    hd95_mm: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReviewCase:
    """One segmentation to look at.

    Args:
        identifier: the case's name, usable as a file name.
        label_map: its file: a label map or a `.seg.nrrd`.
        images: names or paths of its images as they were noted, one per channel; none where
            nobody has noted any.
        sha256: of the label map when it was made; "" where unknown.
        dice: predicted, mean over the structures.
        hd95_mm: predicted, mean over the structures.
        doubt: mean entropy of the probabilities; ranks cases of which nothing else is known.
        structures: what is expected of each.
        reasons: why the case is flagged.
        note: how far the prediction of its quality can be trusted, where it is little.
    """

    identifier: str
    label_map: Path
    images: tuple[str, ...] = ()
    sha256: str = ""
    dice: float | None = None
    hd95_mm: float | None = None
    doubt: float | None = None
    structures: tuple[Expectation, ...] = ()
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def is_flagged(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.reasons)

    @property
    def worst_structure(self) -> str:
        """The structure to look at first; "" where none stands out."""
        flagged = [found for found in self.structures if found.reasons]
        known = flagged or [found for found in self.structures if found.dice is not None]
        if not known:
            return ""
        return min(known, key=lambda found: -1.0 if found.dice is None else found.dice).name


@dataclass(frozen=True)
class ReviewFolder:
    """A folder to review.

    Args:
        folder: of the segmentations.
        cases: the worst first; see `rank`.
        labels: what label values mean; None where the folder does not say it.
        model: name of the model that made them, "" where unknown.
    """

    folder: Path
    cases: tuple[ReviewCase, ...]
    labels: LabelScheme | None = None
    model: str = ""


def read_review_folder(folder: Path) -> ReviewFolder:
    """Lists the cases of a folder.

    Raises:
        ProjectError: there is no such folder, or nothing in it that can be reviewed.
        FileFormatError: predictions.json or dataset.json is damaged or of another kind.
    """
    if not folder.is_dir():
        raise ProjectError(
            "this folder cannot be reviewed",
            expected="a folder of segmentations, as `selfseg predict` writes it",
            found="no such folder",
            cure="choose the folder that was given as output",
            path=folder,
        )
    notes = _read_object(folder / PREDICTIONS_FILE)
    _check_schema(folder / PREDICTIONS_FILE, notes)
    dataset = _read_object(folder / DATASET_FILE)
    if notes:
        cases = [
            _case(folder, name, entry)
            for name, entry in _entries(notes.get("cases"))
            if is_plain_name(name) and is_plain_name(str(entry.get("file", "")))
        ]
    else:
        cases = [
            ReviewCase(case_name(path), path)
            for path in sorted(folder.iterdir())
            if path.is_file() and case_name(path) and not path.name.startswith(".")
        ]
    if not cases:
        raise ProjectError(
            "there is nothing to review in this folder",
            expected=f"label maps and {PREDICTIONS_FILE}, or label maps alone",
            found="no segmentation",
            cure="choose the folder that was given to `selfseg predict` as output",
            path=folder,
        )
    return ReviewFolder(folder, rank(cases), _scheme(folder, notes, dataset), _model(notes))


def rank(cases: Sequence[ReviewCase]) -> tuple[ReviewCase, ...]:
    """The worst first: flagged cases, then by predicted Dice, then by the model's doubt.

    Cases of which nothing is known come after those that are flagged: nobody vouches for them.
    """

    def place(case: ReviewCase) -> tuple[bool, float, float, str]:
        dice = case.dice if case.dice is not None else (0.0 if case.doubt is None else 1.0)
        return (not case.is_flagged, dice, -(case.doubt or 0.0), case.identifier)

    return tuple(sorted(cases, key=place))


def image_files(case: ReviewCase, folder: Path, chosen: Path | None = None) -> tuple[Path, ...]:
    """The images of a case, one per channel.

    Args:
        case: of the folder.
        folder: of the segmentations.
        chosen: the folder of images that the user has named.

    Raises:
        ImageError: they are not there.
    """
    places = [place for place in (chosen, folder / IMAGE_FOLDER, folder) if place is not None]
    noted = [Path(name) for name in case.images]
    if noted and chosen is None and all(path.is_absolute() and path.is_file() for path in noted):
        return tuple(noted)
    for place in places:
        if noted:
            found = tuple(place / path.name for path in noted)
            if all(path.is_file() and path != case.label_map for path in found):
                return found
        elif place.is_dir() and (found := _by_name(case, place)):
            return found
    raise ImageError(
        f"the image of {case.identifier} was not found",
        expected=", ".join(path.name for path in noted)
        or f"{case.identifier}_0000, or {case.identifier}, in the folder of images",
        found="no such file in " + ", ".join(str(place) for place in places),
        cure="choose the folder that holds the images",
    )


def case_name(path: Path) -> str:
    """The case that a label map's file stands for; "" where it is none."""
    lower = path.name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), "")
    return path.name[: -len(ending)] if ending else ""


def is_plain_name(name: str) -> bool:
    """Whether a name from a file can be used in a path without leading elsewhere."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0")


def _by_name(case: ReviewCase, place: Path) -> tuple[Path, ...]:
    """<case>_0000, <case>_0001, ... or <case>, with any ending of images."""
    numbered: list[Path] = []
    for number in range(100):
        stem = f"{case.identifier}_{number:04d}"
        found = _with_ending(place, stem)
        if found is None:
            break
        numbered.append(found)
    if numbered:
        return tuple(numbered)
    single = _with_ending(place, case.identifier)
    return () if single is None or single == case.label_map else (single,)


def _with_ending(place: Path, stem: str) -> Path | None:
    return next(
        (path for ending in IMAGE_ENDINGS if (path := place / (stem + ending)).is_file()), None
    )


def _case(folder: Path, name: str, entry: Mapping[str, Any]) -> ReviewCase:
    quality = entry.get("quality")
    quality = quality if isinstance(quality, dict) else {}
    confidence = entry.get("confidence")
    confidence = confidence if isinstance(confidence, dict) else {}
    structures = tuple(
        Expectation(
            structure,
            _number(found.get("dice")),
            _number(found.get("hd95_mm")),
            tuple(str(reason) for reason in found.get("reasons") or ()),
        )
        for structure, found in _entries(quality.get("structures"))
    )
    reasons = tuple(f"{found.name}: {text}" for found in structures for text in found.reasons)
    own = quality.get("reasons")
    return ReviewCase(
        identifier=name,
        label_map=folder / str(entry["file"]),
        images=tuple(_image_name(image) for image in entry.get("images") or ()),
        sha256=str(entry.get("sha256", "")),
        dice=_number(quality.get("dice")),
        hd95_mm=_number(quality.get("hd95_mm")),
        doubt=_number(confidence.get("entropy")),
        structures=structures,
        reasons=tuple(map(str, own)) if isinstance(own, list) and own else reasons,
        note=str(quality.get("note", "")),
    )


def _image_name(image: Any) -> str:
    """A noted image: {"name": ...}, with "path" where its folder was noted as well."""
    if isinstance(image, dict):
        return str(image.get("path") or image.get("name", ""))
    return str(image)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None


def _entries(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(value, dict):
        return []
    return [(str(name), entry) for name, entry in value.items() if isinstance(entry, dict)]


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("the file is too large to be one of these")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} at the top")
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(
            "the file cannot be read",
            expected="JSON text as selfseg writes it",
            found=f"{type(error).__name__}: {error}",
            cure="restore it from a copy, or predict again; without the file the folder can be "
            "reviewed as plain label maps",
            path=path,
        ) from error
    return found


def _check_schema(path: Path, notes: Mapping[str, Any]) -> None:
    if not notes:
        return
    name, _, version = str(notes.get("schema", "")).partition("/")
    if name != SCHEMA_NAME or not version.isdecimal():
        raise FileFormatError(
            "the file is of another kind",
            expected=f'"schema": "{SCHEMA_NAME}/..."',
            found=str(notes.get("schema", "no schema")),
            cure="choose a folder that `selfseg predict` has written",
            path=path,
        )


def _model(notes: Mapping[str, Any]) -> str:
    for _, entry in _entries(notes.get("cases")):
        provenance = entry.get("provenance")
        if isinstance(provenance, dict):
            return str(provenance.get("model", ""))
    return ""


def _scheme(
    folder: Path, notes: Mapping[str, Any], dataset: Mapping[str, Any]
) -> LabelScheme | None:
    try:
        return _labels(notes.get("labels")) or _labels_of_dataset(dataset)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            "the structures' names cannot be read",
            expected='"labels" with a name and values for each structure',
            found=f"{type(error).__name__}: {error}",
            cure="correct the entry, or remove it and choose the model",
            path=folder / (PREDICTIONS_FILE if notes.get("labels") else DATASET_FILE),
        ) from error


def _labels(raw: Any) -> LabelScheme | None:
    """A scheme written field by field, as selfseg's own files hold it."""
    if not isinstance(raw, dict):
        return None
    if "foreground" not in raw:
        return LabelScheme.from_mapping(raw)
    order = raw.get("regions_class_order")
    return LabelScheme(
        tuple(
            Label(
                str(label["name"]),
                tuple(int(value) for value in label["values"]),
                None if label.get("colour") is None else _colour(label["colour"]),
                label.get("code"),
            )
            for label in raw["foreground"]
        ),
        None if order is None else tuple(int(value) for value in order),
        raw.get("ignore"),
    )


def _colour(raw: Sequence[Any]) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in raw)
    return red, green, blue


def _labels_of_dataset(dataset: Mapping[str, Any]) -> LabelScheme | None:
    """From nnU-Net's dataset.json, which its own predictions come with."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict):
        return None
    mapping = {
        str(name): [int(v) for v in value] if isinstance(value, list) else int(value)
        for name, value in labels.items()
    }
    return LabelScheme.from_mapping(mapping, dataset.get("regions_class_order"))
