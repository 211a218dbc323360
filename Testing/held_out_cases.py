"""Made references and out-of-fold predictions, the same on both sides of the selection parity.

Everything follows from a number and NumPy, so that the golden file holds decisions only.
benchmarks/selection_parity.py lets nnunetv2 decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "selfseg" / "select" / "peer_decisions.json"

COUNT = 72

CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")

SCHEMES: tuple[tuple[dict[str, Any], tuple[int, ...] | None], ...] = (
    ({"background": 0, "a": 1, "b": 2, "c": 3}, None),
    ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "top": 3}, (1, 2, 3)),
    ({"background": 0, "only": 1}, None),
    ({"background": 0, "a": 1, "b": 2, "ignore": 3}, None),
    ({"background": 0, "a": 1, "b": 2, "never": 3}, None),
    ({"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, (1, 2)),
)

KINDS = ("noisy", "spurious", "ties", "missing", "alike", "empty")


@dataclass(frozen=True)
class MadeCase:
    """One case: reference (Z, Y, X) and logits (K, Z, Y, X) float32 per configuration."""

    name: str
    reference: NDArray[np.uint8]
    logits: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class MadeProblem:
    """One data set on which a model is to be selected."""

    number: int

    @property
    def name(self) -> str:
        return f"{self.number}: {self.kind}, {', '.join(self.labels)}"

    @property
    def kind(self) -> str:
        return KINDS[self.number // len(SCHEMES) % len(KINDS)]

    @property
    def labels(self) -> dict[str, Any]:
        return SCHEMES[self.number % len(SCHEMES)][0]

    @property
    def order(self) -> tuple[int, ...] | None:
        return SCHEMES[self.number % len(SCHEMES)][1]

    @property
    def ignore(self) -> int | None:
        return self.labels.get("ignore")

    @property
    def structures(self) -> tuple[tuple[int, ...], ...]:
        """The label values of each structure, in declared order."""
        return tuple(
            tuple(value) if isinstance(value, list) else (value,)
            for name, value in self.labels.items()
            if name not in ("background", "ignore")
        )

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(sorted({v for values in self.structures for v in values}))

    def cases(self) -> list[MadeCase]:
        generator = np.random.Generator(np.random.PCG64(self.number))
        count = 1 + int(generator.integers(6))
        depth = 1 if self.number % 7 == 3 else 8
        return [self._case(generator, f"case_{i:02d}", (depth, 14, 13)) for i in range(count)]

    def decoded(self, probabilities: NDArray[Any]) -> NDArray[np.uint8]:
        """Labels (Z, Y, X) from probabilities (K, Z, Y, X)."""
        if self.order is None:
            values = np.array([0, *self.values], np.uint8)
            return values[probabilities.argmax(axis=0)]
        result = np.zeros(probabilities.shape[1:], np.uint8)
        for head, value in enumerate(self.order):
            result[probabilities[head] > 0.5] = value
        return result

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax, or sigmoid for regions."""
        if self.order is not None:
            return (1 / (1 + np.exp(-logits))).astype(np.float32)
        shifted = np.exp(logits - logits.max(axis=0))
        return (shifted / shifted.sum(axis=0)).astype(np.float32)

    def _case(
        self, generator: np.random.Generator, name: str, shape: tuple[int, int, int]
    ) -> MadeCase:
        present = [v for v in self.values if v != self.labels.get("never")]
        if self.kind == "missing":
            present = [v for v in present if generator.random() < 0.5]
        reference = np.zeros(shape, np.uint8)
        for value in present:
            _paint(reference, value, generator, largest=6)
        logits = []
        for model in range(len(CONFIGURATIONS)):
            if self.kind == "alike" and logits:
                logits.append(logits[0])
                continue
            made = self._prediction(generator, reference, model)
            logits.append(self._logits(generator, made))
        if self.ignore is not None:
            reference[generator.random(shape) < 0.1] = self.ignore
        return MadeCase(name, reference, tuple(logits))

    def _prediction(
        self, generator: np.random.Generator, reference: NDArray[np.uint8], model: int
    ) -> NDArray[np.uint8]:
        made = np.roll(reference, int(generator.integers(-1, 2)), axis=1 + model % 2)
        if self.kind == "empty" and generator.random() < 0.4:
            return np.zeros_like(made)
        for value in self.values:
            if self.kind in ("spurious", "missing") and generator.random() < 0.6:
                for _ in range(int(generator.integers(1, 4))):
                    _paint(made, value, generator, largest=3)
            if self.kind == "ties":
                # Of two such blobs none is the largest.
                made[made == value] = 0
                made[0, 1:4, 1 + 3 * value % 9 : 3 + 3 * value % 9] = value
                made[0, 8:11, 1 + 3 * value % 9 : 3 + 3 * value % 9] = value
            if generator.random() < 0.15:
                made[made == value] = 0
        return made

    def _logits(
        self, generator: np.random.Generator, made: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        noise = 1.3 if self.kind == "noisy" else 0.9
        if self.order is None:
            heads = [made == value for value in (0, *self.values)]
        else:
            heads = [np.isin(made, values) for values in self.structures]
        logits = np.stack([np.where(head, 2.0, -2.0) for head in heads])
        logits += noise * generator.standard_normal(logits.shape)
        return logits.astype(np.float16).astype(np.float32)  # as they are stored


def _paint(
    labels: NDArray[np.uint8], value: int, generator: np.random.Generator, *, largest: int
) -> None:
    start = [int(generator.integers(n)) for n in labels.shape]
    size = [1 + int(generator.integers(largest)) for _ in labels.shape]
    labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = value
