"""Adding up tiles where PyTorch computes, and what to do when memory runs out there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from ..domain.case import FloatArray
from ..domain.errors import ModelError
from ..domain.events import Notice, Reporter
from ..domain.stopping import Stop, never
from ..network.heap import freed_memory_kept
from .backend import Maps, Target, WindowPlan
from .host_window import check_shape
from .torch_lanes import open_lanes

if TYPE_CHECKING:
    from .torch_backend import TorchBackend

_CPU = torch.device("cpu")


class TorchWindow:
    """A window on the backend's device, or in the machine's memory where that is too small.

    When memory runs out: fewer tiles at once, half as many each time; then the sums move to
    the machine's memory; then prediction gives up. Each step is told.

    Args:
        backend: predicts.
        plan: size and arithmetic.
        reporter: is told when memory runs out.

    Raises:
        ModelError: there is no room for the sums anywhere.
    """

    def __init__(self, backend: TorchBackend, plan: WindowPlan, reporter: Reporter) -> None:
        self.backend = backend
        self.plan = plan
        self.passes = plan.passes
        self.reporter = reporter
        self.open = ExitStack()
        self.lanes: Executor | None = None
        # A voxel's maps lie side by side where the network's do, so that adding is one sweep.
        self.last = backend.memory_format is not torch.contiguous_format
        sums = self._try_empty(backend.device)
        if sums is None and backend.device != _CPU:
            self._say("the sums of the tiles do not fit the device: they stay in main memory")
            sums = self._try_empty(_CPU)
        if sums is None:
            raise _too_little()
        self.sums = sums  # (M, Z, Y, X), in whatever order of memory

    def add(
        self,
        tiles: FloatArray,
        mirror_axes: tuple[int, ...],
        targets: Sequence[Sequence[Target]],
        should_stop: Stop = never,
    ) -> None:
        """See `Window.add`.

        Raises:
            Cancelled: `should_stop` said so.
            ModelError: a single tile does not fit the memory, or its maps do not fit the plan.
        """
        first = 0
        while first < len(tiles):
            # With mirroring one tile is several passes already.
            count = max(1, self.passes // 2 ** len(mirror_axes))
            part = tiles[first : first + count]
            maps = self._try_maps(part, mirror_axes, should_stop)
            if maps is None:
                self._shrink()
                continue
            for tile, places in zip(maps, targets[first : first + len(part)], strict=True):
                check_shape(tuple(tile.shape), (self.sums.shape[0], *self.plan.patch))
                whole = tile if tile.ndim == 4 else tile[:, None]  # (M, z, y, x)
                for target in places:
                    while not self._try_add(whole, target):
                        self._move_to_host()
            first += len(part)

    def finished(self, count: int) -> Maps:
        """See `Window.finished`."""
        found: Maps = self.sums[:, :count].permute(1, 2, 3, 0).cpu().numpy()
        return found

    def advance(self, count: int) -> None:
        """See `Window.advance`."""
        kept = self.sums.shape[1] - count
        for z in range(kept):  # slice by slice: no second copy of the window
            self.sums[:, z] = self.sums[:, z + count]
        self.sums[:, kept:] = 0

    def __enter__(self) -> Self:
        """The window itself; the heap keeps what is freed until it is closed."""
        if self.backend.device == _CPU:
            self.open.enter_context(freed_memory_kept())
            self.lanes = self.open.enter_context(open_lanes(self.passes))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the sums and the kept memory back."""
        del self.sums
        self.open.close()

    @torch.inference_mode()
    def _try_maps(
        self, tiles: FloatArray, mirror_axes: tuple[int, ...], should_stop: Stop
    ) -> list[Tensor] | None:
        """None where memory runs out; by then all that was computed is freed."""
        try:
            lanes = self.lanes if self.passes > 1 else None
            return self.backend.mean_maps(tiles, mirror_axes, self.passes, lanes, should_stop)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    @torch.inference_mode()
    def _try_add(self, maps: Tensor, target: Target) -> bool:
        """False where memory runs out, and nothing is added then."""
        try:
            device = self.sums.device
            z, y, x = (torch.from_numpy(line.copy()).to(device) for line in target.weights)
            weights = z[:, None, None] * y[:, None] * x
            maps = maps.to(device)
            sums = self.sums[(slice(None), *target.place)]
            if self.sums.dtype is torch.float16:
                sums.add_((maps * weights).half())
            else:
                sums.addcmul_(maps, weights)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _try_empty(self, device: torch.device) -> Tensor | None:
        kind: dict[str, Any] = {
            "dtype": torch.float16 if self.plan.half else torch.float32,
            "device": device,
        }
        maps, shape = self.backend.map_count, self.plan.shape
        try:
            if self.last:
                return torch.zeros((*shape, maps), **kind).permute(3, 0, 1, 2)
            return torch.zeros((maps, *shape), **kind)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _shrink(self) -> None:
        """Takes fewer tiles at once, or makes room on the device."""
        if self.passes > 1:
            self.passes //= 2
            self._free()
            self._say(f"memory ran out: going on with {self.passes} tiles at a time")
            return
        self._move_to_host()

    def _move_to_host(self) -> None:
        if self.sums.device == _CPU:
            raise _too_little()
        self.sums = self.sums.cpu()
        self._free()
        self._say("memory ran out on the device: tiles are added up in main memory from here on")

    def _free(self) -> None:
        if self.backend.device.type == "cuda":
            torch.cuda.empty_cache()

    def _say(self, text: str) -> None:
        self.reporter(Notice(text, level="warning"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text


def _too_little() -> ModelError:
    return ModelError(
        "there is not enough memory for a single tile",
        expected="room for one tile on its way through the network",
        found="out of memory, with one tile at a time and the sums in main memory",
        cure="close other programs, or predict on the processor with --device cpu",
    )
