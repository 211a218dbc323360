"""What dataset.json says: nnU-Net v2's form, its older form and the Decathlon's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..domain.dataset import DatasetDescription, Fault
from ..domain.errors import DatasetError
from ..domain.labels import LabelScheme
from .dataset_appearance import EXAMPLE, with_appearance
from .dataset_appearance import KEY as APPEARANCE
from .image_endings import IMAGE_ENDINGS

FILE_NAME = "dataset.json"

DEFAULT_ENDING = ".nii.gz"
"""What the Decathlon's and nnU-Net v1's data sets, which name no ending, consist of."""

LARGEST_VALUE = 2**15 - 1
"""Of a label: label maps are int16 while they are worked with."""

READERS = (
    "SimpleITKIO",
    "SimpleITKIOWithReorient",
    "NibabelIO",
    "NibabelIOWithReorient",
    "NaturalImage2DIO",
    "Tiff3DIO",
)
"""nnU-Net's readers, whose files we read; those that turn images keep the stored axes here."""


def parse_description(mapping: Mapping[str, Any], folder: Path) -> DatasetDescription:
    """Builds the description from the content of a dataset.json.

    Raises:
        DatasetError: names every problem found.
    """
    description, faults = describe(mapping, folder)
    raise_errors(faults, folder / FILE_NAME)
    assert description is not None  # noqa: S101 - no error means there is one
    return description


def describe(
    mapping: Mapping[str, Any], folder: Path
) -> tuple[DatasetDescription | None, tuple[Fault, ...]]:
    """Builds the description as far as it goes, and lists all that is wrong with it.

    Returns:
        The description (None where an error makes it impossible) and the faults.
    """
    faults = _Faults(folder / FILE_NAME)
    channels = _channels(mapping, faults)
    labels = _labels(mapping, faults)
    ending = _file_ending(mapping, faults)
    count = _training_count(mapping, faults)
    texts = {
        key: _text(mapping, key, faults)
        for key in ("name", "licence", "license", "reference", "overwrite_image_reader_writer")
    }
    reader = texts["overwrite_image_reader_writer"]
    if reader in (None, "", "None"):
        reader = None
    elif reader not in READERS:
        faults.add(
            "unknown-reader",
            "the named image reader is not known; files are read by their ending",
            expected="one of " + ", ".join(READERS),
            found=str(reader),
            cure='remove "overwrite_image_reader_writer"',
            severity="warning",
        )
        reader = None
    elif reader.endswith("WithReorient"):
        faults.add(
            "reorienting-reader",
            "images are used in their stored orientation, nnU-Net would turn them to RAS first",
            expected="a reader that keeps the orientation",
            found=reader,
            cure='remove "overwrite_image_reader_writer" if all images have one orientation',
            severity="warning",
        )
    if channels is None or labels is None or ending is None:
        return None, tuple(faults.found)
    description = DatasetDescription(
        name=texts["name"] or folder.resolve().name,
        channel_names=channels,
        labels=labels,
        file_ending=ending,
        case_count=count or 0,
        reader=reader,
        licence=texts["licence"] or texts["license"] or "",
        reference=texts["reference"] or "",
    )
    return description, tuple(faults.found)


def raise_errors(faults: Iterable[Fault], path: Path) -> None:
    """Raises one DatasetError that tells all faults of severity "error", if there are any.

    Raises:
        DatasetError: there are.
    """
    errors = [fault for fault in faults if fault.severity == "error"]
    if not errors:
        return
    first = errors[0]
    if len(errors) == 1:
        raise DatasetError(
            first.what, expected=first.expected, found=first.found, cure=first.cure, path=first.path
        )
    shown = [f"{fault.path.name}: {fault.what} (found {fault.found})" for fault in errors[:10]]
    if len(errors) > len(shown):
        shown.append(f"and {len(errors) - len(shown)} more")
    raise DatasetError(
        f"{len(errors)} things are wrong with the data set",
        expected="a data set without faults",
        found="; ".join(shown),
        cure="`selfseg check` lists each with its cure",
        path=path,
    )


