"""One image before one member of a model: predicted, and how far the member's folds agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ..domain.case import PreprocessedCase
from ..domain.events import Reporter
from ..domain.stopping import Stop, never
from ..infer.agreement import RecordingBackend, fold_dice, folds_of, is_small
from ..infer.backend import Backend, Head
from ..infer.engine import TileOptions, head_of, predict_slabs
from ..infer.restore import SlabTaker, fill
from .models import LoadedModel


class MemberCase:
    """An image as a member takes it.

    Args:
        case: preprocessed for the member, with the prediction of a cascade's first stage.
        voter: the member.
        options: how tiles are taken.
        compare_folds: whether somebody will ask for `fold_dice`.
        should_stop: asked between passes through a network.
    """

    def __init__(
        self, case: PreprocessedCase, voter: LoadedModel, options: TileOptions, *,
        compare_folds: bool, should_stop: Stop = never,
    ) -> None:  # fmt: skip
        self.case = case
        self.should_stop = should_stop
        self.voter = voter
        self.options = options
        self.labels = voter.plan.description.labels
        self.configuration = voter.plan.configuration(voter.configuration)
        self.previous_values = voter.plan.previous_values(voter.configuration)
        self.mirrorings = 2 ** len(options.axes(len(self.configuration.patch_size)))
        folds = folds_of(voter.backend) if compare_folds else ()
        self.comparable = len(folds) > 1
        self.recorder: RecordingBackend | None = None
        if self.comparable and is_small(
            case, self.configuration, self.previous_values,
            step=options.step, mirrorings=self.mirrorings,
        ):  # fmt: skip
            self.recorder = RecordingBackend(folds, self.labels)

    @property
    def backend(self) -> Backend:
        """What predicts."""
        return self.recorder or self.voter.backend

    @property
    def head(self) -> Head | None:
        """What turns maps into logits; None where they are the logits."""
        return head_of(self.backend)

    @property
    def map_count(self) -> int:
        """Values of a voxel in the maps."""
        return self.labels.head_count if self.head is None else int(self.head.weights.shape[1])

    def predict(
        self,
        takers: Sequence[SlabTaker],
        further_bytes: int,
        *,
        reporter: Reporter,
    ) -> None:
        """Gives the slabs of the prediction to the takers.

        Raises:
            Cancelled, ModelError, UsageError: see `predict_slabs`.
        """
        slabs = predict_slabs(
            self.case,
            self.backend,
            self.configuration,
            head_count=self.labels.head_count,
            previous_values=self.previous_values,
            options=self.options,
            further_bytes=further_bytes,
            reporter=reporter,
            should_stop=self.should_stop,
        )
        fill(slabs, *takers)

    @property
    def needs_image(self) -> bool:
        """Whether `fold_dice` has to look at the image again."""
        return self.comparable and self.recorder is None

    def fold_dice(self, native: NDArray[Any] | None) -> dict[str, float | None]:
        """How far the member's folds agree, by structure, once it has predicted.

        Args:
            native: the label map (Z, Y, X) of the whole model; None will do where
                `needs_image` is false.

        Returns:
            nothing at all with one fold.

        Raises:
            Cancelled: `should_stop` said so.
        """
        if self.recorder is not None:
            return self.recorder.decisions.dice()
        if not self.comparable or native is None:
            return {}
        return fold_dice(
            self.case,
            self.voter.backend,
            self.configuration,
            self.labels,
            native,
            previous_values=self.previous_values,
            step=self.options.step,
            mirrorings=self.mirrorings,
            should_stop=self.should_stop,
        )
