"""Models of ONNX graphs, ready to predict: nothing here, or below it, imports PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

from ..domain.bundle import Member
from ..infer.engine import Backend
from ..infer.onnx_backend import OnnxBackend
from ..io.onnx_files import StoredOnnx
from ..io.onnx_graphs import shapes_of
from .models import LoadedModel, member_below


def load_onnx_backend(
    stored: StoredOnnx,
    plan: str,
    configuration: str,
    folds: Sequence[str],
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Backend:
    """The graphs of some folds of one configuration, ready to predict.

    Raises:
        UsageError: the packages of the extra `onnx` are not installed, or there is no such device.
        ModelError: a graph is missing, or not what it should be.
    """
    inputs, outputs = shapes_of(stored.bundle.plans[plan], configuration)
    return OnnxBackend(
        (stored.read_graph(plan, configuration, fold) for fold in folds),
        inputs,
        outputs,
        device=device,
        threads=threads,
    )


def load_onnx_member(
    stored: StoredOnnx,
    member: Member,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> LoadedModel:
    """The networks of one member, and below a cascade those of its first stage.

    Raises:
        UsageError, ModelError: see `load_onnx_backend`.
    """
    plan = stored.bundle.plans[member.plan]
    first, previous = None, plan.configuration(member.configuration).previous_stage
    if previous is not None:
        below = member_below(member, previous, stored.folds(member.plan, previous))
        first = load_onnx_member(stored, below, device=device, threads=threads)
    backend = load_onnx_backend(
        stored, member.plan, member.configuration, member.folds, device=device, threads=threads
    )
    return LoadedModel(plan, member.configuration, backend, first, member.mirror_axes, member.folds)
