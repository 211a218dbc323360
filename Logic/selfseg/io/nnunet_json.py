"""nnU-Net v2's own JSON: dataset_fingerprint.json, dataset.json and plans.json, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..domain.dataset import DatasetDescription
from ..domain.errors import DatasetError, FileFormatError
from ..domain.fingerprint import Fingerprint
from .dataset_json import parse_description
from .json_files import read_plain_json
from .nnunet_forms import FingerprintForm, in_channel_order, intensities_to_nnunet, read_form
from .nnunet_plans import plan_from_nnunet, plan_to_nnunet

__all__ = [
    "description_from_nnunet",
    "description_to_nnunet",
    "fingerprint_from_nnunet",
    "fingerprint_to_nnunet",
    "plan_from_nnunet",
    "plan_to_nnunet",
    "read_description",
]

_FINGERPRINT_CURE = "give the dataset_fingerprint.json that nnU-Net v2 wrote, or measure again"


def fingerprint_to_nnunet(fingerprint: Fingerprint) -> dict[str, Any]:
    """The fingerprint as nnU-Net v2's dataset_fingerprint.json."""
    return {
        "foreground_intensity_properties_per_channel": intensities_to_nnunet(
            fingerprint.foreground_intensities
        ),
        "median_relative_size_after_cropping": fingerprint.median_relative_size_after_cropping,
        "shapes_after_crop": [list(shape) for shape in fingerprint.shapes_after_crop],
        "spacings": [list(spacing) for spacing in fingerprint.spacings],
    }


def fingerprint_from_nnunet(content: object) -> Fingerprint:
    """Reads dataset_fingerprint.json; names and hash of the cases are not in it and stay empty.

    Raises:
        FileFormatError: an entry is missing or of a wrong type.
        PlanError: it describes no case.
    """
    what = "dataset_fingerprint.json"
    form = read_form(content, FingerprintForm, what, _FINGERPRINT_CURE)
    return Fingerprint(
        spacings=tuple(form.spacings),
        shapes_after_crop=tuple(form.shapes_after_crop),
        median_relative_size_after_cropping=form.median_relative_size_after_cropping,
        foreground_intensities=in_channel_order(
            form.foreground_intensity_properties_per_channel, what
        ),
    )


def read_description(path: Path) -> DatasetDescription:
    """The description in a file like dataset.json, whatever it is called.

    Raises:
        DatasetError: names every problem found.
        FileFormatError: it is not JSON.
    """
    try:
        return description_from_nnunet(read_plain_json(path))
    except DatasetError as error:
        raise error.retold(path=path) from error


def description_to_nnunet(description: DatasetDescription) -> dict[str, Any]:
    """The description as nnU-Net v2's dataset.json."""
    labels = description.labels
    content: dict[str, Any] = {
        "name": description.name,
        "channel_names": {str(i): name for i, name in enumerate(description.channel_names)},
        "labels": labels.to_mapping(),
        "numTraining": description.case_count,
        "file_ending": description.file_ending,
    }
    if labels.regions_class_order is not None:
        content["regions_class_order"] = list(labels.regions_class_order)
    if description.reader is not None:
        content["overwrite_image_reader_writer"] = description.reader
    for key, text in (("licence", description.licence), ("reference", description.reference)):
        if text:
            content[key] = text
    return content


def description_from_nnunet(content: object, folder: Path | None = None) -> DatasetDescription:
    """Reads the content of a dataset.json (nnU-Net v2's or the Decathlon's).

    Args:
        content: what the JSON reader returned.
        folder: the data set's folder, whose name is used where the file has no "name".

    Raises:
        FileFormatError: the content is not an object.
        DatasetError: an entry is missing or wrong.
    """
    if not isinstance(content, Mapping):
        raise FileFormatError(
            "dataset.json does not describe a data set",
            expected='an object with "channel_names", "labels", "numTraining" and "file_ending"',
            found=type(content).__name__,
            cure="give the dataset.json of an nnU-Net or Decathlon data set",
        )
    return parse_description(content, folder or Path("dataset"))
