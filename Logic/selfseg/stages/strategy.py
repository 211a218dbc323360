"""One image through the whole strategy of a model: stages, folds, members, postprocessing.

image -> [region: a first look, then only the part that matters]
-> each member: [first stage ->] preprocessing -> slabs of maps
-> one member: decided slab by slab;  several: kept, then decided together
-> postprocessing -> the structures that were asked for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.bundle import ModelBundle
from ..domain.case import FloatArray, PreprocessedCase, PreprocessRecord, RawCase
from ..domain.events import Event, Progress, Reporter, silent
from ..domain.labels import LabelScheme
from ..infer.cascade import previous_on_grid
from ..infer.confidence import Confidence, EntropyMeter
from ..infer.engine import TileOptions
from ..infer.ensemble import KeptMaps, Vote, decide, kept_bytes, mean_probabilities
from ..infer.probability_map import ProbabilityTaker, network_affine
from ..infer.restore import SlabTaker, native_restoration, restoration_bytes
from ..io.probability_files import probability_file
from ..postprocess.components import postprocess
from ..postprocess.subset import keep_values, values_of
from ..preprocess.case import preprocess_case
from ..preprocess.cut import Box, cut_normalised
from .member_case import MemberCase
from .model import TrainedModel, temperature_of
from .models import LoadedModel
from .region import find_region, region_around
from .segment import ScaledProgress, segment_image

Stop = Callable[[], bool]


def never() -> bool:
    """Never stops."""
    return False


@dataclass(frozen=True)
class PredictOptions:
    """How to predict, beside what the model says.

    Args:
        step: distance of neighbouring tiles as a share of the patch.
        mirror: averages over mirrored images, along the axes that the training has mirrored.
        structures: names of those to write; none means all.
        region: looks first where the structures are, and predicts only there in full.
        probabilities: also writes them, at the network's resolution.
        confidence: measures how sure the model is of each case.
        memory_bytes: what the process may use in all; None: what the machine has.
    """

    step: float = 0.5
    mirror: bool = True
    structures: tuple[str, ...] = ()
    region: bool = False
    probabilities: bool = False
    confidence: bool = True
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Strategy:
    """A model that is loaded, and how to use it; made by `load_strategy`."""

    bundle: ModelBundle
    voters: tuple[LoadedModel, ...]
    options: PredictOptions = field(default_factory=PredictOptions)
    values: frozenset[int] | None = None
    """The label values to write; None: all."""

    @property
    def labels(self) -> LabelScheme:
        """The model's structures."""
        return self.bundle.description.labels

    @property
    def temperature(self) -> float:
        """Of the probabilities that are reported; labels do not depend on it."""
        return temperature_of(self.bundle.calibration, self.bundle.members)

    @property
    def reads_ahead(self) -> bool:
        """Whether a case may come preprocessed: there is only one preprocessing."""
        (first, *others) = self.voters
        return not others and first.first is None and not self.options.region


@dataclass(frozen=True)
class Outcome:
    """What became of a case: label values (Z, Y, X) on its native grid, and how sure they are."""

    labels: NDArray[Any]
    confidence: Confidence | None = None


def load_strategy(
    model: TrainedModel,
    options: PredictOptions | None = None,
    *,
    device: str = "auto",
    reporter: Reporter = silent,
) -> Strategy:
    """Reads the networks of every member.

    Raises:
        UsageError: the model has none of the structures that were asked for.
        ModelError: weights are missing or damaged.
    """
    options = options or PredictOptions()
    values = values_of(options.structures, model.bundle.description.labels)
    voters = tuple(model.load(member, device, reporter=reporter) for member in model.bundle.members)
    return Strategy(model.bundle, voters, options, values)


