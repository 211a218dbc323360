"""What was found and decided, in words that need no computer science."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ..domain.fingerprint import Fingerprint
from ..domain.plan import ConfigurationPlan, Plan
from ..domain.wording import counted
from ..quality.judgement import MOST_HD95_MM
from .summary import ScoreSummary, StructureScore, length_unit, uneven_scales

FAIR_DICE = 0.7
"""A case with less is pointed out: that is the limit at which new cases are flagged, too."""


_MOST_NAMED = 4
"""Structures with low scores that are named."""


@dataclass(frozen=True)
class Topic:
    """One thing that was decided: its name, and what was done and why."""

    title: str
    text: str


def headline_in_words(summary: ScoreSummary) -> str:
    """What the headline number means, and which structure is the weakest."""
    if summary.headline is None:
        return "No case with a reference was scored, so nothing is known about the quality yet."
    share = f"{100 * summary.headline:.0f}%"
    text = (
        f"Model and reference overlap by {share} on average over structures and cases. "
        "Dice is twice the shared volume divided by the sum of both volumes: "
        "1 is identical, 0 is no overlap."
    )
    if summary.interval is not None:
        low, high = summary.interval
        text += (
            f" With other cases of the same kind the mean would lie between {low:.3f} and "
            f"{high:.3f} (95% interval)."
        )
    if summary.hd95 is not None:
        text += (
            f" 95% of the surface lies within {summary.hd95:.1f} {summary.unit} of the reference's."
        )
    known = [s for s in summary.structures if s.mean is not None]
    if len(known) > 1:
        weakest = min(known, key=lambda s: s.mean or 0.0)
        text += f" The weakest structure is {weakest.label.name} ({weakest.mean:.3f})."
    return text


def warnings_in_words(summary: ScoreSummary) -> tuple[str, ...]:
    """What a reader of the scores must not miss."""
    said = []
    for structure in summary.structures:
        missed = structure.occurrence.get("missed", 0)
        invented = structure.occurrence.get("invented", 0)
        if missed:
            said.append(
                f"{structure.label.name} was missed altogether in {counted(missed, 'case')}."
            )
        if invented:
            said.append(
                f"{structure.label.name} was found in {counted(invented, 'case')} that "
                f"{'do' if invented > 1 else 'does'} not have it."
            )
    failed = sorted((s for s in summary.structures if _failures(s)), key=lambda s: -_failures(s))
    for structure in failed[:_MOST_NAMED]:
        said.append(
            f"{structure.label.name} has a Dice below {FAIR_DICE} in "
            f"{_failures(structure)} of {counted(len(structure.known), 'case')}."
        )
    if len(failed) > _MOST_NAMED:
        said.append(f"So have {len(failed) - _MOST_NAMED} other structures in fewer cases.")
    for structure in summary.structures if summary.unit == "mm" else ():
        far = structure.hd95_mean
        if far is not None and far > MOST_HD95_MM and (structure.mean or 0.0) >= FAIR_DICE:
            said.append(
                f"{structure.label.name} overlaps well, yet HD95 is {far:.0f} mm: a separate piece "
                "far from the structure is likely. Look at the 3D view."
            )
    few = len(summary.cases)
    if 0 < few < 20:
        said.append(
            f"Only {counted(few, 'case')} {'were' if few > 1 else 'was'} scored: with fewer than "
            "about 20 the intervals are too narrow."
        )
    return tuple(said)


def _failures(structure: StructureScore) -> int:
    return sum(value < FAIR_DICE for value in structure.known)


def data_in_words(fingerprint: Fingerprint) -> tuple[str, ...]:
    """How many scans, how large, how alike."""
    count = len(fingerprint.spacings)
    spacing = np.asarray(fingerprint.spacings, dtype=np.float64)
    shape = np.asarray(fingerprint.shapes_after_crop, dtype=np.float64)
    flat = bool((shape[:, 0] == 1).all())
    first = 1 if flat else 0
    size = " × ".join(f"{n:.0f}" for n in np.median(shape, axis=0)[first:])
    if flat:
        text = f"{counted(count, 'image')} of one slice; the median one has {size} pixels."
    else:
        millimetres = " × ".join(f"{n:.0f}" for n in np.median(shape * spacing, axis=0))
        text = (
            f"{counted(count, 'scan')}; the median one has {size} voxels "
            f"(slices × rows × columns), {millimetres} mm."
        )
    said = [text]
    if not flat:
        thickness = spacing[:, 0]
        if thickness.max() > 1.05 * thickness.min():
            said.append(
                f"Slices are {thickness.min():.2g} to {thickness.max():.2g} mm apart, "
                f"{np.median(thickness):.2g} mm in the median."
            )
        if np.median(spacing[:, 0]) > 3 * np.median(spacing[:, 1:]):
            said.append("The slices are much thicker than the pixels are wide.")
    if any(uneven_scales(known) for known in fingerprint.foreground_intensities):
        said.append(
            "Some scans are stored with another scale of grey values than the others by far; "
            "the histogram's axis is logarithmic for that."
        )
    return tuple(said)


def decisions_in_words(
    plan: Plan, fingerprint: Fingerprint | None, trained: Collection[str] = ()
) -> tuple[Topic, ...]:
    """The decisions that shape the model, the most telling first.

    Args:
        plan: that made them.
        fingerprint: what it was made from.
        trained: configurations to tell of; those that the plan recommends where there are none.
    """
    unit = length_unit(fingerprint)
    flat = fingerprint is not None and all(s[0] == 1 for s in fingerprint.shapes_after_crop)
    topics = [_voxel_size(plan, unit), *_intensities(plan)]
    names = [name for name in plan.configurations if name in trained]
    names = names or list(plan.recommended or plan.configurations)
    topics += [_view(plan.configurations[name], unit, flat=flat) for name in names]
    topics.append(_learning(plan))
    rare = _rarest(plan, fingerprint)
    if rare is not None:
        topics.append(rare)
    return tuple(topics)


def _voxel_size(plan: Plan, unit: str) -> Topic:
    finest = max(plan.configurations.values(), key=lambda c: (len(c.spacing), -prod(c.spacing)))
    title, size = "The same scale for all", _times(finest.spacing)
    if unit != "mm":
        text = "The images say nothing about their scale, and are taken pixel by pixel."
        return Topic(title, text)
    if len(finest.spacing) == 2:
        text = f"Every image is brought to pixels of {size} mm"
    else:
        text = f"Every scan is brought to voxels of {size} mm (slices × rows × columns)"
    return Topic(
        title,
        text + ", as they are typical for these data: an organ then covers as many voxels in one "
        "scan as in the other. Results are turned back to the grid of the scan.",
    )


def _intensities(plan: Plan) -> list[Topic]:
    configuration = next(iter(plan.configurations.values()))
    topics = []
    channels = zip(plan.description.channel_names, configuration.normalisation, strict=True)
    for place, (channel, scheme) in enumerate(channels):
        text = _NORMALISATION[scheme]
        if scheme == "ct" and place < len(plan.foreground_intensities):
            known = plan.foreground_intensities[place]
            text = text.format(low=known.percentile_00_5, high=known.percentile_99_5)
        topics.append(Topic(f"Grey values of {channel}", text))
    return topics


_NORMALISATION: Mapping[str, str] = {
    "ct": "CT numbers mean the same on every scanner. They are cut to what was found inside the "
    "structures, {low:.0f} to {high:.0f} HU, so that metal or air cannot mislead, and then "
    "scaled in the same way for all scans.",
    "zscore": "The grey values of this kind of image have no fixed scale: each scan is brought to "
    "the same mean brightness and contrast by itself.",
    "nonorm": "The values are taken as they are, as the data set asks.",
    "rescale_to_0_1": "Each image is scaled from its darkest to its brightest value.",
    "rgb_to_0_1": "Colours are taken as they are.",
}


def _view(configuration: ConfigurationPlan, unit: str, *, flat: bool) -> Topic:
    share = prod(
        min(1.0, patch / size)
        for patch, size in zip(configuration.patch_size, configuration.median_shape, strict=True)
    )
    size = _times(
        tuple(
            patch * mm
            for patch, mm in zip(configuration.patch_size, configuration.spacing, strict=True)
        ),
        3,
    )
    what = "image" if flat else "slice" if configuration.is_2d else "scan"
    whole = f"{'all' if share >= 0.999 else _percent(share)} of a typical {what}"
    if flat:
        text = f"This network looks at {size} {unit} of an image at a time: {whole}."
    elif configuration.is_2d:
        text = (
            f"This network looks at one slice at a time, {size} mm of it: {whole}. It sees sharp "
            "planes best, and does not know the neighbouring slices."
        )
    else:
        text = (
            f"This network looks at boxes of {size} mm: {whole}. It sees shapes in space, and "
            "goes over a scan box by box, half overlapping."
        )
    if configuration.previous_stage is not None:
        text += (
            f" It is given what {configuration.previous_stage} has found on a coarser grid, which "
            "knows the whole anatomy, and works out the details."
        )
    return Topic(f"What {configuration.name} sees", text)


def _learning(plan: Plan) -> Topic:
    schedule = plan.schedule
    if schedule.seconds is not None:
        text = f"Each training may take {duration(schedule.seconds)}; its pace follows the clock. "
    else:
        steps = schedule.epochs * schedule.iterations_per_epoch
        text = f"Each training takes {steps:,} steps. ".replace(",", " ")
    text += {
        "full": "Scans are turned, scaled, mirrored, blurred and brightened at random, so that "
        "the network learns the anatomy and not the scanner.",
        "mild": "Scans are turned, scaled and mirrored a little at random, as there is time for "
        "few repetitions only.",
        "mirror": "Scans are only mirrored at random: there is no time to learn more variety.",
    }[schedule.augmentation]
    return Topic("How it learns", text)


def _rarest(plan: Plan, fingerprint: Fingerprint | None) -> Topic | None:
    fractions = dict(fingerprint.class_voxel_fractions) if fingerprint is not None else {}
    shares = {
        label.name: sum(fractions.get(value, 0.0) for value in label.values)
        for label in plan.description.labels.foreground
    }
    known = {name: share for name, share in shares.items() if share > 0}
    if not known:
        return None
    name = min(known, key=lambda n: known[n])
    return Topic(
        "Small structures",
        f"{name} fills {_percent(known[name])} of a scan only. Of the pieces that the networks "
        f"learn from, {plan.schedule.foreground_share:.0%} are chosen to hold a structure, drawn "
        "with the same chance for each, so that small ones are seen often enough.",
    )


def duration(seconds: float) -> str:
    """Seconds in words: "45 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.01 else f"{100 * share:.2g}%"


def _times(values: tuple[float, ...], digits: int = 3) -> str:
    return " × ".join(f"{value:.{digits}g}" for value in values)
