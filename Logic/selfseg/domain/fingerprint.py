"""What is measured on a data set before anything is decided."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import PlanError
from .geometry import Shape3, Vector3


@dataclass(frozen=True)
class IntensityProperties:
    """Statistics of one channel over the foreground voxels, every case weighing the same."""

    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class Histogram:
    """Counts between edges: `edges` has one entry more than `counts` (fractions that sum to 1)."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Fingerprint:
    """The measured properties of the training cases; all that planning sees of them.

    `spacings` (mm) and `shapes_after_crop` are (Z, Y, X), one per case in `case_identifiers`
    order. `dataset_hash` is the SHA-256 of names and contents of the files measured, "" where
    the fingerprint came from elsewhere (nnU-Net's JSON). Histograms, per channel, are there
    to measure drift later.

    Raises:
        PlanError: no case, or lists of different length.
    """

    spacings: tuple[Vector3, ...]
    shapes_after_crop: tuple[Shape3, ...]
    median_relative_size_after_cropping: float
    foreground_intensities: tuple[IntensityProperties, ...]
    case_identifiers: tuple[str, ...] = ()
    dataset_hash: str = ""
    intensity_histograms: tuple[Histogram, ...] = ()
    class_voxel_fractions: tuple[tuple[int, float], ...] = ()
    """(label value, mean fraction of the cropped image's voxels) for each value seen."""

    def __post_init__(self) -> None:
        count = len(self.spacings)
        if count == 0 or len(self.shapes_after_crop) != count:
            raise PlanError(
                "the fingerprint describes no complete set of cases",
                expected="as many shapes as spacings, at least one",
                found=f"{count} spacings, {len(self.shapes_after_crop)} shapes",
                cure="measure the data set again with `selfseg fingerprint`",
            )
        if self.case_identifiers and len(self.case_identifiers) != count:
            raise PlanError(
                "the fingerprint names other cases than it measured",
                expected=f"{count} names",
                found=f"{len(self.case_identifiers)} names",
                cure="measure the data set again with `selfseg fingerprint`",
            )
