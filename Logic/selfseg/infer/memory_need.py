"""How much memory it takes to segment a case on the processor, before anything is read.

    reading     the file's voxels, and the image in float32
    preparing   the image as read, its cropped copy, and that at the network's spacing
    predicting  the prepared image, the sums of the tiles in some slices, the tiles on their way
                through the network, the label map, what decides its slices
    writing     the label map, and what is read back to see that the file is whole

The fullest of these moments counts, beside what the process holds all the time. Where cases are
read ahead, the next one is read and prepared while this one is predicted. docs/explanation/
scaling.md has the measured peaks beside those that are predicted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..domain.case import PreprocessedCase, PreprocessRecord
from ..domain.labels import LabelScheme
from ..domain.plan import ConfigurationPlan
from .agreement import folds_of, is_small
from .backend import Backend
from .confidence import LOOKED_AT
from .engine import TileOptions, head_of, plan_window
from .restore import head_values, restoration_bytes
from .tiling import Tiling

FIRST_TILE_BYTES = 115 * 10**6
"""Code and work space of the libraries, taken with the first tile (see `train.memory`)."""

DEFERRED_SHARE = 0.65
"""Of what the backend reckons with for a tile, where the last layer is left for later: its maps are
among those that the network has in flight anyway. Measured, benchmarks/scaling.py, part memory."""

WRITING_COPIES = 5
"""Label maps at once when one is written: itself, ITK's image, the file, what is read back as the
file holds it and as an array."""

STORED_BYTES = 2
"""Of a voxel in most images' files."""


@dataclass(frozen=True)
class CaseNeed:
    """Bytes beyond those of the process, by what takes them.

    Args:
        libraries: what they take with the first tile.
        native: the image as read, float32.
        stored: the voxels as the file holds them.
        cropped: the copy that is normalised.
        prepared: the image at the network's spacing; 0 where that is the copy itself.
        window: sums of the tiles in the slices that are not decided yet.
        passes: tiles on their way through the network.
        label_map: on the native grid.
        restoring: what decides some slices at once.
        measuring: what the confidence takes.
        ahead: the next case, where it is read ahead.
    """

    libraries: int
    native: int
    stored: int
    cropped: int
    prepared: int
    window: int
    passes: int
    label_map: int
    restoring: int
    measuring: int
    ahead: int = 0

    @property
    def moments(self) -> dict[str, int]:
        """What is taken at once, by moment."""
        image = self.prepared or self.cropped
        predicting = self.libraries + image + self.window + self.passes + self.ahead
        return {
            "reading": self.stored + self.native,
            "preparing": self.native + self.cropped + self.prepared,
            "predicting": predicting + self.label_map + self.restoring + self.measuring,
            "writing": self.libraries + WRITING_COPIES * self.label_map + self.ahead,
        }

    @property
    def peak(self) -> int:
        """At the fullest moment."""
        return max(self.moments.values())


def case_need(
    record: PreprocessRecord,
    channels: int,
    backend: Backend,
    configuration: ConfigurationPlan,
    labels: LabelScheme,
    options: TileOptions,
    *,
    several: bool = False,
    confidence: bool = True,
) -> CaseNeed:
    """What one member of a model takes for a case.

    Args:
        record: what preprocessing will do; the whole image where the crop is not known yet.
        channels: C.
        backend: the member's networks.
        configuration: its patch.
        labels: its heads.
        options: how tiles are taken; a budget for the memory makes them fewer at once.
        several: whether other cases follow, which are read ahead without a budget.
        confidence: whether it is measured.

    Raises:
        UsageError: the budget is too small; says the least that works.
    """
    before = 4 * channels * math.prod(record.shape_before_resampling)
    after = 4 * channels * math.prod(record.shape_after_resampling)
    resampled = record.shape_after_resampling != record.shape_before_resampling
    # As large as the image will be, and no voxel of it is in memory.
    image = np.broadcast_to(np.float32(0), (channels, *record.shape_after_resampling))
    case = PreprocessedCase("", image, record)
    mirrorings = 2 ** len(options.axes(len(configuration.patch_size)))
    folds = len(folds_of(backend))
    head = head_of(backend)
    heads = labels.head_count
    recorded = (
        confidence
        and folds > 1
        and is_small(case, configuration, (), step=options.step, mirrorings=mirrorings)
    )
    maps = heads if head is None or recorded else head.weights.shape[1]
    restoring = restoration_bytes(record, labels, maps)
    label_type = np.min_scalar_type(int(head_values(labels).max()))
    label_map = math.prod(record.native.shape) * label_type.itemsize
    tiles = Tiling(case, configuration, (), options.step)
    plan, _, need = plan_window(tiles, backend, maps, options, restoring)
    at_once = min(plan.passes, tiles.count * mirrorings)
    passes = at_once * need.each_pass
    if head is not None and not recorded:
        passes = round(DEFERRED_SHARE * passes)
    if recorded:  # every fold's logits of a tile are there at once
        passes += 4 * folds * heads * math.prod(configuration.patch_size)
    seen = min(LOOKED_AT, math.prod(record.shape_after_resampling[1:]))
    native = 4 * channels * math.prod(record.native.shape)
    made = CaseNeed(
        libraries=FIRST_TILE_BYTES,
        native=native,
        stored=native * STORED_BYTES // 4,
        cropped=before,
        prepared=after if resampled else 0,
        window=need.window // (2 if plan.half else 1),
        passes=passes,
        label_map=label_map,
        restoring=restoring - label_map,
        measuring=3 * 4 * heads * seen if confidence else 0,
    )
    if several and options.memory_bytes is None:
        return replace(made, ahead=max(made.moments["reading"], made.moments["preparing"]))
    return made
