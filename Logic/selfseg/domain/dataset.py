"""A data set on disk, described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import DatasetError
from .labels import LabelScheme


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: one image per channel (or one that holds all), maybe a label map."""

    identifier: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class DatasetDescription:
    """What is known about a data set before a voxel is read.

    `channel_names` are in channel order; the names choose the normalisation (RECIPE).

    Raises:
        DatasetError: no channel.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: LabelScheme
    file_ending: str = ".nii.gz"
    case_count: int = 0
    reader: str | None = None
    """nnU-Net's `overwrite_image_reader_writer`, by name; only names known to `io` are used."""
    licence: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        if not self.channel_names:
            raise DatasetError(
                "the data set names no channel",
                expected='"channel_names" (or MSD\'s "modality") with at least one entry',
                found="none",
                cure='add for example "channel_names": {"0": "CT"} to dataset.json',
            )


@dataclass(frozen=True)
class Split:
    """One fold of a cross-validation: case identifiers to learn from and to be judged on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A readable data set: description, training cases sorted by name, maybe own splits.

    `test_cases` are images without labels that came along (nnU-Net's imagesTs). `groups` says
    which cases belong together, by case: those of one patient, who must not be on both sides
    of a fold.
    """

    folder: Path
    description: DatasetDescription
    cases: tuple[CaseFiles, ...]
    splits: tuple[Split, ...] | None = None
    test_cases: tuple[CaseFiles, ...] = ()
    groups: Mapping[str, str] | None = None

    def case(self, identifier: str) -> CaseFiles:
        """The case of that name.

        Raises:
            DatasetError: there is none.
        """
        if (case := self._by_name.get(identifier)) is not None:
            return case
        raise DatasetError(
            f"there is no case {identifier!r}",
            expected=f"one of the {len(self.cases)} training cases",
            found=identifier,
            cure="check the spelling, and splits_final.json if you have one",
            path=self.folder,
        )

    @cached_property
    def _by_name(self) -> Mapping[str, CaseFiles]:
        """Data sets may have 100,000 cases, and every one of them is asked for by name."""
        return {case.identifier: case for case in reversed(self.cases)}


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set: where, what was expected, what was found, the cure.

    `kind` is a stable word for scripts ("missing-label", "geometry-mismatch", ...).
    """

    kind: str
    path: Path
    what: str
    expected: str
    found: str
    cure: str
    severity: str = "error"
    """"error" makes the data set unusable; "warning" is worth a look."""
