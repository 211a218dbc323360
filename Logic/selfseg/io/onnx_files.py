"""Models as ONNX graphs on disk, read without trusting a byte of them.

    onnx.json                                the sidecar: plans, labels, steps, SHA-256
    graphs/<plan>/<configuration>/fold_<k>.onnx
    LICENSE.txt                              for people

A graph that is not the one the sidecar vouches for is refused, and so is one that is more than a
network with its weights (`onnx_graphs`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..domain.bundle import (
    Appearance,
    Calibration,
    Member,
    ModelBundle,
    ModelCard,
    PostprocessingStep,
)
from ..domain.dataset import DatasetDescription
from ..domain.errors import ModelError
from ..domain.fingerprint import Fingerprint
from ..domain.network_shapes import weight_shapes
from ..domain.plan import Plan
from ..domain.quality import QualityModel
from .bundle_layout import LARGEST_JSON, LICENCE_FILE, LIMITS, WeightsKey
from .folder_files import FolderFiles
from .json_files import read_json, write_json
from .member_names import refused
from .onnx_graphs import check_graph, shapes_of
from .usable_plan import check_labels, check_usable

ONNX_SCHEMA = "selfseg.onnx/1"
ONNX_FILE = "onnx.json"

_HASH = re.compile(r"[0-9a-f]{64}")
_ROOM_BESIDE_WEIGHTS = 2**22


@dataclass(frozen=True)
class GraphRecord:
    """One network: which it is, its file, and the shapes (C, *patch) and (K, *patch)."""

    plan: str
    configuration: str
    fold: str
    file: str
    bytes: int
    sha256: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class OnnxFile:
    """`onnx.json`. `steps` says for other programs, stage by stage, what the plans mean."""

    card: ModelCard
    description: DatasetDescription
    plans: Mapping[str, Plan]
    members: tuple[Member, ...]
    appearances: tuple[Appearance, ...]
    postprocessing: tuple[PostprocessingStep, ...]
    calibration: Calibration
    fingerprint: Fingerprint | None
    graphs: tuple[GraphRecord, ...]
    steps: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    quality: QualityModel | None = None


@dataclass(frozen=True)
class StoredOnnx:
    """A folder with ONNX graphs, ready to predict with; made by `read_onnx`."""

    folder: Path
    bundle: ModelBundle
    graphs: tuple[GraphRecord, ...]

    def folds(self, plan: str, configuration: str) -> tuple[str, ...]:
        """The folds of a configuration that are there."""
        wanted = (plan, configuration)
        return tuple(r.fold for r in self.graphs if (r.plan, r.configuration) == wanted)

    def read_graph(self, plan: str, configuration: str, fold: str) -> bytes:
        """The graph of one network, checked; what is checked is what is returned.

        Raises:
            ModelError: there is none, or it is not what it should be.
            UsageError: the package `onnx` is not installed.
        """
        wanted = (plan, configuration, fold)
        for record in self.graphs:
            if (record.plan, record.configuration, record.fold) == wanted:
                data = _read(self.folder, record)
                check_graph(data, self.bundle.plans[plan], configuration, self.folder)
                return data
        raise ModelError(
            f"the model has no fold {fold} of {configuration}",
            expected=", ".join(self.folds(plan, configuration)) or "another configuration",
            found=fold,
            cure="choose other folds",
            path=self.folder,
        )


def graph_file(key: WeightsKey) -> str:
    """Where a network's graph lies.

    Raises:
        ProjectError: a name cannot be a file's name.
    """
    name = key.file_name.removeprefix("weights/").removesuffix(".safetensors")
    return f"graphs/{name}.onnx"


def is_onnx_model(folder: Path) -> bool:
    """Whether a folder is one that `export_onnx` has written."""
    return (Path(folder) / ONNX_FILE).is_file()


def write_onnx_file(folder: Path, file: OnnxFile) -> None:
    """Writes the sidecar.

    Raises:
        ProjectError: it cannot be written.
    """
    write_json(folder / ONNX_FILE, file, schema=ONNX_SCHEMA)


def read_onnx(folder: Path) -> StoredOnnx:
    """Opens a folder of graphs; they are read, and their hashes checked, when asked for.

    Raises:
        ModelError: it is no such folder, or holds something that does not belong into one.
        FileFormatError: the sidecar is damaged or of another version.
        PlanError, DatasetError: a plan or the labels are not valid.
    """
    folder = Path(folder)
    source = FolderFiles(folder, LIMITS)
    if ONNX_FILE not in source.sizes:
        raise ModelError(
            "this is no model for ONNX Runtime",
            expected=f"{ONNX_FILE} and graphs",
            found=", ".join(sorted(source.sizes)[:5]) or "no file",
            cure="give a folder that `selfseg model export --onnx` has written",
            path=folder,
        )
    file = read_json(folder / ONNX_FILE, OnnxFile, schema=ONNX_SCHEMA, max_bytes=LARGEST_JSON)
    check_labels(file.description.labels, file.description.channel_names)
    for plan in file.plans.values():
        check_usable(plan)
    bundle = ModelBundle(
        file.card,
        file.description,
        file.plans,
        file.members,
        file.appearances,
        file.postprocessing,
        file.calibration,
        fingerprint=file.fingerprint,
        quality=file.quality,
    )
    _check_records(folder, source.sizes, bundle, file.graphs)
    return StoredOnnx(folder, bundle, file.graphs)


def _check_records(
    folder: Path, sizes: Mapping[str, int], bundle: ModelBundle, records: tuple[GraphRecord, ...]
) -> None:
    """Every fold that votes has its graph, and nothing else is there."""
    stages, seen = bundle.stages, set()
    for record in records:
        key = WeightsKey(record.plan, record.configuration, record.fold)
        folds = stages.get((key.plan, key.configuration))
        if folds is None or (folds and key.fold not in folds) or key in seen:
            raise refused(folder, "a graph that no member of the model uses", record.file)
        seen.add(key)
        if record.file != graph_file(key):
            raise refused(
                folder, "a graph that lies somewhere else",
                f"{record.file!r}, expected {graph_file(key)!r}",
            )  # fmt: skip
        if not _HASH.fullmatch(record.sha256) or sizes.get(record.file) != record.bytes:
            raise refused(
                folder, "a graph that is not the one its sidecar lists",
                f"{record.file}: {sizes.get(record.file, 'no such file')}, "
                f"expected {record.bytes} bytes",
            )  # fmt: skip
        shapes = shapes_of(bundle.plans[key.plan], key.configuration)
        limit = _largest_graph(bundle.plans[key.plan], key.configuration)
        if record.bytes > limit:
            raise refused(
                folder, "a graph larger than the plan's network",
                f"{record.file}: {record.bytes} bytes, at most {limit}",
            )  # fmt: skip
        if (record.input_shape, record.output_shape) != shapes:
            raise refused(
                folder, "a graph of other shapes than the plan's",
                f"{record.input_shape} to {record.output_shape}, expected {shapes}",
            )  # fmt: skip
    for (plan, configuration), folds in stages.items():
        there = {key.fold for key in seen if (key.plan, key.configuration) == (plan, configuration)}
        if not there or set(folds) - there:
            raise ModelError(
                "graphs are missing",
                expected=f"{plan}, {configuration}: fold {', '.join(folds) or '0, 1, ...'}",
                found=f"fold {', '.join(sorted(there))}" if there else "none",
                cure="export the model again",
                path=folder,
            )
    unknown = sizes.keys() - {ONNX_FILE, LICENCE_FILE, *(record.file for record in records)}
    if unknown:
        raise refused(folder, "a file that has no place in an ONNX model", repr(min(unknown)))


def _largest_graph(plan: Plan, configuration: str) -> int:
    inputs, outputs = shapes_of(plan, configuration)
    network = plan.configuration(configuration).network
    shapes = weight_shapes(network, inputs[0], outputs[0])
    return 4 * sum(math.prod(shape) for shape in shapes.values()) + _ROOM_BESIDE_WEIGHTS


def _read(folder: Path, record: GraphRecord) -> bytes:
    try:
        with (folder / record.file).open("rb") as stream:
            data = stream.read(record.bytes + 1)
    except OSError as error:
        raise ModelError(
            "the graph cannot be read",
            expected="an ONNX file",
            found=error.strerror or str(error),
            cure="check the folder's rights, or copy the model again",
            path=folder / record.file,
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256:
        raise refused(
            folder,
            "a graph that is not the one its sidecar lists",
            f"{record.file} with SHA-256 {digest}, expected {record.sha256}",
        )
    return data
