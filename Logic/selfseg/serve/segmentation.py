"""The one place of this room that knows how a model is read and how a case is segmented."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..domain.bundle import ModelBundle
from ..domain.case import PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ModelError
from ..domain.events import Event, Progress, Reporter, StageStarted
from ..domain.network_shapes import weight_shapes
from ..domain.stopping import Stop, check_stop
from ..io.bundle_layout import MANIFEST_FILE
from ..io.library_folder import default_library
from ..io.onnx_files import ONNX_FILE
from ..io.project import PROJECT_FILE
from .exchange import read_images, staged_output
from .messages import KeptModel, ModelKey, Segment
from .model_cache import ModelCache, Stamp, stamp_of

if TYPE_CHECKING:
    from ..stages.model import TrainedModel
    from ..stages.strategy import PredictOptions, Strategy

_WEIGHT_BYTES = 4
"""A network's weights are float32, or less."""


@dataclass(frozen=True)
class WorkResult:
    """What a request has led to; see `messages.Finished`."""

    paths: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    confidence: Mapping[str, Any] | None = None
    predicting_after: float | None = None
    quality: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Ready:
    """A model with its networks in memory."""

    model: TrainedModel
    strategy: Strategy


class Segmenter:
    """Segments with models that stay in memory.

    Args:
        cache_bytes: of the models that are kept, together.
        instance: marks unfinished files.
        clock: seconds.
    """

    def __init__(
        self,
        cache_bytes: int,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instance = instance
        self._clock = clock
        self._models: ModelCache[_Ready] = ModelCache(cache_bytes, clock)

    def warm_up(self) -> None:
        """Imports what the first request would wait for."""
        from ..stages import strategy  # noqa: F401

        if find_spec("torch") is not None:  # graphs do without
            from ..infer import torch_backend  # noqa: F401

    def load(self, key: ModelKey, reporter: Reporter, should_stop: Stop) -> WorkResult:
        """Reads a model where it is not kept.

        Raises:
            ModelError: it cannot be used.
            Cancelled: `should_stop` said so.
        """
        from ..stages.predictions import provenance_of
        from ..stages.strategy import PredictOptions

        ready = self._ready(key, reporter)
        check_stop(should_stop)
        return WorkResult(provenance=provenance_of(ready.model, PredictOptions()))

    def segment(self, request: Segment, reporter: Reporter, should_stop: Stop) -> WorkResult:
        """Segments one case and writes its label map.

        Raises:
            SelfsegError: something is wrong with the model, the images or the output.
            Cancelled: `should_stop` said so; nothing was written.
        """
        from ..stages.predictions import provenance_of
        from ..stages.segment import check_channels
        from ..stages.strategy import PredictOptions, segment_with

        began = self._clock()
        options = PredictOptions(
            step=request.step,
            mirror=request.mirror,
            structures=request.structures,
            region=request.region,
            confidence=request.confidence,
            memory_bytes=request.memory_bytes,
            limit=request.limit,
        )
        paths = tuple(map(Path, request.images))
        first_tiles: list[float] = []

        def report(event: Event) -> None:
            # The engine says how many tiles there are before the network takes the first.
            if isinstance(event, Progress) and not first_tiles:
                first_tiles.append(self._clock() - began)
                reporter(StageStarted("predict", unit="tile"))
            reporter(event)

        with staged_output(Path(request.output), self._instance) as write:
            ready = self._ready(request.model, reporter)
            strategy = _with_options(ready.strategy, options)
            check_stop(should_stop)
            raw = read_images(paths, request.grid)
            grid = raw.geometry
            check_channels(
                raw.channels.shape[0], strategy.voters[0].plan, CaseFiles(raw.identifier, paths)
            )
            check_stop(should_stop)
            image = _prepared(raw, strategy, should_stop)
            del raw
            outcome = segment_with(image, strategy, reporter=report, should_stop=should_stop)
            check_stop(should_stop)
            write(outcome.labels, grid)
            check_stop(should_stop)
        return WorkResult(
            paths=(request.output,),
            provenance=provenance_of(ready.model, options),
            confidence=None if outcome.confidence is None else asdict(outcome.confidence),
            predicting_after=first_tiles[0] if first_tiles else None,
            quality=None if outcome.quality is None else asdict(outcome.quality),
        )

    def unload(self, source: str | None = None) -> int:
        """Forgets the variants of one model, or all; says how many."""
        count = self._models.unload(source)
        # What holds cycles would stay in memory until Python happens to look.
        gc.collect()
        if "torch" in sys.modules:
            from ..infer.torch_backend import release_memory

            release_memory()
        return count

    def kept(self) -> tuple[KeptModel, ...]:
        """The models in memory; from any thread."""
        return self._models.snapshot()

    def _ready(self, key: ModelKey, reporter: Reporter) -> _Ready:
        from ..stages.bundle import ModelChoice
        from ..stages.model import open_model
        from ..stages.strategy import load_strategy

        stamp = _stamp(key)
        found = self._models.get(key, stamp)
        if found is not None:
            return found
        choice = ModelChoice(key.plan, key.configurations, key.folds, key.checkpoint, key.precision)
        library = None if key.library is None else Path(key.library)
        with open_model(
            key.source, choice, backend=key.backend, library=library, reporter=reporter
        ) as model:
            size = network_bytes(model.bundle)
            self._models.make_room(size)
            gc.collect()
            ready = _Ready(model, load_strategy(model, device=key.device, reporter=reporter))
        self._models.put(key, stamp, size, ready)
        return ready


def network_bytes(bundle: ModelBundle) -> int:
    """What the networks of a model take in memory, at most.

    How many folds a cascade's first stage has is not in the bundle; as many as the second's.
    """
    longest = max(len(member.folds) for member in bundle.members)
    total = 0
    for (plan_name, configuration), folds in bundle.stages.items():
        plan = bundle.plans[plan_name]
        shapes = weight_shapes(
            plan.configuration(configuration).network,
            plan.input_channels(configuration),
            plan.description.labels.head_count,
        )
        total += sum(map(math.prod, shapes.values())) * _WEIGHT_BYTES * (len(folds) or longest)
    return total


def model_files(key: ModelKey) -> tuple[Path, ...]:
    """The files and folders that change when the model does.

    A bundle never changes, only its place: the manifest vouches for all of it.
    """
    path = Path(key.source)
    if (path / PROJECT_FILE).is_file():
        # Which checkpoint is used the selection says, where the key does not.
        patterns = (
            "selection.json",
            "plans/*.json",
            "runs/*/*/*.json",
            "selection.json",
            "selection/*.json",
            f"runs/*/*/fold_*/weights_{key.checkpoint or '*'}.safetensors",
        )
        return tuple(sorted(found for pattern in patterns for found in path.glob(pattern)))
    for name in (MANIFEST_FILE, ONNX_FILE):
        if (path / name).is_file():
            return (path / name,)
    if path.is_file():
        return (path,)
    library = Path(key.library) if key.library else default_library()
    return tuple(sorted(library.glob(f"*/{MANIFEST_FILE}")))


def _stamp(key: ModelKey) -> Stamp:
    try:
        return stamp_of(model_files(key))
    except OSError as error:
        raise ModelError(
            "a file of the model cannot be read",
            expected="the model as it was made",
            found=error.strerror or str(error),
            cure="restore it, or ask again if it was being changed at this moment",
            path=error.filename,
        ) from error


def _with_options(strategy: Strategy, options: PredictOptions) -> Strategy:
    from ..postprocess.subset import values_of

    values = values_of(options.structures, strategy.labels)
    return replace(strategy, options=options, values=values)


def _prepared(raw: RawCase, strategy: Strategy, should_stop: Stop) -> RawCase | PreprocessedCase:
    """Preprocessed where there is only one way to do that: the image as read can go."""
    from ..preprocess.case import preprocess_case

    if not strategy.reads_ahead:
        return raw
    (voter,) = strategy.voters
    return preprocess_case(raw, voter.plan, voter.configuration, should_stop)
