"""The table of metrics: scores, means, intervals, files and reports hold what stands here.

docs/reference/metrics.md defines each of them, and docs/how-to/add-a-metric.md adds one. What
measures is imported for its types only: whoever reads score files need not wait for SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from ..arrays.lesions import LesionCounts
    from ..arrays.metrics import Overlap
    from ..arrays.surface import SurfaceDistances

Found = TypeVar("Found")


@dataclass(frozen=True)
class Shapes:
    """One structure of one case, measured in space.

    Args:
        overlap: its voxels.
        distances: between the surfaces, mm.
        lesions: connected parts.
        voxel: size of one, ml (cm² in 2D).
        tolerance_mm: of surface Dice.
    """

    overlap: Overlap
    distances: SurfaceDistances
    lesions: LesionCounts
    voxel: float
    tolerance_mm: float

    @property
    def volume_difference(self) -> float:
        """Predicted minus reference, ml (cm² in 2D)."""
        return (self.overlap.prediction_size - self.overlap.reference_size) * self.voxel


@dataclass(frozen=True)
class Metric(Generic[Found]):
    """One metric.

    Args:
        name: in files, tables and `docs/reference/metrics.md`.
        of: its value; None where it is not defined. Not asked where the structure is in
            neither map: counts are 0 then, everything else is undefined.
        unit: "" for shares, "mm", "ml" (cm² in 2D), "voxels", "lesions".
        is_count: counts things; has no confidence interval.
        title: what `selfseg evaluate` calls its mean when it prints it, with "{tolerance}" for
            that of surface Dice; "" where it does not print it.
    """

    name: str
    of: Callable[[Found], float | None]
    unit: str = ""
    is_count: bool = False
    title: str = ""


OVERLAP_METRICS: tuple[Metric[Overlap], ...] = (
    Metric("Dice", lambda found: found.dice, title="mean foreground Dice"),
    Metric("IoU", lambda found: found.iou),
    Metric("Precision", lambda found: found.precision),
    Metric("Recall", lambda found: found.recall),
    Metric("FP", lambda found: found.false_positives, "voxels", is_count=True),
    Metric("FN", lambda found: found.false_negatives, "voxels", is_count=True),
    Metric("TP", lambda found: found.true_positives, "voxels", is_count=True),
    Metric("n_pred", lambda found: found.prediction_size, "voxels", is_count=True),
    Metric("n_ref", lambda found: found.reference_size, "voxels", is_count=True),
)
"""From counting voxels alone."""

SHAPE_METRICS: tuple[Metric[Shapes], ...] = (
    Metric("HD95", lambda found: found.distances.hd95, "mm", title="mean HD95 (mm)"),
    Metric(
        "SurfaceDice",
        lambda found: found.distances.surface_dice(found.tolerance_mm),
        title="mean surface Dice at {tolerance:g} mm",
    ),
    Metric("MSD", lambda found: found.distances.mean_surface_distance, "mm"),
    Metric("VolumeDifference", lambda found: found.volume_difference, "ml"),
    Metric("RelativeVolumeDifference", lambda found: found.overlap.relative_volume_difference),
    Metric("LesionPrecision", lambda found: found.lesions.precision),
    Metric("LesionRecall", lambda found: found.lesions.recall),
    Metric("LesionF1", lambda found: found.lesions.f1),
    Metric("n_lesions_pred", lambda found: found.lesions.prediction, "lesions", is_count=True),
    Metric("n_lesions_ref", lambda found: found.lesions.reference, "lesions", is_count=True),
)
"""Those that need the voxel size or the shape."""

METRICS: tuple[Metric[Any], ...] = (*OVERLAP_METRICS, *SHAPE_METRICS)


def names_of(metrics: Sequence[Metric[Any]]) -> tuple[str, ...]:
    """Their names, in the same order."""
    return tuple(metric.name for metric in metrics)


OVERLAP_NAMES = names_of(OVERLAP_METRICS)
SHAPE_NAMES = names_of(SHAPE_METRICS)
METRIC_NAMES = names_of(METRICS)
COUNT_NAMES = names_of([metric for metric in METRICS if metric.is_count])

PEER_NAMES = ("Dice", "IoU", "FP", "FN", "TP", "n_pred", "n_ref")
"""Those that every score file holds, nnU-Net's summary.json too. Metrics that came later are
missing in older files, which stay readable: nothing is ever added here."""
