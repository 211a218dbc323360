"""What client and worker say to each other; see docs/reference/worker-protocol.md."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..domain.errors import UsageError
from ..domain.geometry import IDENTITY, Matrix3, Vector3, VoxelRanges

PROTOCOL = 1
"""Of every message. A worker refuses a client of another one."""

NO_ID = "-"
"""Stands for an id that could not be read."""

IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True)
class Message:
    """Base of all messages.

    `id` is the request's, chosen by the client; no two requests that are not yet answered share
    one.

    Raises:
        UsageError: the id is no id.
    """

    id: str

    def __post_init__(self) -> None:
        if not IDENTIFIER.fullmatch(self.id):
            raise refusal("the id is not valid", "1 to 64 of A-Z a-z 0-9 . _ : -", self.id)


@dataclass(frozen=True)
class ModelKey:
    """Which networks predict, and where.

    Args:
        source: absolute path of a project, a bundle (folder or `.selfseg` file) or a folder of
            ONNX graphs; or the name of a model in the library.
        plan: a plan of it; otherwise the bundle's, or the first that is trained.
        configurations: of the plan, all vote; otherwise the bundle's, or the first trained.
        folds: whose networks vote; all otherwise.
        checkpoint: "final" or "best" weights, of a project; the selected ones otherwise.
        device: "auto", "cpu", "cuda", "mps", "openvino".
        backend: "torch" or "onnx"; what the model is made for otherwise.
        library: absolute path of the library; the user's otherwise.
        precision: "auto", half precision where the machine computes it natively; or "float32".

    Raises:
        UsageError: a path is not absolute.
    """

    source: str
    plan: str | None = None
    configurations: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    checkpoint: Literal["final", "best"] | None = None
    device: str = "auto"
    backend: Literal["torch", "onnx"] | None = None
    library: str | None = None
    precision: Literal["auto", "float32"] = "auto"

    def __post_init__(self) -> None:
        _check_source("model.source", self.source)
        if self.library is not None:
            _check_path("model.library", self.library)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a plain array lie; see `domain.geometry.Geometry`."""

    spacing: Vector3
    origin: Vector3 = (0.0, 0.0, 0.0)
    direction: Matrix3 = IDENTITY


class Request(Message):
    """What a client asks."""


@dataclass(frozen=True)
class Hello(Request):
    """The first request; answered by `Welcome`."""

    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Work(Request):
    """What is queued and computed, one after the other."""


@dataclass(frozen=True)
class Load(Work):
    """Reads a model ahead of the first segmentation."""

    model: ModelKey
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("timeout_seconds", self.timeout_seconds)


@dataclass(frozen=True)
class Segment(Work):
    """Segments one case.

    Args:
        model: loaded where it is not yet.
        images: absolute paths, one per channel or one for all. Image files of any kind that
            `selfseg predict` reads; or `.npy` files of (Z, Y, X) or (C, Z, Y, X), with `grid`.
        output: absolute path of the label map; the kind is its ending, `.npy` included.
        grid: of `.npy` images; image files bring their own.
        mirror: average over mirrored images.
        step: distance of neighbouring tiles as a share of the patch.
        structures: names of those to keep; all otherwise.
        region: look first where the structures are, and predict only there in full.
        confidence: measure how sure the model is; see `Finished.confidence`.
        memory_bytes: what the worker may use in all, kept models included; what the machine
            has otherwise.
        timeout_seconds: of computing; waiting in the queue does not count.
        limit: the part of the image to segment, the rest becomes background: for each array axis
            z, y, x the first voxel, and the one after the last. The whole image otherwise.

    Raises:
        UsageError: an impossible value.
    """

    model: ModelKey
    images: tuple[str, ...]
    output: str
    grid: Grid | None = None
    mirror: bool = True
    step: float = 0.5
    structures: tuple[str, ...] = ()
    region: bool = False
    confidence: bool = False
    memory_bytes: int | None = None
    timeout_seconds: float | None = None
    limit: VoxelRanges | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.images:
            raise refusal("there is no image", "one file per channel", "none")
        for image in self.images:
            _check_path("images", image)
        _check_path("output", self.output)
        if not 0 < self.step <= 1:
            raise refusal("step is not valid", "above 0, at most 1", str(self.step))
        if self.limit is not None and any(not 0 <= a < b for a, b in self.limit):
            raise refusal("limit is not valid", "0 <= first < stop per axis", str(self.limit))
        _check_positive("memory_bytes", self.memory_bytes)
        _check_positive("timeout_seconds", self.timeout_seconds)


