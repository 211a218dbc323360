"""Which volume is which channel of a model: guessed from names, never from the order alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_SYNONYMS = {
    "t1ce": "t1c", "t1gd": "t1c", "t1ca": "t1c", "t1cm": "t1c", "t1post": "t1c",
    "t1contrast": "t1c",
    "t1w": "t1", "t1n": "t1", "t1native": "t1", "t2w": "t2", "t2f": "flair", "t2flair": "flair",
    "computedtomography": "ct", "mri": "mr", "magneticresonance": "mr", "pet": "pt",
}  # fmt: skip
"""Other spellings of common sequences; those of BraTS, Medical Segmentation Decathlon, DICOM."""

_EXACT, _MODALITY, _INSIDE = 4, 2, 1


@dataclass(frozen=True)
class Candidate:
    """A volume as far as its words go: the node's name, and its DICOM modality or ""."""

    name: str
    modality: str = ""


def match_channels(
    channel_names: Sequence[str], candidates: Sequence[Candidate]
) -> tuple[int | None, ...]:
    """The index of the volume for each channel; None where no name tells.

    A model with one channel takes the first volume where nothing fits better: there is nothing
    to mix up. With several channels a wrong guess would go unnoticed, so none is made.

    Args:
        channel_names: of the model.
        candidates: the volumes of the scene, in its order.
    """
    if not candidates:
        return (None,) * len(channel_names)
    chosen: list[int | None] = [None] * len(channel_names)
    ranked = sorted(
        (-score, channel, index)
        for channel, name in enumerate(channel_names)
        for index, candidate in enumerate(candidates)
        if (score := _score(name, candidate))
    )
    for _, channel, index in ranked:
        if chosen[channel] is None and index not in chosen:
            chosen[channel] = index
    if len(chosen) == 1 and chosen[0] is None:
        chosen[0] = 0
    return tuple(chosen)


def _score(channel: str, candidate: Candidate) -> int:
    """How well a volume's words fit a channel's name; 0: not at all."""
    wanted = _words(channel)
    words = _words(candidate.name)
    if wanted and wanted <= words:
        return _EXACT
    if candidate.modality and _words(candidate.modality) <= wanted:
        return _MODALITY
    compact = _compact(channel)
    return _INSIDE if len(compact) > 2 and compact in _compact(candidate.name) else 0


def _compact(text: str) -> str:
    return "".join(re.findall(r"[a-z0-9]+", text.lower()))


def _words(text: str) -> frozenset[str]:
    """The words of a name in one spelling; two that follow each other count joined as well."""
    plain = re.findall(r"[a-z]+[0-9]*[a-z]*|[0-9]+", text.lower())
    joined = [first + second for first, second in itertools.pairwise(plain)]
    known = {_SYNONYMS[pair] for pair in joined if pair in _SYNONYMS}
    used = {part for pair in joined if pair in _SYNONYMS for part in _parts(pair, plain)}
    return frozenset({_SYNONYMS.get(word, word) for word in plain if word not in used} | known)


def _parts(pair: str, plain: Sequence[str]) -> tuple[str, ...]:
    for first, second in itertools.pairwise(plain):
        if first + second == pair:
            return first, second
    return ()
