"""Trained models as ONNX graphs with a sidecar, for ONNX Runtime and other programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import __version__
from ..domain.bundle import ModelBundle
from ..domain.events import Notice, Reporter, silent
from ..domain.network_shapes import weight_shapes
from ..io.atomic_files import write_bytes_atomically
from ..io.bundle_files import StoredBundle, WeightsKey
from ..io.bundle_layout import LICENCE_FILE
from ..io.checked_weights import check_weights
from ..io.member_names import refused
from ..io.onnx_files import GraphRecord, OnnxFile, graph_file, read_onnx, write_onnx_file
from ..io.onnx_graphs import OPSET, onnx_package, shapes_of
from ..io.staged_folders import commit_folder, staged_folder
from .onnx_graph import build_graph
from .onnx_steps import steps_of

Weights = Mapping[str, NDArray[Any]]


def export_onnx(
    target: Path,
    bundle: ModelBundle,
    weights: Iterable[tuple[WeightsKey, Weights]],
    *,
    licence_text: str = "",
    reporter: Reporter = silent,
) -> Path:
    """Writes a folder with one graph per network and the sidecar `onnx.json`.

    Takes what `write_bundle` takes: `bundle_from_project` makes both from a project, and
    `export_stored` from a bundle.

    Args:
        target: must not exist yet.
        bundle: the description.
        weights: of every fold of every member, and of the first stages of cascades; taken one
            after the other, so that they need not all be in memory.
        licence_text: the licence in full.
        reporter: is told which graph was written.

    Returns:
        the target.

    Raises:
        UsageError: the package `onnx` is not installed.
        ModelError: the target exists, or weights are missing, too many, too large or not the
            plan's; nothing is left.
        ProjectError: it cannot be written.
    """
    target = Path(target)
    onnx = onnx_package()
    fingerprint = bundle.fingerprint
    if fingerprint is not None:  # names of cases may be those of patients
        fingerprint = replace(fingerprint, case_identifiers=())
    with staged_folder(target) as stage:
        records = []
        for key, arrays in weights:
            records.append(_write_graph(stage, bundle, key, arrays))
            reporter(Notice(f"{key.configuration}, fold {key.fold}: {records[-1].file}"))
        file = OnnxFile(
            bundle.card,
            bundle.description,
            bundle.plans,
            bundle.members,
            bundle.appearances,
            bundle.postprocessing,
            bundle.calibration,
            fingerprint,
            tuple(records),
            steps_of(bundle),
            {"selfseg": __version__, "onnx": str(onnx.__version__), "opset": str(OPSET)},
            bundle.quality,
        )
        write_onnx_file(stage, file)
        if licence_text:
            write_bytes_atomically(stage / LICENCE_FILE, licence_text.encode("utf-8"))
        read_onnx(stage)
        commit_folder(stage, target)
    return target


def export_stored(stored: StoredBundle, target: Path, *, reporter: Reporter = silent) -> Path:
    """Writes a model of the library, or any bundle's folder, as ONNX graphs.

    Raises:
        UsageError, ModelError, ProjectError: see `export_onnx`; also for a damaged bundle.
    """
    licence = stored.folder / LICENCE_FILE
    text = licence.read_text(encoding="utf-8") if licence.is_file() else ""
    return export_onnx(
        target, stored.bundle, _networks(stored), licence_text=text, reporter=reporter
    )


def _networks(stored: StoredBundle) -> Iterator[tuple[WeightsKey, Weights]]:
    for key in stored.networks:
        yield key, stored.read_weights(key.plan, key.configuration, key.fold)


def _write_graph(
    stage: Path, bundle: ModelBundle, key: WeightsKey, weights: Weights
) -> GraphRecord:
    if key.plan not in bundle.plans:
        raise refused(stage, "weights that no member of the model uses", key.file_name)
    plan = bundle.plans[key.plan]
    configuration = plan.configuration(key.configuration)
    inputs, outputs = shapes_of(plan, key.configuration)
    name = graph_file(key)
    check_weights(
        weights, weight_shapes(configuration.network, inputs[0], outputs[0]), stage / name
    )
    data = build_graph(
        configuration.network, inputs[0], outputs[0], configuration.patch_size, weights
    )
    write_bytes_atomically(stage / name, data)
    digest = hashlib.sha256(data).hexdigest()
    return GraphRecord(
        key.plan, key.configuration, key.fold, name, len(data), digest, inputs, outputs
    )