class _Faults:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Fault] = []

    def add(
        self,
        kind: str,
        what: str,
        *,
        expected: str,
        found: str,
        cure: str,
        severity: str = "error",
    ) -> None:
        self.found.append(Fault(kind, self.path, what, expected, found, cure, severity))

    def wrong_type(
        self, key: str, expected: str, found: object, cure: str = "", severity: str = "error"
    ) -> None:
        self.add(
            "wrong-type",
            f'"{key}" is not what it should be',
            expected=expected,
            found=_shown(found),
            cure=cure or f'correct "{key}" in {FILE_NAME}',
            severity=severity,
        )

    def missing(self, key: str, expected: str, cure: str, severity: str = "error") -> None:
        self.add(
            "missing-key",
            f'"{key}" is missing',
            expected=expected,
            found=f'no "{key}"',
            cure=cure,
            severity=severity,
        )


def _channels(mapping: Mapping[str, Any], faults: _Faults) -> tuple[str, ...] | None:
    key = "channel_names" if "channel_names" in mapping else "modality"
    example = '"channel_names": {"0": "CT"}'
    if key not in mapping:
        faults.missing("channel_names", f"for example {example}", f"add {example} to {FILE_NAME}")
        return None
    value = mapping[key]
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Mapping):
        wanted = [str(i) for i in range(len(value))]
        if sorted(map(str, value)) != sorted(wanted):
            faults.add(
                "channel-keys",
                f'"{key}" does not number its channels from 0',
                expected="keys " + ", ".join(wanted),
                found=", ".join(map(str, value)),
                cure="number the channels 0, 1, ... as in the file names (_0000, _0001, ...)",
            )
            return None
        value = [value[i] for i in wanted]
    names = value if isinstance(value, list) else []
    if not names or any(not isinstance(name, str) or not name.strip() for name in names):
        faults.wrong_type(key, f"a name per channel, for example {example}", mapping[key])
        return None
    return tuple(names)


def _labels(mapping: Mapping[str, Any], faults: _Faults) -> LabelScheme | None:
    example = '"labels": {"background": 0, "liver": 1}'
    if "labels" not in mapping:
        faults.missing("labels", f"for example {example}", f"add {example} to {FILE_NAME}")
        return None
    value = mapping["labels"]
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        value = {str(i): name for i, name in enumerate(value)}
    if not isinstance(value, Mapping) or not value:
        faults.wrong_type("labels", f"for example {example}", value)
        return None
    if _is_value_to_name(value):
        # The Decathlon's and nnU-Net v1's form. Value 0 is background whatever its name.
        entries: dict[str, Any] = {}
        for number, name in value.items():
            if name in entries:
                faults.wrong_type("labels", "each name once", f"{name!r} twice")
                return None
            entries["background" if int(number) == 0 else name] = int(number)
    else:
        entries = dict(value)
    sound = _check_values(entries, faults)
    order = _region_order(mapping, faults)
    if not sound or isinstance(order, bool):
        return None
    try:
        scheme = LabelScheme.from_mapping(entries, order or None)
    except DatasetError as error:
        faults.add(
            "regions-order" if "regions_class_order" in error.cure else "invalid-labels",
            error.what,
            expected=error.expected,
            found=error.found,
            cure=error.cure,
        )
        return None
    _check_convention(entries, scheme, faults)
    if APPEARANCE in mapping:
        scheme, wrong = with_appearance(scheme, mapping[APPEARANCE])
        if wrong:
            faults.wrong_type(APPEARANCE, f"for example {EXAMPLE}", wrong, severity="warning")
    return scheme


def _is_value_to_name(value: Mapping[str, Any]) -> bool:
    return all(isinstance(name, str) and str(key).isdecimal() for key, name in value.items())


