"""Says before a prediction on the processor that its largest case needs more than is free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psutil

from ..domain.dataset import CaseFiles
from ..domain.errors import ImageError, SelfsegError, UsageError
from ..domain.events import Notice
from ..domain.geometry import Geometry
from ..infer.engine import TileOptions, head_of
from ..infer.ensemble import kept_bytes
from ..infer.memory import as_gigabytes, host_memory_at_hand
from ..infer.memory_need import case_need
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.itk_images import itk_grid
from ..preprocess.case import record_of
from .models import LoadedModel
from .strategy import Strategy

LOOKED_AT = 3
"""Cases whose headers are read: those with the largest files."""


def memory_warning(
    strategy: Strategy, cases: Sequence[CaseFiles], free: int | None = None
) -> Notice | None:
    """What to say of the case that needs most; None where there is room, or nobody can tell.

    Only a warning: what other programs will take or give back is not known. `--memory` is the
    limit that is kept; without it the sums of the tiles adapt to what is free, but the image
    itself has to fit.

    Args:
        strategy: the model, its networks loaded.
        cases: to be segmented.
        free: bytes; None: what the machine has.
    """
    options = strategy.options
    if options.limit is not None or options.region or not _on_processor(strategy):
        return None
    budget = options.memory_bytes
    at_hand = free if free is not None else host_memory_at_hand(budget)
    if budget is not None:
        at_hand = min(at_hand, host_memory_at_hand(None))
    found = []
    for files in sorted(cases, key=_stored_bytes, reverse=True)[:LOOKED_AT]:
        try:
            channels, grid = _grid_of(files)
            need = needed_bytes(strategy, channels, grid, several=len(cases) > 1)
        except (SelfsegError, OSError):
            continue  # told when the case is reached
        found.append((need, files.identifier, channels, grid))
    if not found:
        return None
    need, identifier, channels, grid = max(found, key=lambda entry: entry[0])
    if need <= at_hand:
        return None
    return Notice(
        f"{identifier} needs about {as_gigabytes(need)} of memory besides what the program holds "
        f"already, and {as_gigabytes(max(0, at_hand))} are free: the system may end the program. "
        + _cure(strategy, channels, grid, at_hand),
        level="warning",
    )


def needed_bytes(
    strategy: Strategy,
    channels: int,
    grid: Geometry,
    *,
    several: bool = False,
    budget: int | None = None,
) -> int:
    """Bytes beyond those of the process that segmenting an image on that grid takes, at most.

    Raises:
        UsageError: the budget is too small.
    """
    options, labels = strategy.options, strategy.labels
    peaks, kept = [], 0
    for voter in strategy.voters:
        for stage in _stages(voter):
            plan = stage.plan
            chosen = plan.configuration(stage.configuration)
            record = record_of(grid, plan, chosen, (0, 0, 0), grid.shape)
            limit = options.memory_bytes if budget is None else budget
            tiles = TileOptions(options.step, options.mirror, stage.mirror_axes, limit)
            need = case_need(
                record,
                channels,
                stage.backend,
                chosen,
                labels,
                tiles,
                several=several and strategy.reads_ahead,
                confidence=options.confidence,
            )
            peaks.append(need.peak)
        if not strategy.decides_alone:
            head = head_of(voter.backend)
            maps = labels.head_count if head is None else int(head.weights.shape[1])
            kept += kept_bytes(record.shape_after_resampling, maps)
    return max(peaks) + kept


def _cure(strategy: Strategy, channels: int, grid: Geometry, at_hand: int) -> str:
    """What would make it fit."""
    if strategy.options.memory_bytes is None:
        budget = int(psutil.Process().memory_info().rss) + at_hand
        try:
            if needed_bytes(strategy, channels, grid, budget=budget) <= at_hand:
                amount = f"{budget // 10**8 / 10:.1f}GB"
                return f"Give --memory {amount}: slower, and no case is read ahead."
        except UsageError:
            pass
    fewer = ", take fewer --folds" if any(len(v.folds) > 1 for v in strategy.voters) else ""
    return (
        f"Close other programs{fewer}, give --roi, or take a machine with more memory; an image at "
        "a coarser spacing needs less."
    )


def _stages(voter: LoadedModel) -> Iterator[LoadedModel]:
    if voter.first is not None:
        yield from _stages(voter.first)
    yield voter


def _on_processor(strategy: Strategy) -> bool:
    """Whether every network runs where the images are; a card has its own memory and messages."""
    devices = {str(getattr(v.backend, "device", "cpu")) for v in strategy.voters}
    return devices == {"cpu"} and strategy.atlases is None


def _stored_bytes(files: CaseFiles) -> int:
    try:
        return sum(path.stat().st_size for path in files.images)
    except OSError:  # a series that is not converted yet
        return 0


def _grid_of(files: CaseFiles) -> tuple[int, Geometry]:
    """Channels, and the grid of the first file, from the headers alone.

    Raises:
        ImageError: a header cannot be read, or is no volume's.
    """
    parts = []
    for path in files.images:
        if image_ending(path) not in ITK_ENDINGS:
            raise ImageError("only headers of volumes are looked at", path=path)
        parts.append(itk_grid(path))
    return sum(count for count, _ in parts), parts[0][1]