def segment_with(
    image: RawCase | PreprocessedCase,
    strategy: Strategy,
    *,
    probabilities: Path | None = None,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> Outcome:
    """Segments an image as the whole model does.

    Args:
        image: as read; or preprocessed, where `strategy.reads_ahead`.
        strategy: the model.
        probabilities: file to write them to.
        reporter: is told of the progress over all members and stages.
        should_stop: polled between batches of tiles.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: the image does not fit the model.
        UsageError: the memory budget is too small.
    """
    work = _Work(strategy, probabilities, reporter, should_stop)
    outcome = work.run(image)
    labels = postprocess(outcome.labels, strategy.bundle.postprocessing, strategy.labels)
    return replace(outcome, labels=keep_values(labels, strategy.values))


@dataclass(frozen=True)
class _Work:
    """One image on its way."""

    strategy: Strategy
    probabilities: Path | None
    reporter: Reporter
    should_stop: Stop

    @property
    def options(self) -> PredictOptions:
        return self.strategy.options

    def run(self, image: RawCase | PreprocessedCase) -> Outcome:
        box = first = None
        if isinstance(image, RawCase) and self.options.region:
            box, first = self.look(image)
        decide_by = self.alone if len(self.strategy.voters) == 1 else self.together
        if not isinstance(image, RawCase) or box is None:
            return decide_by(lambda index: self.prepared(image, index, None, first))
        parts: list[Box] = []

        def prepared(index: int) -> PreprocessedCase:
            return self.prepared(image, index, box, first, parts.append)

        inner = decide_by(prepared)
        whole = np.zeros(image.geometry.shape, inner.labels.dtype)
        whole[parts[0]] = inner.labels
        return replace(inner, labels=whole)

    def look(self, raw: RawCase) -> tuple[Box | None, NDArray[Any] | None]:
        """The region, and what a cascade's first stage has predicted where that was the look."""
        voters = self.strategy.voters
        if len(voters) == 1 and voters[0].first is not None:
            # The cascade looks at the whole image anyway.
            first = self.first_stage(raw, 0)
            return region_around(first, raw.geometry, voters, reporter=self.reporter), first
        box = find_region(
            raw,
            voters,
            mirror=self.options.mirror,
            step=self.options.step,
            memory_bytes=self.options.memory_bytes,
            reporter=self.without_progress,
            should_stop=self.should_stop,
        )
        return box, None

    def prepared(
        self,
        image: RawCase | PreprocessedCase,
        index: int,
        box: Box | None,
        first: NDArray[Any] | None,
        place: Callable[[Box], None] = lambda box: None,
    ) -> PreprocessedCase:
        """The case as a member takes it, the first stage's prediction included."""
        if isinstance(image, PreprocessedCase):
            return image
        voter = self.strategy.voters[index]
        plan, previous = voter.plan, first
        if voter.first is not None and previous is None:
            previous = self.first_stage(image, index)
        if box is not None:
            part = cut_normalised(image, plan, voter.configuration, box)
            place(part.box)
            image, plan = part.image, part.plan
            previous = None if previous is None else previous[part.box]
        case = preprocess_case(image, plan, voter.configuration)
        if previous is None:
            return case
        return replace(case, previous=previous_on_grid(previous, case.record))

    def first_stage(self, raw: RawCase, index: int) -> NDArray[Any]:
        """The label map (Z, Y, X) of a cascade's first stage on the native grid."""
        first = self.strategy.voters[index].first
        assert first is not None  # noqa: S101 - the callers have looked
        return segment_image(
            raw,
            first,
            mirror=self.options.mirror,
            step=self.options.step,
            memory_bytes=self.options.memory_bytes,
            reporter=self.progress(index, stage=0),
            should_stop=self.should_stop,
        )

    def alone(self, prepared: Callable[[int], PreprocessedCase]) -> Outcome:
        """One member: slices are decided as soon as they are predicted."""
        labels, temperature = self.strategy.labels, self.strategy.temperature
        turn = self.turn(prepared(0), 0)
        record, head = turn.case.record, turn.head
        native, restoration = native_restoration(record, labels, head)
        takers: list[SlabTaker] = [restoration]
        meter = None
        if self.options.confidence:
            meter = EntropyMeter(labels, record.shape_after_resampling, head, temperature)
            takers.append(meter)
        with ExitStack() as open_files:
            if self.probabilities is not None:
                write = open_files.enter_context(self.probability_file(record))
                takers.append(ProbabilityTaker(write, labels, head, temperature))
            self.predict(turn, 0, takers, restoration_bytes(record, labels, turn.map_count))
        if meter is None:
            return Outcome(native)
        return Outcome(native, meter.result(turn.fold_dice(native)))

    def together(self, prepared: Callable[[int], PreprocessedCase]) -> Outcome:
        """Several members: their maps are kept, and decided when all are there."""
        labels, temperature = self.strategy.labels, self.strategy.temperature
        votes, agreed, later = [], [], []
        for index in range(len(self.strategy.voters)):
            turn = self.turn(prepared(index), index)
            record = turn.case.record
            shape, count = record.shape_after_resampling, turn.map_count
            kept = KeptMaps(shape, count)
            self.predict(turn, index, [kept], kept_bytes(shape, count))
            votes.append(Vote(kept.maps, record, turn.head))
            if turn.needs_image:
                later.append(turn)
            else:  # the image can go
                agreed.append(turn.fold_dice(None))
            del turn
        meter = None
        if self.options.confidence:
            crop = votes[0].record.shape_before_resampling
            meter = EntropyMeter(labels, crop, temperature=temperature)
        native = decide(votes, labels, meter)
        if self.probabilities is not None:
            with self.probability_file(votes[0].record) as write:
                for plane in mean_probabilities(votes, labels, temperature):
                    write(plane)
        if meter is None:
            return Outcome(native)
        del votes
        agreed += [turn.fold_dice(native) for turn in later]
        return Outcome(native, meter.result(_mean_of(agreed)))

    def turn(self, case: PreprocessedCase, index: int) -> MemberCase:
        """The case before a member."""
        voter, options = self.strategy.voters[index], self.options
        tiles = TileOptions(options.step, options.mirror, voter.mirror_axes, options.memory_bytes)
        return MemberCase(case, voter, tiles, compare_folds=options.confidence)

    def predict(
        self, turn: MemberCase, index: int, takers: Sequence[SlabTaker], further: int
    ) -> None:
        """Gives the slabs of a member's prediction to the takers."""
        turn.predict(
            takers,
            further,
            reporter=self.progress(index, stage=turn.voter.stage_count - 1),
            should_stop=self.should_stop,
        )

    def probability_file(
        self, record: PreprocessRecord
    ) -> AbstractContextManager[Callable[[FloatArray], None]]:
        """The file that takes the probabilities of a grid."""
        assert self.probabilities is not None  # noqa: S101 - the callers have looked
        return probability_file(
            self.probabilities,
            record.shape_after_resampling,
            head_names(self.strategy.labels),
            network_affine(record),
            self.strategy.temperature,
        )

    def without_progress(self, event: Event) -> None:
        """Tells what is worth a line: how far a first look is, is not."""
        if not isinstance(event, Progress):
            self.reporter(event)

    def progress(self, index: int, *, stage: int) -> Reporter:
        """Counts one stage of one member as a part of all."""
        counts = [voter.stage_count for voter in self.strategy.voters]
        before = sum(counts[:index]) + stage
        # All stages below the last are one call.
        width = max(1, counts[index] - 1) if stage == 0 else 1
        return ScaledProgress(self.reporter, before / sum(counts), width / sum(counts))


def head_names(labels: LabelScheme) -> tuple[str, ...]:
    """What the heads of the network stand for, in order."""
    names = tuple(label.name for label in labels.foreground)
    return names if labels.has_regions else ("background", *names)


def _mean_of(found: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over members, where it is known."""
    result: dict[str, float | None] = {}
    for name in dict.fromkeys(name for entry in found for name in entry):
        known = [dice for entry in found if (dice := entry.get(name)) is not None]
        result[name] = sum(known) / len(known) if known else None
    return result
