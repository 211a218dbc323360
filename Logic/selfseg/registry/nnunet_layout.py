"""Where the files of trained nnU-Net v2 models lie.

    DatasetXXX_Name/                                  nnUNet_results, an export zip, most
      Trainer__Plans__configuration/                  published models
        plans.json, dataset.json, dataset_fingerprint.json
        fold_0/checkpoint_final.pth, ...              or fold_all
        crossval_results_folds_0_1_2_3_4/             scores and postprocessing
      ensembles/ensemble___A___B___0_1_2_3_4/
      inference_information.json

The data set's folder, the trainer's folder, one fold or a zip file of any of these may be given,
with other folders around them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import ModelError
from ..io.archive_files import extract_archive
from ..io.atomic_files import TEMPORARY_PREFIX
from ..io.member_names import SourceLimits

CHECKPOINTS = {"final": "checkpoint_final.pth", "best": "checkpoint_best.pth"}

_FOLD = re.compile(r"fold_(0|[1-9][0-9]{0,3}|all)")
_IDENTIFIER = re.compile(r"([^_].*?)__(.+?)__(.+)")
_DEPTH = 4
_MOST_FOLDERS = 20_000
_SKIPPED = ("fold_", "crossval_results", "ensemble___", "__MACOSX", ".")

_ZIP_LIMITS = SourceLimits(files=200_000)
"""An export with its cross-validation holds two files per case and fold."""

_WANTED = re.compile(
    r"(.*/)?(plans\.json|dataset\.json|dataset_fingerprint\.json|inference_information\.json"
    r"|fold_[^/]+/checkpoint_(final|best)\.pth"
    r"|(crossval_results_folds_[^/]+|ensembles/[^/]+)/(summary\.json|postprocessing\.(json|pkl)))"
)


@dataclass(frozen=True)
class TrainedFolder:
    """One trainer's folder: a configuration with its trained folds.

    Args:
        path: where its dataset.json and plans.json are.
        folds: "0", ... or "all" to its checkpoints, "final" and "best" to file.
    """

    path: Path
    folds: Mapping[str, Mapping[str, Path]]

    @property
    def name(self) -> str:
        """Trainer__Plans__configuration, as nnU-Net names it."""
        return self.path.name

    @property
    def identifier(self) -> tuple[str, str, str] | None:
        """Trainer, plans and configuration, where the folder still has nnU-Net's name."""
        match = _IDENTIFIER.fullmatch(self.name)
        return None if match is None else (match[1], match[2], match[3])


def is_nnunet(source: Path) -> bool:
    """Whether this may be a model of nnU-Net v2: a zip file, or a folder with its plans.json."""
    if source.is_file():
        return source.suffix.lower() == ".zip"
    if not source.is_dir():
        return False
    near = (source.parent,) if _FOLD.fullmatch(source.name) else ()
    return any(
        (folder / "plans.json").is_file() and (folder / "dataset.json").is_file()
        for folder in (*near, *_folders(source))
    )


@contextmanager
def opened_source(source: Path, scratch: Path) -> Iterator[Path]:
    """A folder with the source's files: itself, or what was needed of a zip file.

    Args:
        source: a folder or a zip file.
        scratch: an existing folder to unpack into.

    Raises:
        ModelError: there is none, or the zip file is refused.
    """
    source = Path(source)
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise ModelError(
            "there is no such model",
            expected="a folder or a zip file",
            found="nothing",
            cure="check the path",
            path=source,
        )
    folder = scratch / f"{TEMPORARY_PREFIX}unpacked"
    folder.mkdir()
    extract_archive(
        source, folder, _ZIP_LIMITS, wanted=lambda name: _WANTED.fullmatch(name) is not None
    )
    yield folder


def find_trained(source: Path) -> tuple[TrainedFolder, ...]:
    """Every trainer's folder with a checkpoint, sorted by path.

    Args:
        source: a data set's or trainer's folder, one fold, or a folder some levels above.

    Raises:
        ModelError: there is none, or there are those of several data sets.
    """
    if _FOLD.fullmatch(source.name) and (source.parent / "plans.json").is_file():
        only = _trained(source.parent, only=source.name)
        found = [only] if only is not None else []
    else:
        found = [trained for folder in _folders(source) if (trained := _trained(folder))]
    if not found:
        raise ModelError(
            "there is no trained model of nnU-Net v2 here",
            expected="DatasetXXX_Name/Trainer__Plans__configuration with plans.json, dataset.json "
            f"and fold_0/{CHECKPOINTS['final']}",
            found=", ".join(sorted(path.name for path in source.iterdir())[:10]) or "nothing",
            cure="give the folder or zip file of a model that nnU-Net v2 has trained; those of "
            "nnU-Net v1 cannot be imported",
            path=source,
        )
    datasets = sorted({trained.path.parent for trained in found})
    if len(datasets) > 1:
        raise ModelError(
            "there are models of several data sets here",
            expected="those of one data set",
            found=", ".join(path.name for path in datasets[:10]),
            cure="give the folder of one of them",
            path=source,
        )
    return tuple(sorted(found, key=lambda trained: trained.name))


def neighbours(source: Path) -> tuple[TrainedFolder, ...]:
    """The other trainer's folders beside one that was given by itself."""
    folder = source.parent if _FOLD.fullmatch(source.name) else source
    if not (folder / "plans.json").is_file():
        return ()
    found = []
    for path in sorted(folder.resolve().parent.iterdir()):
        trained = _trained(path) if path.is_dir() and path != folder.resolve() else None
        if trained is not None:
            found.append(trained)
    return tuple(found)


def _folders(source: Path) -> Iterator[Path]:
    """The source and what is in it, some levels deep; links are not followed."""
    for count, (place, names, _) in enumerate(os.walk(source), start=1):
        yield Path(place)
        depth = len(Path(place).relative_to(source).parts)
        if depth >= _DEPTH or count > _MOST_FOLDERS:
            names.clear()
        names[:] = sorted(name for name in names if not name.startswith(_SKIPPED))


def _trained(folder: Path, only: str = "") -> TrainedFolder | None:
    if not ((folder / "plans.json").is_file() and (folder / "dataset.json").is_file()):
        return None
    folds: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _FOLD.fullmatch(path.name)
        if match is None or (only and path.name != only):
            continue
        there = {kind: path / name for kind, name in CHECKPOINTS.items() if (path / name).is_file()}
        if there:
            folds[match[1]] = there
    return TrainedFolder(folder, folds) if folds else None
