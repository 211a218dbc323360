"""predictions.json: what made every output of a folder, and how sure it was.

One file for a folder, written anew as cases are finished, so that a stopped prediction can go on:
a case is left alone where its output is whole and came from the same images, model and options.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..domain.dataset import CaseFiles
from ..domain.errors import FileFormatError
from ..domain.labels import LabelScheme
from ..infer.confidence import Confidence
from ..io.digests import digest_of
from ..io.json_files import read_json, write_json
from ..quality.judgement import CaseQuality
from .model import TrainedModel
from .strategy import PredictOptions
from .volumes import ML

FILE = "predictions.json"
UNREADABLE = "predictions.unreadable.json"
SCHEMA = "selfseg.predictions/1"

WRITE_EVERY = 5.0
"""Seconds between two writings, at least; what a crash loses is predicted again."""

WRITING_SHARE = 1 / 20
"""Of the time, at most: the file grows with every case, and each writing is of all of it."""

MOST_BYTES = 2**30
"""Largest file that is read: about 750,000 cases of two structures."""


@dataclass(frozen=True)
class FileState:
    """What tells one state of a file from another.

    Args:
        name: without the folder.
        bytes: its size.
        changed: nanoseconds since 1970.
        path: where it was; a folder that was moved makes no other file of it.
    """

    name: str
    bytes: int
    changed: int
    path: str = field(default="", compare=False)


@dataclass(frozen=True)
class Prediction:
    """One case.

    Args:
        file: of the label map, in the folder of predictions.json.
        sha256: of that file.
        images: the files it was made from.
        provenance: model, options and version; see `provenance_of`.
        made: when, in ISO 8601.
        seconds: from the end of the case before to the end of this one.
        confidence: None where nobody asked.
        probabilities: their file, where they were asked for.
        quality: what the label map is probably worth; None where nobody asked, or the model has
            not learned to say.
        sizes: of the structures that were asked for, in `unit`.
        unit: "ml", or "cm2" in 2D.
    """

    file: str
    sha256: str
    images: tuple[FileState, ...]
    provenance: Mapping[str, str]
    made: str
    seconds: float
    confidence: Confidence | None = None
    probabilities: str | None = None
    quality: CaseQuality | None = None
    sizes: Mapping[str, float] = field(default_factory=dict)
    unit: str = ML


@dataclass(frozen=True)
class _File:
    cases: Mapping[str, Prediction] = field(default_factory=dict)
    labels: LabelScheme | None = None


class Predictions:
    """The predictions of a folder.

    Args:
        folder: of the label maps.
        clock: seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.cases: dict[str, Prediction] = {}
        self.labels: LabelScheme | None = None
        """What the values of the label maps mean."""
        self.clock = clock
        self._written = clock()
        self._next = WRITE_EVERY
        path = folder / FILE
        if path.is_file():
            known = read_json(path, _File, schema=SCHEMA, max_bytes=MOST_BYTES)
            self.cases.update(known.cases)
            self.labels = known.labels

    @classmethod
    def of(cls, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> Predictions:
        """As the class, but a file that cannot be read is put aside, as `UNREADABLE`."""
        try:
            return cls(folder, clock=clock)
        except FileFormatError:
            (folder / FILE).replace(folder / UNREADABLE)
            return cls(folder, clock=clock)

    def holds(self, files: CaseFiles, provenance: Mapping[str, str]) -> bool:
        """Whether a case's output is whole, and would be the same if it were made again."""
        found = self.cases.get(files.identifier)
        if found is None or found.provenance != provenance:
            return False
        if not all(path.is_file() for path in files.images):  # a series not converted yet
            return False
        if found.images != states_of(files):
            return False
        others = [] if found.probabilities is None else [found.probabilities]
        if not all((self.folder / name).is_file() for name in (found.file, *others)):
            return False
        return digest_of(self.folder / found.file) == found.sha256

    def add(self, identifier: str, prediction: Prediction) -> None:
        """Keeps a case; on disk with the first case after `WRITE_EVERY` seconds.

        Later where writing takes more than `WRITING_SHARE` of the time (many thousand cases).
        """
        self.cases[identifier] = prediction
        if self.clock() - self._written > self._next:
            self.write()

    def write(self) -> None:
        """Writes the file, all of it or what it was before."""
        began = self.clock()
        cases = dict(sorted(self.cases.items()))
        write_json(self.folder / FILE, _File(cases, self.labels), schema=SCHEMA)
        self._written = self.clock()
        self._next = max(WRITE_EVERY, (self._written - began) / WRITING_SHARE)

    def flagged(self, paths: Sequence[Path]) -> list[str]:
        """One line for each of these label maps that somebody should look at.

        The last line says how far that can be trusted, where it is little.
        """
        files = {path.name for path in paths}
        found = {name: case.quality for name, case in self.cases.items() if case.file in files}
        lines = [
            told for name, quality in found.items() if quality and (told := flag_of(name, quality))
        ]
        notes = dict.fromkeys(quality.note for quality in found.values() if quality)
        return lines + [f"predicted quality: {note}" for note in notes if note]


def flag_of(identifier: str, quality: CaseQuality) -> str:
    """Why somebody should look at a case; "" where there is no reason."""
    if not quality.flagged:
        return ""
    return f"look at {identifier}: " + "; ".join(quality.reasons)


def states_of(files: CaseFiles) -> tuple[FileState, ...]:
    """The images of a case as they are on disk now."""
    found = [(path, path.stat()) for path in files.images]
    return tuple(
        FileState(path.name, state.st_size, state.st_mtime_ns, str(path.absolute()))
        for path, state in found
    )


def now() -> str:
    """The present time, as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance_of(model: TrainedModel, options: PredictOptions) -> dict[str, str]:
    """All that decides what is predicted for an image, as plain text by name."""
    bundle = model.bundle
    limit = {} if options.limit is None else {"limit": str(options.limit)}
    members = "; ".join(
        f"{member.plan} {member.configuration} fold {' '.join(member.folds)}"
        for member in bundle.members
    )
    return {
        "model": bundle.card.name,
        "version": bundle.card.version,
        "sha256": model.digest,
        "members": members,
        "backend": model.backend,
        "selfseg": __version__,
        "step": f"{options.step:g}",
        "mirror": "yes" if options.mirror else "no",
        "precision": _precision_of(model),
        "structures": ", ".join(options.structures) or "all",
        "region": "yes" if options.region else "no",
        "probabilities": "yes" if options.probabilities else "no",
        "confidence": "yes" if options.confidence else "no",
        "temperature": f"{bundle.calibration.temperature:g}",
        **(
            {}
            if model.atlases is None
            else {"atlases": f"{len(model.atlases.cases)} training cases"}
        ),
        **limit,
    }


def _precision_of(model: TrainedModel) -> str:
    """How its networks compute: "auto", or "float32" whatever the machine."""
    plans = model.bundle.plans.values()
    exact = model.backend == "onnx" or all(plan.autocast == "off" for plan in plans)
    return "float32" if exact else "auto"