def _check_values(entries: Mapping[str, Any], faults: _Faults) -> bool:
    before = len(faults.found)
    for name, value in entries.items():
        values = value if isinstance(value, list) else [value]
        if not values or any(not _is_whole(v) or v < 0 for v in values):
            faults.wrong_type(
                f"labels.{name}",
                "a whole number from 0, or a list of such numbers for a region",
                value,
            )
        elif max(values) > LARGEST_VALUE:
            faults.add(
                "invalid-labels",
                f"the label value of {name!r} is too large",
                expected=f"at most {LARGEST_VALUE}",
                found=_shown(value),
                cure="give the structures smaller values, in the label maps too",
            )
        elif name == "background" and value != 0:
            faults.wrong_type("labels.background", "0", value, "give background the value 0")
        elif name == "ignore" and not _is_whole(value):
            faults.wrong_type("labels.ignore", "one whole number", value)
    return len(faults.found) == before


def _region_order(mapping: Mapping[str, Any], faults: _Faults) -> list[int] | bool | None:
    """The order, None where there is none, False where it is not a list of numbers."""
    order = mapping.get("regions_class_order")
    if order is None:
        return None
    if not isinstance(order, list) or any(not _is_whole(v) or v < 0 for v in order):
        faults.wrong_type("regions_class_order", "a list of label values, one per region", order)
        return False
    return order


def _check_convention(entries: Mapping[str, Any], scheme: LabelScheme, faults: _Faults) -> None:
    if not any(value in (0, [0]) for value in entries.values()):
        faults.add(
            "no-background",
            "the labels do not name the background",
            expected='"background": 0',
            found=", ".join(entries),
            cure='add "background": 0 to "labels" (nnU-Net itself insists on it)',
            severity="warning",
        )
    values = [0, *scheme.values] + ([] if scheme.ignore is None else [scheme.ignore])
    if values != list(range(len(values))):
        faults.add(
            "label-gaps",
            "the label values have gaps, or the ignore value is not the highest",
            expected=f"0 to {len(values) - 1}, the ignore value last (for nnU-Net itself)",
            found=", ".join(map(str, values)),
            cure="nothing here; renumber them to use the data set with nnU-Net itself",
            severity="warning",
        )
    order = scheme.regions_class_order
    if order is not None and not set(order) <= set(scheme.values):
        faults.add(
            "regions-order-values",
            '"regions_class_order" writes values that no label has',
            expected="values out of " + ", ".join(map(str, scheme.values)),
            found=", ".join(map(str, order)),
            cure='give each region in "regions_class_order" one of the label values',
            severity="warning",
        )


def _file_ending(mapping: Mapping[str, Any], faults: _Faults) -> str | None:
    value = mapping.get("file_ending")
    if value is None:
        if "training" in mapping or "dataset" in mapping:
            return DEFAULT_ENDING
        faults.missing(
            "file_ending", 'for example ".nii.gz"', f'add "file_ending": ".nii.gz" to {FILE_NAME}'
        )
        return None
    if not isinstance(value, str):
        faults.wrong_type("file_ending", "text such as .nii.gz", value)
        return None
    if value.lower() in IMAGE_ENDINGS:
        return value
    stripped = value.strip().lower()
    near = stripped if stripped.startswith(".") else f".{stripped}"
    if near not in IMAGE_ENDINGS:
        kind, cure = "unknown-file-ending", "convert the images to .nii.gz (or .png for pictures)"
    elif stripped != value.lower():
        kind, cure = "file-ending-blank", f'remove the blanks: "file_ending": "{near}"'
    else:
        kind, cure = "unknown-file-ending", f'write it with its dot: "file_ending": "{near}"'
    faults.add(
        kind,
        '"file_ending" is not an image ending',
        expected="one of " + ", ".join(IMAGE_ENDINGS),
        found=repr(value),
        cure=cure,
    )
    return None


def _training_count(mapping: Mapping[str, Any], faults: _Faults) -> int | None:
    value = mapping.get("numTraining")
    if value is None:
        faults.missing(
            "numTraining",
            "the number of training cases",
            "nothing here, the cases are counted; nnU-Net itself insists on it",
            "warning",
        )
    elif not _is_whole(value) or value < 0:
        faults.wrong_type("numTraining", "a whole number", value)
    else:
        return int(value)
    return None


def _text(mapping: Mapping[str, Any], key: str, faults: _Faults) -> str | None:
    value = mapping.get(key)
    if value is None or isinstance(value, str):
        return value
    faults.wrong_type(key, "text", value, severity="warning")
    return None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
