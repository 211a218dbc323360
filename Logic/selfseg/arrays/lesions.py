"""Lesion-wise detection: which connected parts of one mask meet the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class LesionCounts:
    """Lesions of a mask pair: how many there are, and how many of them the other mask meets.

    A lesion is a connected part of a mask. Several predicted lesions may meet one lesion of the
    reference, and the other way round; each is counted for itself.
    """

    reference: int
    reference_found: int
    prediction: int
    prediction_true: int

    @property
    def recall(self) -> float | None:
        """Share of the reference's lesions that are found; None without any."""
        return self.reference_found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted lesions that are true; None without any."""
        return self.prediction_true / self.prediction if self.prediction else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; 0 where only one mask is empty, None where both are."""
        recall, precision = self.recall, self.precision
        if recall is None and precision is None:
            return None
        if not recall or not precision:
            return 0.0
        return 2 * precision * recall / (precision + recall)


def count_lesions(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], *, minimum_overlap: float = 0.0
) -> LesionCounts:
    """Finds the lesions of both masks and which of them meet the other mask.

    Args:
        reference: (Z, Y, X).
        prediction: (Z, Y, X).
        minimum_overlap: a lesion counts where more than this share of its voxels lies in the
            other mask; with 0 one voxel is enough.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    return LesionCounts(
        *_met(reference, prediction, minimum_overlap), *_met(prediction, reference, minimum_overlap)
    )


def _met(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], minimum_overlap: float
) -> tuple[int, int]:
    # Voxels that touch at a face, an edge or a corner are connected (26 neighbours), as in
    # the method's postprocessing.
    components, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(components[mask], minlength=count + 1)[1:]
    shared = np.bincount(components[mask & other], minlength=count + 1)[1:]
    return int(count), int(np.count_nonzero(shared > minimum_overlap * sizes))
