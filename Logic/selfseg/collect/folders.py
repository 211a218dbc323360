"""Folders of images and segmentations: one folder per case, or all cases in one or two folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..domain.errors import ImageError
from ..io.image_endings import image_ending, name_without_ending, split_channel
from ..io.images import grid_difference
from .collection import CollectedCase, CollectedImage, CollectOptions, Problem
from .headers import image_source
from .label_maps import read_segmentation
from .pairing import Candidate, choose_images, is_named_label, split_words, words_of
from .seg_nrrd import ReadSegmentation

IMAGE_CURE = "put the image beside it under the same name, or name both in a table (.csv)"


@dataclass(frozen=True)
class FolderContent:
    """The files below a folder, sorted by what they are."""

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    scenes: tuple[Path, ...]
    datasets: tuple[Path, ...]
    dicom: tuple[Path, ...]


@dataclass
class _Scope:
    """Images and label maps that nothing nearer has claimed."""

    folder: Path
    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Read:
    path: Path
    found: ReadSegmentation
    problems: tuple[Problem, ...]

    @property
    def name_words(self) -> tuple[str, ...]:
        return split_words(name_without_ending(self.path).removesuffix(".seg"))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word.casefold() for word in self.name_words)


def look_through(folder: Path) -> FolderContent:
    """Sorts the files below a folder by what they are; links to folders are not followed.

    What lies below a data set or beside a scene file belongs to it.
    """
    images: list[Path] = []
    labels: list[Path] = []
    scenes: list[Path] = []
    datasets: list[Path] = []
    dicom: list[Path] = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        if "dataset.json" in names:
            datasets.append(here)
            folders.clear()
            continue
        if any(name.lower().endswith(".mrml") for name in names):
            scenes += [here / name for name in names if name.lower().endswith((".mrml", ".mrb"))]
            folders.clear()
            continue
        all_labels = here != folder and is_label_folder(here.name, names)
        for name in names:
            path = here / name
            if name.lower().endswith(".mrb"):
                scenes.append(path)
            elif image_ending(name) is not None:
                (labels if all_labels or is_label_file(path) else images).append(path)
            elif _is_dicom(path):
                dicom.append(path)
    return FolderContent(tuple(images), tuple(labels), tuple(scenes), tuple(datasets), tuple(dicom))


def is_label_file(path: Path) -> bool:
    """Whether a file is a label map by its name."""
    stem = name_without_ending(path)
    return stem.lower().endswith(".seg") or is_named_label(stem)


def is_label_folder(folder: str, names: Sequence[str]) -> bool:
    """Whether a folder is called "labels" or the like and its files do not say it themselves."""
    name = folder.removesuffix("Tr")
    if words_of(name) or not is_named_label(name):
        return False
    return not any(is_label_file(Path(file)) for file in names if image_ending(file))


def folder_cases(
    folder: Path, content: FolderContent, options: CollectOptions
) -> Iterator[CollectedCase]:
    """The cases of a folder's images and label maps, one by one."""
    for scope in _scopes(folder, content):
        yield from _cases_in(folder, scope, options)


def _scopes(folder: Path, content: FolderContent) -> Iterator[_Scope]:
    """Each folder below which both images and label maps lie, the deepest first."""
    scopes: dict[Path, _Scope] = {}
    for kind, paths in (("images", content.images), ("labels", content.labels)):
        for path in paths:
            scope = scopes.setdefault(path.parent, _Scope(path.parent))
            getattr(scope, kind).append(path)
    waiting = sorted(scopes, key=lambda place: (-len(place.parts), place))
    while waiting:
        place = waiting.pop(0)
        scope = scopes.pop(place)
        if place == folder or (scope.images and scope.labels):
            yield scope
            continue
        above = scopes.get(place.parent)
        if above is None:
            above = scopes[place.parent] = _Scope(place.parent)
            waiting.append(place.parent)
            waiting.sort(key=lambda other: (-len(other.parts), other))
        above.images += scope.images
        above.labels += scope.labels


def _cases_in(root: Path, scope: _Scope, options: CollectOptions) -> Iterator[CollectedCase]:
    candidates, unreadable = _candidates(scope.images)
    read: list[_Read] = []
    for path in scope.labels:
        try:
            found, problems = read_segmentation(path, options)
        except ImageError as error:
            yield _broken(root, scope, path, error)
            continue
        read.append(_Read(path, found, problems))
    claims = {0: list(candidates)} if len(read) == 1 else _claims(candidates, read)
    cases = []
    for index, one in enumerate(read):
        identifier = _identifier(root, scope, one, alone=len(read) == 1)
        case = CollectedCase(
            identifier, one.path, (), one.found.segmentation, one.found.segments,
            problems=one.problems,
        )  # fmt: skip
        cases.append(_with_images(case, one, index, claims, candidates, options))
    for path, fault in unreadable:
        words = words_of(split_channel(name_without_ending(path))[0])
        fits = [i for i, one in enumerate(read) if one.words == words[: len(one.words)]]
        owner = fits[0] if fits else 0 if len(read) == 1 else None
        if owner is None:
            yield _broken(root, scope, path, fault)
        else:
            cases[owner] = _with_unreadable(cases[owner], path, fault)
    yield from cases
    if len(read) != 1:
        used = {image.voxels.path for case in cases for image in case.images}
        used |= {c.image.voxels.path for owned in claims.values() for c in owned}
        yield from _without_labels(root, [c for c in candidates if c.image.voxels.path not in used])


