"""Segments of one case as arrays, between files and the scene: no Qt, no MRML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfseg.domain.appearance import Appearance
from selfseg.domain.errors import ImageError, ModelError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Colour, LabelScheme


@dataclass(frozen=True)
class Segment:
    """One structure.

    Args:
        identifier: of the segment in Slicer; stays the same while the name may change.
        name: of the structure.
        layer: which of the layers holds it.
        value: its label value there.
        colour: RGB 0-255; None where the interface chooses.
        code: as the model has it ("SCT^10200004^Liver").
        terminology: as Slicer writes it; "" where the interface looks it up.
        appearance: what the model says of colour and codes, if anything.
        made: "AUTOMATIC", "SEMIAUTOMATIC" or "MANUAL", as DICOM calls it.
    """

    identifier: str
    name: str
    layer: int
    value: int
    colour: Colour | None = None
    code: str | None = None
    terminology: str = ""
    appearance: Appearance | None = None
    made: str = "AUTOMATIC"


@dataclass(frozen=True)
class Segments:
    """The segments of a case. `layers` are label maps (Z, Y, X) on one grid.

    `exclusive`: a voxel can be one structure only. `named`: the structures' names are known.
    """

    grid: Geometry
    layers: tuple[Any, ...]
    segments: tuple[Segment, ...]
    exclusive: bool = False
    named: bool = True

    def mask(self, segment: Segment) -> Any:
        """Where a segment is: bool (Z, Y, X)."""
        found: Any = self.layers[segment.layer] == segment.value
        return found


@dataclass(frozen=True)
class Description:
    """What label values mean; more where a model says it: looks, and what the channels are."""

    labels: LabelScheme
    appearances: tuple[Appearance, ...] = ()
    channel_names: tuple[str, ...] = ()

    def appearance(self, index: int) -> Appearance | None:
        """Of a structure by its position."""
        return self.appearances[index] if index < len(self.appearances) else None


def segments_of_labels(labels: Any, grid: Geometry, described: Description | None) -> Segments:
    """The structures of a label map.

    Args:
        labels: (Z, Y, X) label values.
        grid: of the label map.
        described: what the values mean; without it every value is a structure without a name.

    Raises:
        ModelError: the label map holds a value that the description does not name.
    """
    import numpy as np

    if labels.dtype.kind != "u" or labels.dtype.itemsize > 2:
        labels = labels.astype(np.int16 if labels.dtype.kind != "b" else np.uint8)
    values = [int(value) for value in np.unique(labels) if value != 0]
    if described is None:
        unnamed = tuple(
            Segment(f"Segment_{index + 1}", f"label {value}", 0, value)
            for index, value in enumerate(values)
        )
        return Segments(grid, (labels,), unnamed, exclusive=True, named=False)
    scheme = described.labels
    if unknown := set(values) - scheme.allowed_values:
        raise ModelError(
            "the label map holds values that the model's description does not name",
            expected=str(sorted(scheme.allowed_values)),
            found=str(sorted(unknown)),
            cure="choose the model that made these segmentations",
        )
    exclusive = not scheme.has_regions
    layers = (
        (labels,)
        if exclusive
        else tuple(np.isin(labels, found.values).astype(np.uint8) for found in scheme.foreground)
    )
    named = tuple(
        Segment(
            f"Segment_{index + 1}",
            found.name,
            0 if exclusive else index,
            found.values[0] if exclusive else 1,
            found.colour,
            found.code,
            appearance=described.appearance(index),
        )
        for index, found in enumerate(scheme.foreground)
    )
    return Segments(grid, layers, named, exclusive)


def changed_structures(before: Segments, now: Segments) -> dict[str, float]:
    """Dice with what was before, of each structure that is not the same any more.

    A structure that was removed or added has 0; one that was only renamed has 1.
    """
    earlier = {segment.identifier: segment for segment in before.segments}
    later = {segment.identifier: segment for segment in now.segments}
    changes: dict[str, float] = {}
    for identifier, old in earlier.items():
        new = later.get(identifier)
        if new is None:
            if before.mask(old).any():
                changes[old.name] = 0.0
            continue
        dice = _dice(before.mask(old), now.mask(new))
        if dice < 1.0 or old.name != new.name:
            changes[new.name] = dice
    for identifier, new in later.items():
        if identifier not in earlier:
            changes[new.name] = 0.0
    return changes


def packed(given: Segments) -> Segments:
    """The same segments in as few layers as their overlaps allow, every value used once.

    Args:
        given: any segments.
    """
    import numpy as np

    values = _unique_values([segment.value for segment in given.segments])
    kind = np.uint8 if max(values, default=0) < 256 else np.int16
    layers: list[Any] = []
    placed = []
    for segment, value in zip(given.segments, values, strict=True):
        mask = given.mask(segment)
        index = next((i for i, layer in enumerate(layers) if not layer[mask].any()), len(layers))
        if index == len(layers):
            layers.append(np.zeros(given.grid.shape, kind))
        layers[index][mask] = value
        placed.append(replace(segment, layer=index, value=value))
    if not layers:
        layers.append(np.zeros(given.grid.shape, kind))
    return replace(given, layers=tuple(layers), segments=tuple(placed))


def check_exclusive(given: Segments) -> None:
    """Refuses segments that overlap where the model knows no overlaps.

    Raises:
        ImageError: two structures share voxels.
    """
    import numpy as np

    if not given.exclusive:
        return
    owner = np.zeros(given.grid.shape, np.int16)
    for number, segment in enumerate(given.segments, start=1):
        mask = given.mask(segment)
        taken = owner[mask]
        if shared := int(np.count_nonzero(taken)):
            other = given.segments[int(taken[taken > 0][0]) - 1]
            raise ImageError(
                f"{other.name} and {segment.name} overlap",
                expected="each voxel in one structure only, as this model has them",
                found=f"{shared} voxels in both",
                cure='in the Segment Editor, set "Modify other segments" to "Overwrite all" and '
                "paint there once more, or subtract one from the other (Logical operators)",
            )
        owner[mask] = number


def _unique_values(wished: Sequence[int]) -> list[int]:
    """The values as they are, another one where a value is taken or cannot be used."""
    free = max((*wished, 0)) + 1
    taken: set[int] = set()
    values = []
    for value in wished:
        if value < 1 or value in taken:
            value, free = free, free + 1
        taken.add(value)
        values.append(value)
    return values


def _dice(first: Any, second: Any) -> float:
    import numpy as np

    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else 1.0
