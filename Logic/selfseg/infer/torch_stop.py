"""Networks that can be stopped between two of their layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..domain.stopping import Stop, check_stop, never
from ..network.blocks import ConvNorm


class LayerStop:
    """Asks before every convolution of the networks it watches whether to go on.

    On a processor one pass of a large patch takes seconds: too long for somebody who has pressed
    Cancel. Asking costs some microseconds per layer.
    """

    def __init__(self) -> None:
        self._should_stop: Stop = never

    def watch(self, network: nn.Module) -> None:
        """Asks within this network, too."""
        for module in network.modules():
            if isinstance(module, ConvNorm):
                module.register_forward_pre_hook(self._ask)

    @contextmanager
    def asking(self, should_stop: Stop) -> Iterator[None]:
        """Asks this until the block ends; from the threads in which the networks run.

        Raises:
            Cancelled: within the block, where it said so.
        """
        self._should_stop = should_stop
        try:
            yield
        finally:
            self._should_stop = never

    def _ask(self, module: nn.Module, inputs: Any) -> None:
        check_stop(self._should_stop)
