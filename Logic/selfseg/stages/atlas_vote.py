"""Training cases as atlases that vote on a new image, beside the networks.

the image -> every atlas registered to it -> the most alike fused: probabilities
-> as many votes as their share wants -> decided together with those of the networks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..domain.case import FloatArray, PreprocessRecord, RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import SelfsegError
from ..domain.events import Notice, Progress, Reporter, silent
from ..domain.labels import LabelScheme
from ..domain.selection import AtlasFusion
from ..domain.stopping import Stop, check_stop, never
from ..infer.ensemble import Vote
from ..io.datasets import open_dataset
from ..io.images import read_case
from ..io.project import Project

if TYPE_CHECKING:
    from ..select.atlas import Registered


@dataclass(frozen=True)
class AtlasVoters:
    """Training cases that vote on new images.

    Args:
        fusion: how they do.
        cases: their images and label maps, in the project's data set.
    """

    fusion: AtlasFusion
    cases: tuple[CaseFiles, ...]

    def probabilities(
        self,
        image: RawCase,
        labels: LabelScheme,
        *,
        reporter: Reporter = silent,
        should_stop: Stop = never,
    ) -> FloatArray:
        """(K, Z, Y, X) that the atlases say of an image, on its native grid.

        All of it is in memory: as many numbers as heads times voxels.

        Raises:
            Cancelled: `should_stop`, asked before each registration, said so.
            ImageError: an atlas cannot be read.
        """
        from ..select.atlas import fuse

        registered = register_all(image, self.cases, reporter=reporter, should_stop=should_stop)
        return fuse(
            registered,
            image.channels[0],
            image.geometry,
            labels,
            per_image=self.fusion.per_image,
            fusion=self.fusion.fusion,
        )


def atlases_of(
    project: Project, fusion: AtlasFusion | None, *, reporter: Reporter
) -> AtlasVoters | None:
    """The atlases of a project's selected model.

    None without any, and where the training cases are not there any more, which is told.
    """
    if fusion is None:
        return None
    try:
        dataset = open_dataset(project.dataset_folder)
        known = {case.identifier: case for case in dataset.cases if case.label is not None}
        missing = [name for name in fusion.cases if name not in known]
        found = f"{len(missing)} of {len(fusion.cases)} are missing" if missing else ""
    except SelfsegError as error:
        known, found = {}, error.what
    if found:
        text = "the selected model is used without its atlases, so that its scores do not hold: "
        text += f"they take the training cases, and {found}"
        reporter(Notice(text, level="warning"))
        return None
    return AtlasVoters(fusion, tuple(known[name] for name in fusion.cases))


def register_all(
    image: RawCase,
    atlases: Sequence[CaseFiles],
    *,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> list[Registered]:
    """Atlases on the grid of an image, but for the image's own case; one is read at a time."""
    from ..select.atlas import Atlas, register

    found = []
    for done, files in enumerate(atlases):
        check_stop(should_stop)
        reporter(Progress("atlases", done, len(atlases), detail=image.identifier))
        if files.label is None or files.identifier == image.identifier:
            continue
        other = read_case(files, None)
        assert other.labels is not None  # noqa: S101 - `files.label` is there
        atlas = Atlas(files.identifier, other.channels[0], other.labels, other.geometry)
        found.append(register(atlas, image.channels[0], image.geometry))
    return found


def atlas_votes(
    network_votes: Sequence[Vote], probabilities: FloatArray, share: float, labels: LabelScheme
) -> list[Vote]:
    """The votes of networks and atlases, each as often as their shares want.

    Args:
        network_votes: one per member.
        probabilities: (K, Z, Y, X) of the atlases, on the native grid.
        share: of the atlases.
        labels: which head means what.
    """
    record = network_votes[0].record
    part = Fraction(share).limit_denominator(8)
    again = part.denominator - part.numerator
    place = tuple(map(slice, record.crop_start, record.crop_stop))
    cut = np.stack([record.on_plan_axes(head)[place] for head in probabilities], axis=-1)
    logits = np.log(cut / (1 - cut)) if labels.has_regions else np.log(cut)
    atlas = Vote(logits.astype(np.float16), _at_native_spacing(record), None)
    return [*(list(network_votes) * again), *([atlas] * (part.numerator * len(network_votes)))]


def _at_native_spacing(record: PreprocessRecord) -> PreprocessRecord:
    return replace(
        record,
        shape_after_resampling=record.shape_before_resampling,
        spacing_after=record.spacing_before,
    )
