"""Scenes of 3D Slicer: one file (.mrb, a zip) or a folder with a .mrml, each with its cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..domain.errors import DatasetError, ImageError
from ..domain.geometry import Affine
from ..io.colour_tables import Table, read_colour_table
from ..io.images import grid_difference
from .collection import (
    CollectedCase,
    CollectedImage,
    CollectOptions,
    Problem,
    VoxelSource,
)
from .headers import image_source
from .label_maps import read_segmentation
from .pairing import Candidate, choose_images, words_of
from .scene_nodes import NonLinearTransform, Scene, SceneNode, combined, matrix_of
from .seg_nrrd import ReadSegmentation
from .unpacking import SAVE_AGAIN, unpacked

REFERENCE = "referenceImageGeometryRef"


@dataclass(frozen=True)
class _Files:
    """How a scene's files are reached: `located` gives one to read, `kept` what is kept of it."""

    scene: Path
    located: Callable[[str], Path]
    kept: Callable[[VoxelSource, str], VoxelSource]


def scene_cases(path: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    """The cases of a scene: one per segmentation, with the image that it was drawn on.

    Raises:
        DatasetError: it is no scene, or an archive that is not taken.
    """
    if path.suffix.lower() != ".mrb":
        folder = path.parent

        def located(name: str) -> Path:
            return Path(name) if Path(name).is_absolute() else folder / name

        yield from _cases(path, _Files(path, located, lambda source, name: source), options)
        return
    with unpacked(path) as archive:
        scenes = [name for name in archive.sizes if name.lower().endswith(".mrml")]
        scenes = [n for n in scenes if n.count("/") == min(s.count("/") for s in scenes)]
        if len(scenes) != 1:
            raise DatasetError(
                "the archive holds no scene, or several",
                expected="one .mrml file",
                found=", ".join(scenes) or "none",
                cure=SAVE_AGAIN,
                path=path,
            )
        base = PurePosixPath(scenes[0]).parent
        files = _Files(
            archive.file(scenes[0]),
            lambda name: archive.file(str(base / name)),
            lambda source, name: replace(source, path=path, member=str(base / name)),
        )
        yield from _cases(path, files, options)


def _cases(path: Path, files: _Files, options: CollectOptions) -> Iterator[CollectedCase]:
    scene = Scene(files.scene)
    segmentations = scene.of_kind("Segmentation")
    labels = segmentations or scene.of_kind("LabelMapVolume")
    name = path.name[: -len(path.suffix)]
    if not labels:
        yield CollectedCase(name, path).with_problem(
            "no-segmentation", "the scene has no segmentation", "segment it, and save it again"
        )
        return
    volumes = scene.of_kind("Volume")
    for node in labels:
        identifier = name if len(labels) == 1 else f"{name}_{node.name}"
        case = CollectedCase(identifier, path)
        try:
            case = _case(case, scene, node, volumes, files, options)
        except NonLinearTransform as error:
            case = case.with_problem("non-linear-transform", error.what, error.cure)
        except (ImageError, DatasetError) as error:
            what = f"{node.name}: {error.what} ({error.found})"
            case = case.with_problem("unreadable", what, error.cure)
        yield case


def _case(
    case: CollectedCase,
    scene: Scene,
    node: SceneNode,
    volumes: Sequence[SceneNode],
    files: _Files,
    options: CollectOptions,
) -> CollectedCase:
    file = scene.file_of(node)
    if not file.lower().endswith((".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")):
        return case.with_problem(
            "not-a-labelmap",
            f"the segmentation {node.name!r} is stored as {Path(file).name or 'nothing'}, "
            "not as a label map",
            "in Slicer's Segmentations module make the binary labelmap the source representation "
            "(Representations), and save the scene again",
        )
    found, problems = _segmentation(scene, node, file, files, options)
    layers = tuple(files.kept(layer, file) for layer in found.segmentation.layers)
    segmentation = replace(
        found.segmentation, shown=file, layers=layers, to_world=_to_world(scene, node, files)
    )
    case = replace(case, segmentation=segmentation, segments=found.segments, problems=problems)
    return _with_images(case, scene, node, volumes, files, options, found)


def _segmentation(
    scene: Scene, node: SceneNode, file: str, files: _Files, options: CollectOptions
) -> tuple[ReadSegmentation, tuple[Problem, ...]]:
    return read_segmentation(files.located(file), options, _table(scene, node, files))


def _table(scene: Scene, node: SceneNode, files: _Files) -> Table | None:
    """The colour table that the scene shows a label map with; Slicer's own are not in the file."""
    display = scene.nodes.get(node.first("display"))
    if display is None:
        return None
    identifier = display.first("color") or display.attributes.get("colorNodeID", "")
    table = scene.nodes.get(identifier)
    file = "" if table is None else scene.file_of(table)
    return read_colour_table(files.located(file)) if file else None


def _with_images(
    case: CollectedCase,
    scene: Scene,
    node: SceneNode,
    volumes: Sequence[SceneNode],
    files: _Files,
    options: CollectOptions,
    found: ReadSegmentation,
) -> CollectedCase:
    reference = scene.nodes.get(node.first(REFERENCE))
    if reference is not None and reference.tag == "Volume" and len(options.channels) < 2:
        volumes = [reference]
        case = case.with_note(f"the image is {reference.name!r}, on which it was segmented")
    candidates: list[Candidate] = []
    skipped: list[str] = []
    for volume in volumes:
        try:
            candidates += _candidates(scene, volume, files)
        except (ImageError, DatasetError) as error:
            if len(volumes) == 1:
                raise
            skipped.append(f"{volume.name}: {error.what}")
    for text in skipped:
        case = case.with_note(f"a volume was not looked at: {text}")
    if not candidates:
        return case.with_problem(
            "no-image", "the scene has no volume for the segmentation", "add it, and save again"
        )
    near = [c for c in candidates if not grid_difference(found.reference, c.grid)]
    same_place = [c for c in near if c.image.to_world == _segmentation_place(case)]
    choice = choose_images(
        candidates if options.channels else (same_place or near or candidates),
        found.reference,
        options,
    )
    if choice.problem is not None:
        return case.with_problem(*choice.problem)
    case = replace(case, images=choice.images)
    return case.with_note(choice.note) if choice.note else case


def _segmentation_place(case: CollectedCase) -> Affine | None:
    return None if case.segmentation is None else case.segmentation.to_world


def _candidates(scene: Scene, volume: SceneNode, files: _Files) -> list[Candidate]:
    file = scene.file_of(volume)
    if not file:
        return []
    source = image_source(files.located(file))
    to_world = _to_world(scene, volume, files)
    label = " ".join(words_of(volume.name)) or volume.name
    return [
        Candidate(
            CollectedImage(label, replace(files.kept(source, file), component=index), to_world),
            label,
            index if source.components > 1 else None,
        )
        for index in range(source.components)
    ]


def _to_world(scene: Scene, node: SceneNode, files: _Files) -> Affine | None:
    matrices = []
    for transform in scene.to_world(node):
        file = scene.file_of(transform)
        stored = "matrixTransformToParent" in transform.attributes
        matrices.append(matrix_of(transform, files.located(file) if file and not stored else None))
    return combined(matrices)