def _with_unreadable(case: CollectedCase, path: Path, fault: ImageError) -> CollectedCase:
    what = f"{path.name}: {fault.what} ({fault.found})"
    if case.images:
        return case.with_note(f"an image was not looked at: {what}")
    return replace(case, problems=(Problem("unreadable", what, fault.cure),))


def _without_labels(root: Path, candidates: Sequence[Candidate]) -> Iterator[CollectedCase]:
    for name, path in {
        "_".join([*path.parent.relative_to(root).parts, _stem(candidate)]): path
        for candidate in candidates
        if (path := candidate.image.voxels.path) is not None
    }.items():
        yield CollectedCase(name, path, excluded=True).with_note(
            "left out, as it has no segmentation"
        )


def _with_images(
    case: CollectedCase,
    one: _Read,
    index: int,
    claims: dict[int, list[Candidate]],
    candidates: Sequence[Candidate],
    options: CollectOptions,
) -> CollectedCase:
    named = claims.get(index, [])
    exact = [c for c in candidates if not grid_difference(one.found.reference, c.grid)]
    taken = {id(c) for other, owned in claims.items() if other != index for c in owned}
    if named and exact and not any(c in exact for c in named) and len(claims) > 1:
        return case.with_problem(
            "ambiguous-pair",
            f"by its name it goes with {_shown(named)}, by the grid it was drawn on with "
            f"{_shown(exact)}",
            "rename the files, or name the pairs in a table (.csv)",
        )
    if not named:
        free = [c for c in exact if id(c) not in taken]
        if len(free) != 1:
            what = "no image goes with it by name or by the grid it was drawn on"
            if free:
                what = f"{len(free)} images lie on its grid, and none has its name: {_shown(free)}"
            return case.with_problem("ambiguous-pair" if free else "no-image", what, IMAGE_CURE)
        named = free
        case = case.with_note(f"goes with {_shown(free)} by the grid it was drawn on")
    choice = choose_images(_relabelled(named, one.words), one.found.reference, options)
    if choice.problem is not None:
        return case.with_problem(*choice.problem)
    case = replace(case, images=choice.images)
    return case.with_note(choice.note) if choice.note else case


def _claims(candidates: Sequence[Candidate], read: Sequence[_Read]) -> dict[int, list[Candidate]]:
    """Images by the label map whose name they begin with; the longest name wins."""
    claims: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        words = words_of(_stem(candidate))
        fits = [
            index
            for index, one in enumerate(read)
            if one.words and words[: len(one.words)] == one.words
        ]
        if fits:
            longest = max(len(read[index].words) for index in fits)
            for index in fits:
                if len(read[index].words) == longest:
                    claims.setdefault(index, []).append(candidate)
    return claims


def _candidates(
    paths: Sequence[Path],
) -> tuple[tuple[Candidate, ...], list[tuple[Path, ImageError]]]:
    found: list[Candidate] = []
    unreadable: list[tuple[Path, ImageError]] = []
    numbered = {split_channel(name_without_ending(path))[0] for path in paths
                if split_channel(name_without_ending(path))[1] == 0}  # fmt: skip
    for path in paths:
        try:
            source = image_source(path)
        except ImageError as error:
            unreadable.append((path, error))
            continue
        stem, number = split_channel(name_without_ending(path))
        if stem not in numbered:
            number = None
        for component in range(source.components):
            channel = component if source.components > 1 else number
            image = CollectedImage("", replace(source, component=component))
            found.append(Candidate(image, " ".join(words_of(path.name)), channel))
    return tuple(found), unreadable


def _relabelled(candidates: Sequence[Candidate], case_words: tuple[str, ...]) -> list[Candidate]:
    """What the names say besides the case: words that all candidates share tell nothing."""
    own = [words_of(_stem(candidate)) for candidate in candidates]
    shared = set(case_words)
    if len(own) > 1:
        shared |= set.intersection(*map(set, own))
    labels = [" ".join(word for word in words if word not in shared) for words in own]
    return [
        replace(candidate, label=label if candidate.number is None else "")
        for candidate, label in zip(candidates, labels, strict=True)
    ]


def _stem(candidate: Candidate) -> str:
    path = candidate.image.voxels.path
    name = name_without_ending(path) if path is not None else ""
    return split_channel(name)[0] if candidate.number is not None else name


def _identifier(root: Path, scope: _Scope, one: _Read, *, alone: bool) -> str:
    parts = list(scope.folder.relative_to(root).parts)
    if not (alone and parts):
        parts.append("_".join(one.name_words) or name_without_ending(one.path).removesuffix(".seg"))
    return "_".join(parts)


def _broken(root: Path, scope: _Scope, path: Path, error: ImageError) -> CollectedCase:
    name = "_".join([*scope.folder.relative_to(root).parts, name_without_ending(path)])
    return CollectedCase(name, path).with_problem(
        "unreadable", f"{path.name}: {error.what} ({error.found})", error.cure
    )


def _shown(candidates: Sequence[Candidate]) -> str:
    names = [Path(candidate.image.voxels.shown).name for candidate in candidates[:4]]
    return ", ".join(names) + (", ..." if len(candidates) > 4 else "")


def _is_dicom(path: Path) -> bool:
    """A DICOM file by its mark behind the preamble."""
    ending = path.suffix[1:].lower()
    # A UID as a name ends in a number.
    if ending not in ("", "dcm", "dicom", "ima") and not ending.isdecimal():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
