"""The probabilities of one image as a file: at the network's resolution, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..arrays.probabilities import logits_of
from ..domain.case import FloatArray, PreprocessRecord
from ..domain.labels import LabelScheme
from ..domain.starting_point import head_names
from ..domain.stopping import Stop
from ..infer.backend import Head
from ..infer.confidence import probabilities_of
from ..infer.ensemble import Vote, mean_probabilities
from ..infer.probability_map import ProbabilityTaker, network_affine
from ..infer.restore import SlabTaker
from ..io.probability_files import probability_file


@dataclass(frozen=True)
class WrittenProbabilities:
    """Where an image's probabilities go, and what they are of.

    Args:
        path: of the file.
        labels: the model's structures.
        temperature: the model's.
    """

    path: Path
    labels: LabelScheme
    temperature: float

    @contextmanager
    def taken_from(self, record: PreprocessRecord, head: Head | None) -> Iterator[SlabTaker]:
        """What takes the slabs of one member, while the file is open."""
        with self._file(record) as write:
            yield ProbabilityTaker(write, self.labels, head, self.temperature)

    def write_mean(self, votes: Sequence[Vote], should_stop: Stop) -> None:
        """Writes what several members say together, on the grid of the first."""
        with self._file(votes[0].record) as write:
            for plane in mean_probabilities(votes, self.labels, 1.0, should_stop):
                if self.temperature == 1:
                    write(plane)
                else:
                    logits = logits_of(plane, regions=self.labels.has_regions)
                    write(probabilities_of(logits, self.labels, self.temperature))

    def _file(
        self, record: PreprocessRecord
    ) -> AbstractContextManager[Callable[[FloatArray], None]]:
        return probability_file(
            self.path,
            record.shape_after_resampling,
            head_names(self.labels),
            network_affine(record),
            self.temperature,
        )
