"""Data sets as nnU-Net and the Decathlon lay them out, taken as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..domain.errors import ImageError
from ..domain.labels import LabelScheme
from ..domain.terminology import parse_terms
from ..io.datasets import open_dataset
from .collection import (
    IGNORE,
    CollectedCase,
    CollectedImage,
    CollectedSegment,
    CollectedSegmentation,
)
from .headers import image_source, layers_of


def dataset_cases(folder: Path) -> Iterator[CollectedCase]:
    """The cases of a data set, one by one; its dataset.json says what the values mean.

    Raises:
        DatasetError: the data set has a fault (`selfseg check` names them all).
    """
    data = open_dataset(folder)
    names = data.description.channel_names
    for case in data.cases:
        row = CollectedCase(case.identifier, folder, group=(data.groups or {}).get(case.identifier))
        try:
            sources = [part for path in case.images for part in layers_of(image_source(path))]
            label = None if case.label is None else image_source(case.label)
        except ImageError as error:
            yield row.with_problem("unreadable", f"{error.what} ({error.found})", error.cure)
            continue
        if len(sources) != len(names):
            yield row.with_problem(
                "channels",
                f"it has {len(sources)} channels, dataset.json names {len(names)}",
                "correct the data set (`selfseg check`)",
            )
            continue
        images = tuple(
            CollectedImage(name, source) for name, source in zip(names, sources, strict=True)
        )
        segmentation = None
        if label is not None:
            segmentation = CollectedSegmentation(str(case.label), (label,))
        yield replace(
            row,
            images=images,
            segmentation=segmentation,
            segments=_segments(data.description.labels),
        )


def _segments(scheme: LabelScheme) -> tuple[CollectedSegment, ...]:
    segments = [
        CollectedSegment(label.name, 0, label.values, parse_terms(label.code), label.colour)
        for label in scheme.foreground
    ]
    if scheme.ignore is not None:
        segments.append(CollectedSegment(IGNORE, 0, (scheme.ignore,)))
    return tuple(segments)
