"""ONNX graphs as a backend of the engine: several folds, ONNX Runtime, no PyTorch."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..domain.case import FloatArray
from ..domain.errors import ModelError, UsageError
from ..domain.stopping import Stop, check_stop, never
from ..io.onnx_graphs import INPUT, OUTPUT
from .engine import mirror_subsets

PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    "openvino": ("OpenVINOExecutionProvider", {"device_type": "CPU", "precision": "FP32"}),
    "cpu": ("CPUExecutionProvider", {}),
}
"""ONNX Runtime's way to compute, by device, with options that keep float32's accuracy."""


class OnnxBackend:
    """The mean of the logits of some graphs of one shape, in float32.

    Args:
        graphs: one ONNX file per fold, checked by `io.onnx_graphs.check_graph`; taken one after
            the other, so that they need not all be in memory.
        input_shape: (C, *patch).
        output_shape: (K, *patch).
        device: "cpu", "cuda", "openvino", or "auto": the first of cuda and cpu that there is.
        threads: for the work inside an operator; None: as many as `OMP_NUM_THREADS` says, else
            one per core that this process may use.

    Raises:
        UsageError: ONNX Runtime is not installed, or has no such device.
        ModelError: no graph, one that ONNX Runtime refuses, or one of other shapes.
    """

    def __init__(
        self,
        graphs: Iterable[bytes],
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        runtime = _runtime()
        self.input_shape = tuple(input_shape)
        self.output_shape = tuple(output_shape)
        self.device = pick_provider(device)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or _threads()
        options.inter_op_num_threads = 1
        # Every session would keep its own pool of memory. Measured with five folds of a 3D
        # network: 443 MB at most in place of 748 MB, in the same time.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self.sessions = [self._open(runtime, graph, options) for graph in graphs]
        if not self.sessions:
            raise ModelError(
                "there is no graph to predict with",
                expected="the graph of at least one fold",
                found="none",
                cure="export the model again with `selfseg model export --onnx`",
            )

    @property
    def folds(self) -> tuple[OnnxBackend, ...]:
        """Each graph alone, as a backend of its own that shares the session."""
        alone = []
        for session in self.sessions:
            one = copy.copy(self)
            one.sessions = [session]
            alone.append(one)
        return tuple(alone)

    def predict(
        self,
        batch: FloatArray,
        mirror_axes: tuple[int, ...] = (),
        should_stop: Stop = never,
    ) -> FloatArray:
        """Logits (N, K, *patch) of tiles (N, C, *patch); see `engine.Backend`.

        Raises:
            Cancelled: `should_stop`, asked between passes through a graph, said so.
            ModelError: the tiles have another shape than the graph's, or ONNX Runtime failed.
        """
        if batch.ndim < 3 or batch.shape[1:] != self.input_shape:
            raise ModelError(
                "the tiles do not fit the graph",
                expected=f"(N, {', '.join(map(str, self.input_shape))})",
                found=str(batch.shape),
                cure="predict with the plan that lies beside the graph",
            )
        total: FloatArray | None = None
        count = 0
        for subset in mirror_subsets(mirror_axes):
            axes = tuple(axis + 2 for axis in subset)
            tiles = np.ascontiguousarray(np.flip(batch, axes) if axes else batch, np.float32)
            for session in self.sessions:
                check_stop(should_stop)
                logits = _run(session, tiles)
                if axes:
                    logits = np.flip(logits, axes)
                if total is None:
                    total = logits  # the session's result belongs to nobody else
                else:
                    total += logits
                count += 1
        assert total is not None  # noqa: S101 - there is always the empty subset
        total /= np.float32(count)
        return total

    def _open(self, runtime: Any, graph: bytes, options: Any) -> Any:
        name, settings = PROVIDERS[self.device]
        providers = [(name, settings)]
        if self.device != "cpu":  # what the device cannot compute the processor does
            providers.append(PROVIDERS["cpu"])
        try:
            session = runtime.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no class of their own
            raise ModelError(
                "ONNX Runtime refuses the graph",
                expected="a graph that `selfseg model export --onnx` has written",
                found=str(error)[:300],
                cure="export the model again, or update onnxruntime",
            ) from error
        found = {
            value.name: tuple(value.shape[1:])
            for value in (*session.get_inputs(), *session.get_outputs())
        }
        wanted = {INPUT: self.input_shape, OUTPUT: self.output_shape}
        if found != wanted:
            raise ModelError(
                "the graph does not fit the plan",
                expected=str(wanted),
                found=str(found),
                cure="use graph and plan of the same export",
            )
        if name not in session.get_providers():
            raise UsageError(
                f"ONNX Runtime cannot use {self.device} here",
                expected=name,
                found=", ".join(session.get_providers()),
                cure="choose --device cpu, or install what the device needs (driver, libraries)",
            )
        return session


def pick_provider(device: str = "auto") -> str:
    """The key of `PROVIDERS` for a device's name.

    Raises:
        UsageError: ONNX Runtime is not installed, or has no such device.
    """
    installed = _runtime().get_available_providers()
    there = [key for key, (name, _) in PROVIDERS.items() if name in installed]
    if device == "auto":
        return next(key for key in there if key != "openvino")
    if device not in there:
        raise UsageError(
            f"this ONNX Runtime has no device {device!r}",
            expected="one of auto, " + ", ".join(there),
            found=device,
            cure="choose --device cpu, or install onnxruntime-gpu (cuda) or "
            "onnxruntime-openvino (openvino) in place of onnxruntime",
        )
    return device


def _run(session: Any, tiles: FloatArray) -> FloatArray:
    try:
        (logits,) = session.run([OUTPUT], {INPUT: tiles})
    except Exception as error:  # ONNX Runtime's errors have no class of their own
        raise ModelError(
            "ONNX Runtime could not run the network",
            expected=f"logits of {len(tiles)} tiles",
            found=str(error)[:300],
            cure="if the memory was not enough, predict fewer tiles at a time",
        ) from error
    result: FloatArray = logits
    return result


def _threads() -> int:
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "ONNX Runtime is not installed",
            expected="the packages onnx and onnxruntime",
            found=str(error),
            cure='install them: pip install "selfseg[onnx]"',
        ) from error
    # The builds for Windows would send reports home.
    onnxruntime.disable_telemetry_events()
    return onnxruntime
