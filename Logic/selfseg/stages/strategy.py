"""One image through the whole strategy of a model: stages, folds, members, postprocessing.

image -> [region: a first look, then only the part that matters]
-> each member: [first stage ->] preprocessing -> slabs of maps
-> one member: decided slab by slab;  several, or atlases beside them: kept, then decided together
-> what it is probably worth -> postprocessing -> the structures that were asked for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.bundle import ModelBundle
from ..domain.case import FloatArray, PreprocessedCase, RawCase
from ..domain.events import Event, Notice, Progress, Reporter, silent
from ..domain.labels import LabelScheme
from ..domain.stopping import Stop, never
from ..infer.cascade import previous_on_grid
from ..infer.engine import TileOptions
from ..infer.ensemble import KeptMaps, Vote, decide, kept_bytes
from ..infer.restore import SlabTaker, native_restoration, restoration_bytes
from ..postprocess.components import postprocess
from ..postprocess.subset import keep_values, values_of
from ..preprocess.case import preprocess_case
from ..preprocess.cut import Box, cut_normalised
from ..quality.ranking import TrackRecord, track_record
from .atlas_vote import AtlasVoters, atlas_votes
from .member_case import MemberCase
from .model import TrainedModel
from .models import LoadedModel
from .outcome import Decided, Outcome
from .predict_options import PredictOptions
from .quality_meter import QualityMeter
from .region import box_of_limit, find_region, pasted, region_around
from .segment import ScaledProgress, segment_image
from .written_probabilities import WrittenProbabilities

__all__ = ["Outcome", "PredictOptions", "Strategy", "load_strategy", "segment_with"]

FEWEST_SLICES = 4
"""Along every axis, of an image that atlases are registered to."""


@dataclass(frozen=True)
class Strategy:
    """A model that is loaded, and how to use it; made by `load_strategy`."""

    bundle: ModelBundle
    voters: tuple[LoadedModel, ...]
    options: PredictOptions = field(default_factory=PredictOptions)
    values: frozenset[int] | None = None
    """The label values to write; None: all."""
    atlases: AtlasVoters | None = None
    record: TrackRecord | None = None
    """How the predictor of the quality did on held-out cases; None without one."""

    @property
    def labels(self) -> LabelScheme:
        """The model's structures."""
        return self.bundle.description.labels

    @property
    def temperature(self) -> float:
        """Of the probabilities that are reported; labels do not depend on it."""
        return self.bundle.calibration.temperature

    @property
    def decides_alone(self) -> bool:
        """Whether there is one member and nobody beside it."""
        return len(self.voters) == 1 and self.atlases is None

    @property
    def reads_ahead(self) -> bool:
        """Whether a case may come preprocessed: there is only one preprocessing."""
        part = self.options.region or self.options.limit is not None
        return self.decides_alone and self.voters[0].first is None and not part


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
    quality = model.bundle.quality
    record = None if quality is None else track_record(quality)
    return Strategy(model.bundle, voters, options, values, model.atlases, record)


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
        should_stop: asked many times a second.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: the image does not fit the model.
        UsageError: the memory budget is too small.
    """
    written = None
    if probabilities is not None:
        written = WrittenProbabilities(probabilities, strategy.labels, strategy.temperature)
    work = _Work(strategy, written, reporter, should_stop)
    decided = work.run(image)
    labels = postprocess(decided.labels, strategy.bundle.postprocessing, strategy.labels)
    labels = keep_values(labels, strategy.values)
    if decided.meter is None:
        return Outcome(labels)
    quality = None
    if strategy.bundle.quality is not None and strategy.options.limit is None:
        grid = image.geometry if isinstance(image, RawCase) else image.record.native
        wanted, record = strategy.options.structures, strategy.record
        quality = decided.quality(strategy.bundle.quality, grid.spacing, wanted, record)
    return Outcome(labels, decided.meter.result(decided.fold_dice), quality)


@dataclass(frozen=True)
class _Work:
    """One image on its way."""

    strategy: Strategy
    probabilities: WrittenProbabilities | None
    reporter: Reporter
    should_stop: Stop

    @property
    def options(self) -> PredictOptions:
        return self.strategy.options

    def run(self, image: RawCase | PreprocessedCase) -> Decided:
        if not isinstance(image, RawCase):
            return self.alone(lambda index: image)
        box = first = None
        limit = self.options.limit
        if limit is not None:
            box = box_of_limit(limit, image.geometry, self.strategy.voters)
            if not image.channels[(slice(None), *box)].any():  # nothing was ever found in nothing
                nothing = np.zeros(image.geometry.shape, np.uint8)
                return Decided(nothing, nothing)
        elif self.options.region:
            box, first = self.look(image)
        parts: list[Box] = []

        def prepared(index: int) -> PreprocessedCase:
            return self.prepared(image, index, box, first, parts.append)

        if self.strategy.decides_alone:
            inner = self.alone(prepared)
        else:
            inner = self.together(prepared, self.said_by_atlases(image), parts)
        if not parts:
            return inner
        whole, networks = (
            pasted(labels, parts[0], image.geometry.shape, limit)
            for labels in (inner.labels, inner.networks)
        )
        return replace(inner, labels=whole, networks=networks)

    def said_by_atlases(self, image: RawCase) -> FloatArray | None:
        """Probabilities (K, Z, Y, X) of the atlases; None without any."""
        atlases = self.strategy.atlases
        if atlases is None:
            return None
        if min(image.geometry.shape) < FEWEST_SLICES:
            text = f"{image.identifier}: too flat for atlases, the networks decide alone"
            self.reporter(Notice(text, level="warning"))
            return None
        return atlases.probabilities(
            image,
            self.strategy.labels,
            reporter=self.without_progress,
            should_stop=self.should_stop,
        )

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
        image: RawCase,
        index: int,
        box: Box | None,
        first: NDArray[Any] | None,
        place: Callable[[Box], None],
    ) -> PreprocessedCase:
        """The case as a member takes it, the first stage's prediction included."""
        voter = self.strategy.voters[index]
        plan, previous = voter.plan, first
        if voter.first is not None and previous is None:
            previous = self.first_stage(image, index)
        if box is not None:
            part = cut_normalised(image, plan, voter.configuration, box)
            place(part.box)
            image, plan = part.image, part.plan
            previous = None if previous is None else previous[part.box]
        case = preprocess_case(image, plan, voter.configuration, self.should_stop)
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

    def alone(self, prepared: Callable[[int], PreprocessedCase]) -> Decided:
        """One member: slices are decided as soon as they are predicted."""
        labels, temperature = self.strategy.labels, self.strategy.temperature
        turn = self.turn(prepared(0), 0)
        record, head = turn.case.record, turn.head
        native, restoration = native_restoration(record, labels, head, self.should_stop)
        takers: list[SlabTaker] = [restoration]
        meter = None
        if self.options.confidence:
            meter = QualityMeter(labels, record.shape_after_resampling, head, temperature)
            takers.append(meter)
        with ExitStack() as open_files:
            if self.probabilities is not None:
                taker = self.probabilities.taken_from(record, head)
                takers.append(open_files.enter_context(taker))
            self.predict(turn, 0, takers, restoration_bytes(record, labels, turn.map_count))
        if meter is None:
            return Decided(native, native)
        return Decided(native, native, meter, turn.fold_dice(native))

    def together(
        self,
        prepared: Callable[[int], PreprocessedCase],
        said: FloatArray | None,
        parts: Sequence[Box],
    ) -> Decided:
        """Several members, or atlases too: maps are kept, and decided when all are there.

        Args:
            prepared: the case as each member takes it.
            said: probabilities of the atlases, on the native grid.
            parts: of that grid, what the members have seen once they are prepared; none: all.
        """
        labels = self.strategy.labels
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
            # Of the mean as it is: its temperature is for the probabilities that are written.
            meter = QualityMeter(labels, votes[0].record.shape_before_resampling)
        native = networks = decide(votes, labels, meter, self.should_stop)
        atlases = self.strategy.atlases
        if said is not None and atlases is not None:
            said = said[(slice(None), *parts[0])] if parts else said
            everyone = atlas_votes(votes, said, atlases.fusion.share, labels)
            native = decide(everyone, labels, should_stop=self.should_stop)
            del everyone
        if self.probabilities is not None:
            self.probabilities.write_mean(votes, self.should_stop)
        if meter is None:
            return Decided(native, networks)
        del votes
        agreed += [turn.fold_dice(networks) for turn in later]
        return Decided(native, networks, meter, _mean_of(agreed))

    def turn(self, case: PreprocessedCase, index: int) -> MemberCase:
        """The case before a member."""
        voter, options = self.strategy.voters[index], self.options
        tiles = TileOptions(options.step, options.mirror, voter.mirror_axes, options.memory_bytes)
        return MemberCase(
            case, voter, tiles, compare_folds=options.confidence, should_stop=self.should_stop
        )

    def predict(
        self, turn: MemberCase, index: int, takers: Sequence[SlabTaker], further: int
    ) -> None:
        """Gives the slabs of a member's prediction to the takers."""
        turn.predict(
            takers,
            further,
            reporter=self.progress(index, stage=turn.voter.stage_count - 1),
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


def _mean_of(found: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over members, where it is known."""
    result: dict[str, float | None] = {}
    for name in dict.fromkeys(name for entry in found for name in entry):
        known = [dice for entry in found if (dice := entry.get(name)) is not None]
        result[name] = sum(known) / len(known) if known else None
    return result
