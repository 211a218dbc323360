"""The channels that all cases have, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..domain.terminology import folded
from .collection import CollectedCase, CollectOptions

KNOWN = ("CT", "PET", "PT", "MR", "MRI", "T1", "T1c", "T1ce", "T1Gd", "T2", "FLAIR", "ADC", "DWI",
         "CBCT", "US")  # fmt: skip
"""Words for modalities: an image whose name holds just one of them is called so."""

UNNAMED = "image"
"""What a single channel is called that nobody has named: z-scored per image, not as CT."""

UNNAMED_NOTE = (
    "nothing says what kind the images are: each is normalised by its own mean and deviation; "
    "say --channel CT if they are CT"
)


def unify_channels(
    cases: Sequence[CollectedCase], options: CollectOptions
) -> tuple[tuple[str, ...], tuple[CollectedCase, ...], tuple[str, ...]]:
    """Names the channels and gives cases with other channels a problem.

    Args:
        cases: as they were found.
        options: `channels` decides where it is given.

    Returns:
        The names in order, the cases with them, notes on the whole.
    """
    with_images = [case for case in cases if case.images and not case.excluded]
    if not with_images:
        return options.channels or (UNNAMED,), tuple(cases), ()
    notes: tuple[str, ...] = ()
    names = options.channels
    if not names:
        sets = Counter(_key(case) for case in with_images)
        usual = max(sets, key=lambda key: sets[key])
        first = next(case for case in with_images if _key(case) == usual)
        if len(usual) == 1:
            names = (_single([case for case in with_images if len(case.images) == 1]),)
            notes = (UNNAMED_NOTE,) if names == (UNNAMED,) else ()
        else:
            names = tuple(
                image.channel or f"channel {index}" for index, image in enumerate(first.images)
            )
    return names, tuple(_renamed(case, names, options) for case in cases), notes


def _key(case: CollectedCase) -> tuple[str, ...]:
    """A single image has no name to be told apart by."""
    if len(case.images) == 1:
        return ("",)
    return tuple(sorted(folded(image.channel) for image in case.images))


def _single(cases: Sequence[CollectedCase]) -> str:
    """The kind that the names of all images say, if they say the same."""
    kinds = set()
    for case in cases:
        words = {folded(word) for word in case.images[0].channel.split()}
        kinds.add(frozenset(kind for kind in KNOWN if folded(kind) in words))
    common = kinds.pop() if len(kinds) == 1 else frozenset()
    return next(iter(common)) if len(common) == 1 else UNNAMED


def _renamed(case: CollectedCase, names: tuple[str, ...], options: CollectOptions) -> CollectedCase:
    if not case.images or case.excluded:
        return case
    own = [folded(image.channel) for image in case.images]
    wanted = [folded(name) for name in names]
    if len(names) == len(own) and (len(own) == 1 or not all(own) or own == wanted):
        order = list(range(len(own)))
    elif len(names) == len(own) and sorted(own) == sorted(wanted):
        order = [own.index(name) for name in wanted]
    elif len(names) == len(own) and options.channels and not set(own) & set(wanted):
        order = list(range(len(own)))
    else:
        shown = ", ".join(image.channel or "(no name)" for image in case.images)
        return case.with_problem(
            "channels",
            f"it has {len(own)} images ({shown}), the others have {len(names)}: {', '.join(names)}",
            "add or name the missing image, exclude the case, or choose with --channel",
        )
    images = tuple(
        replace(case.images[place], channel=name) for place, name in zip(order, names, strict=True)
    )
    return replace(case, images=images)