@dataclass(frozen=True)
class Unload(Work):
    """Forgets a model with all its variants, or every model."""

    source: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is not None:
            _check_source("source", self.source)


@dataclass(frozen=True)
class Cancel(Request):
    """Stops the request of that id, which is then answered by `CancelledMessage`."""


@dataclass(frozen=True)
class Status(Request):
    """Answered at once by `StatusReport`."""


@dataclass(frozen=True)
class Shutdown(Request):
    """Cancels everything and ends the worker."""


class Answer(Message):
    """What a worker says. Each request ends with one of `FINAL`."""


@dataclass(frozen=True)
class Welcome(Answer):
    """The worker is there.

    `instance` is new for every worker: its unfinished files are named `.part-<instance>-...`.
    """

    protocol: int
    version: str
    process_id: int
    instance: str


@dataclass(frozen=True)
class Accepted(Answer):
    """The request is queued behind `ahead` others, the one being computed included."""

    ahead: int


@dataclass(frozen=True)
class Started(Answer):
    """The worker computes it now."""


@dataclass(frozen=True)
class ProgressMessage(Answer):
    """An event of `domain.events`, as its `as_dict` says it."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Finished(Answer):
    """It is done.

    `predicting_after` is the time from `Started` to the network's first batch of tiles.
    `confidence` has the fields of `infer.confidence.Confidence`, `quality` those of
    `quality.judgement.CaseQuality`: `flagged` and `reasons` say whether somebody should look at
    it, and why. Both are None where `confidence` was not asked for, `quality` also where the model
    has not learned to say.
    """

    seconds: float
    paths: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    confidence: Mapping[str, Any] | None = None
    predicting_after: float | None = None
    quality: Mapping[str, Any] | None = None

    @property
    def flagged(self) -> bool:
        """Whether somebody should look at the label map."""
        return bool((self.quality or {}).get("flagged"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, each with its structure's name."""
        return tuple((self.quality or {}).get("reasons", ()))


@dataclass(frozen=True)
class Failed(Answer):
    """It could not be done; `error` is the name of a class of `domain.errors`."""

    error: str
    what: str
    expected: str = ""
    found: str = ""
    cure: str = ""
    path: str | None = None


@dataclass(frozen=True)
class Refused(Answer):
    """A line was not taken; what was accepted before goes on.

    `id` is the line's where one could be read, "-" otherwise.
    """

    what: str
    expected: str = ""
    found: str = ""
    cure: str = ""


@dataclass(frozen=True)
class CancelledMessage(Answer):
    """It was stopped as asked; nothing was written."""


@dataclass(frozen=True)
class KeptModel:
    """A model that is kept in memory."""

    model: ModelKey
    bytes: int
    idle_seconds: float


@dataclass(frozen=True)
class StatusReport(Answer):
    """What the worker does and holds."""

    computing: str | None
    waiting: tuple[str, ...]
    models: tuple[KeptModel, ...]
    memory_bytes: int
    uptime_seconds: float


def _check_path(name: str, path: str) -> None:
    if not os.path.isabs(path) or "\0" in path:
        raise refusal(f"{name} is no absolute path", "an absolute path", path[:200] or "nothing")


def _check_source(name: str, source: str) -> None:
    if not source or os.path.dirname(source):  # a name has no folder before it
        _check_path(name, source)


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise refusal(f"{name} is not valid", "a number above 0, or null", str(value))


def refusal(what: str, expected: str, found: str) -> UsageError:
    """The error for a message that says what cannot be."""
    return UsageError(
        what, expected=expected, found=found, cure="see docs/reference/worker-protocol.md"
    )
