"""Models of ONNX graphs, ready to predict: nothing here, or below it, imports PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..domain.bundle import Member
from ..domain.case import RawCase
from ..domain.errors import UsageError
from ..infer.engine import Backend
from ..infer.onnx_backend import OnnxBackend
from ..io.onnx_files import StoredOnnx, read_onnx
from ..io.onnx_graphs import shapes_of
from .model import first_stage_folds
from .models import LoadedModel
from .segment import segment_image


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
        there = stored.folds(member.plan, previous)
        folds = first_stage_folds(member.folds, there)
        below = Member(member.plan, previous, folds, member.mirror_axes)
        first = load_onnx_member(stored, below, device=device, threads=threads)
    backend = load_onnx_backend(
        stored, member.plan, member.configuration, member.folds, device=device, threads=threads
    )
    return LoadedModel(plan, member.configuration, backend, first, member.mirror_axes, member.folds)


def segment_with_onnx(
    raw: RawCase,
    folder: Path,
    *,
    mirror: bool = True,
    step: float = 0.5,
    device: str = "auto",
    threads: int | None = None,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of an image as read, by a folder that `export_onnx` has written.

    Args:
        raw: the image.
        folder: of the graphs; the model has one member.
        mirror: test-time augmentation over mirrored tiles.
        step: distance of neighbouring tiles as a share of the patch.
        device: see `OnnxBackend`.
        threads: see `OnnxBackend`.

    Raises:
        UsageError: several members; packages or device missing.
        ModelError, FileFormatError: the folder is not what it should be.
    """
    stored = read_onnx(folder)
    if len(stored.bundle.members) > 1:
        raise UsageError(
            "one configuration is segmented with here, and the model has several",
            expected="one member",
            found=", ".join(member.configuration for member in stored.bundle.members),
            cure="use `selfseg predict`, which lets them vote",
            path=folder,
        )
    model = load_onnx_member(stored, stored.bundle.members[0], device=device, threads=threads)
    return segment_image(raw, model, mirror=mirror, step=step)
