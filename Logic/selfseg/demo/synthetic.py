"""Writes made-up data sets in nnU-Net v2's raw layout."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from ..domain.errors import DatasetError, ProjectError, UsageError
from ..domain.events import Notice, Progress, Reporter, StageFinished, StageStarted, silent
from ..domain.geometry import IDENTITY, Geometry, Matrix3, Shape3, Vector3
from ..io.atomic_files import write_bytes_atomically, written_atomically
from .phantom import scan_patient
from .shapes import correlated_noise, cover, deform, ellipsoid, grid_points

FIELD_OF_VIEW = (158.0, 196.0, 212.0)
"""Size in mm (Z, Y, X) of a scan of the demo data set; it varies by a few per cent."""

SLICE_DISTANCES = (3.0, 3.5, 3.5, 4.0)
"""mm; drawn from per case, as protocols differ between scanners."""

DEMO_LABELS = {"background": 0, "liver": 1, "kidney": 2, "lesion": 3}

_OBLIQUE_CASE = 3
"""Every scanner tilts its gantry now and then; this training case and test case 1 are oblique."""

_UNFINISHED = ".unfinished-demo-data"
"""File that marks a folder whose data set was begun here, so that it may be gone on with."""

_STAGE = "make demo data"


@dataclass(frozen=True)
class _MadeCase:
    identifier: str
    channels: tuple[NDArray[Any], ...]
    labels: NDArray[np.uint8]
    geometry: Geometry


def make_dataset(
    folder: Path,
    *,
    cases: int = 24,
    test_cases: int = 6,
    seed: int = 2026,
    reporter: Reporter = silent,
) -> Path:
    """Writes a made-up abdominal CT data set: liver 1, kidneys 2, liver lesions 3.

    The same arguments give the same voxels. `imagesTs` and `labelsTs` hold the test cases with
    their reference. dataset.json is written last, so a data set with one is complete, and is
    left as it is where the same call made it before.

    Args:
        folder: the data set's folder; nnU-Net expects a name like Dataset900_Demo.
        cases: training cases, at least 1.
        test_cases: held-out cases.
        seed: source of chance. Case i depends on `seed` and i alone.
        reporter: takes the progress.

    Returns:
        `folder`.

    Raises:
        UsageError: an impossible number of cases.
        DatasetError: the folder holds another data set.
        ProjectError: a file cannot be written.
    """
    record = _dataset_record(
        "SyntheticAbdomen",
        f"Made-up abdominal CT, not a patient's. {cases} training and {test_cases} test cases "
        f"from seed {seed}.",
        {"0": "CT"},
        DEMO_LABELS,
        cases,
        ".nii.gz",
    )

    def make(index: int, is_test: bool) -> _MadeCase:
        rng = np.random.default_rng([seed, int(is_test), index])
        geometry = _demo_geometry(rng, oblique=index == (1 if is_test else _OBLIQUE_CASE))
        scan = scan_patient(geometry.shape, geometry.spacing, rng)
        name = f"{'test' if is_test else 'case'}_{index:03d}"
        return _MadeCase(name, (scan.image,), scan.labels, geometry)

    return _write_dataset(folder, record, make, cases, test_cases, reporter)


def make_small_dataset(
    folder: Path,
    *,
    dimensions: int = 3,
    cases: int = 5,
    test_cases: int = 1,
    shape: Sequence[int] | None = None,
    spacing: Vector3 = (1.6, 1.0, 1.0),
    channels: Sequence[str] = ("CT",),
    colour: bool = False,
    regions: bool = False,
    ignore: bool = False,
    file_ending: str | None = None,
    seed: int = 0,
    reporter: Reporter = silent,
) -> Path:
    """Writes a tiny data set of a bright ball (1) and a brighter one touching it (2).

    Args:
        folder: the data set's folder.
        dimensions: 3 (NIfTI volumes) or 2 (PNG images).
        cases: training cases.
        test_cases: cases in imagesTs and labelsTs.
        shape: about how many voxels, (Z, Y, X) or (Y, X); they vary from case to case. By
            default 20 x 24 x 22 or 48 x 56.
        spacing: mm (Z, Y, X); every other case is a tenth coarser in plane. Unused in 2D.
        channels: channel names; each further channel shows the same with other contrast.
        colour: 2D only: one RGB file per case, channels R, G and B.
        regions: labels "whole" (1, 2) and "core" 2 in place of "ball" 1 and "bud" 2.
        ignore: a corner of every training label map is marked 3, to be ignored.
        file_ending: another format than .nii.gz or .png.
        seed: source of chance.
        reporter: takes the progress.

    Returns:
        `folder`.

    Raises:
        UsageError: options that do not go together.
        DatasetError: the folder holds another data set.
        ProjectError: a file cannot be written.
    """
    size = tuple(shape) if shape is not None else ((20, 24, 22) if dimensions == 3 else (48, 56))
    if dimensions not in (2, 3) or len(size) != dimensions or (colour and dimensions == 3):
        raise UsageError(
            "this tiny data set cannot be made",
            expected="dimensions 2 or 3, as many sizes, and colour in 2D only",
            found=f"dimensions {dimensions}, shape {size}, colour {colour}",
            cure="correct the arguments",
        )
    names = ("R", "G", "B") if colour else tuple(channels)
    labels: dict[str, Any] = {"background": 0, "ball": 1, "bud": 2}
    extra: dict[str, Any] = {}
    if regions:
        labels = {"background": 0, "whole": [1, 2], "core": 2}
        extra["regions_class_order"] = [1, 2]
    if ignore:
        labels["ignore"] = 3
    record = _dataset_record(
        "SyntheticBalls",
        f"Made-up balls from seed {seed}: {size}, {spacing}, {cases} + {test_cases} cases.",
        {str(i): name for i, name in enumerate(names)},
        labels,
        cases,
        file_ending or (".nii.gz" if dimensions == 3 else ".png"),
        **extra,
    )

    def make(index: int, is_test: bool) -> _MadeCase:
        rng = np.random.default_rng([seed, int(is_test), index])
        geometry = _small_geometry(size, spacing, index, rng)
        images, label_map = _balls(geometry, len(names), dimensions == 2, rng)
        if ignore and not is_test:
            corner = tuple(slice(0, max(1, n // 3)) for n in geometry.shape)
            label_map[corner] = 3
        name = f"{'test' if is_test else 'case'}_{index:03d}"
        return _MadeCase(name, images, label_map, geometry)

    return _write_dataset(folder, record, make, cases, test_cases, reporter)


def _demo_geometry(rng: np.random.Generator, *, oblique: bool) -> Geometry:
    in_plane = float(np.round(rng.uniform(2.4, 3.0), 3))
    slices = float(rng.choice(SLICE_DISTANCES))
    spacing = (slices, in_plane, in_plane)
    extent = np.array(FIELD_OF_VIEW) * rng.uniform(0.99, 1.05, 3)
    depth, height, width = (round(e / s) for e, s in zip(extent, spacing, strict=True))
    tilt = float(np.deg2rad(rng.uniform(8, 14))) if oblique else 0.0
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    direction: Matrix3 = ((1.0, 0.0, 0.0), (0.0, cos, -sin), (0.0, sin, cos))
    x, y, z = (np.round(rng.normal(c, 15), 2) for c in (-105.0, -120.0, -640.0))
    return Geometry(
        (depth, height, width),
        spacing,
        (float(x), float(y), float(z)),
        direction if oblique else IDENTITY,
    )


def _small_geometry(
    size: tuple[int, ...], spacing: Vector3, index: int, rng: np.random.Generator
) -> Geometry:
    steps = rng.integers(-1, 2, len(size))
    shape = tuple(int(n + d) for n, d in zip(size, steps, strict=True))
    if len(size) == 2:
        return Geometry((1, *shape), (999.0, 1.0, 1.0))  # type: ignore[arg-type]
    z, y, x = spacing
    finer = (z, y, x) if index % 2 == 0 else (z, 1.1 * y, 1.1 * x)
    origin = (float(rng.integers(-50, 50)), float(rng.integers(-50, 50)), 12.5)
    grid: Shape3 = (shape[0], shape[1], shape[2])
    return Geometry(grid, finer, origin)


def _balls(
    geometry: Geometry, channel_count: int, flat: bool, rng: np.random.Generator
) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint8]]:
    """Images (Z, Y, X) per channel and the label map of a ball and its bud."""
    shape = geometry.shape
    spacing = (1.0, *geometry.spacing[1:]) if flat else geometry.spacing
    extent = np.array(shape) * np.array(spacing)
    room = float(min(extent[1:] if flat else extent))
    points = deform(grid_points(shape, spacing), spacing, 0.03 * room, 0.5 * room, rng)
    if flat:
        points = (np.zeros_like(points[0]), points[1], points[2])
    radius = room * rng.uniform(0.24, 0.3)
    centre = tuple(rng.uniform(-0.06, 0.06, 3) * room)
    bud_centre = tuple(centre + radius * np.array([0.0, 0.8, 0.6]) * rng.choice([-1, 1], 3))
    ball = ellipsoid(points, centre, (radius,) * 3)
    bud = ellipsoid(points, bud_centre, (0.6 * radius,) * 3)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[ball > 0] = 1
    labels[bud > 0] = 2
    width = float(np.mean(spacing))
    images = []
    for channel in range(channel_count):
        levels = np.roll([40.0, 130.0, 210.0], channel) if flat else [-100.0, 60.0, 180.0]
        sign = 1 if flat or channel % 2 == 0 else -1
        image = np.full(shape, levels[0], dtype=np.float32)
        for field, level in ((ball, levels[1]), (bud, levels[2])):
            image += cover(field, width) * (np.float32(level) - image)
        image = sign * image + 14 * correlated_noise(shape, (0, 0.5, 0.5), rng)
        if flat:
            images.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
        else:
            images.append(np.rint(image).astype(np.int16))
    return tuple(images), labels


def _dataset_record(
    name: str,
    description: str,
    channels: Mapping[str, str],
    labels: Mapping[str, Any],
    cases: int,
    file_ending: str,
    **extra: Any,
) -> dict[str, Any]:
    """What dataset.json will hold."""
    return {
        "name": name,
        "description": description,
        "licence": "CC0-1.0",
        "channel_names": dict(channels),
        "labels": dict(labels),
        **extra,
        "numTraining": cases,
        "file_ending": file_ending,
    }


def _write_dataset(
    folder: Path,
    record: Mapping[str, Any],
    make: Callable[[int, bool], _MadeCase],
    cases: int,
    test_cases: int,
    reporter: Reporter,
) -> Path:
    folder = Path(folder)
    if cases < 1 or test_cases < 0:
        raise UsageError(
            "a data set of that size cannot be made",
            expected="at least 1 training case and 0 test cases",
            found=f"{cases} and {test_cases}",
            cure="ask for more cases",
        )
    text = (json.dumps(record, indent=2) + "\n").encode("utf-8")
    if _is_there(folder, text):
        reporter(Notice(f"the data set in {folder} is already complete"))
        return folder
    begin = time.monotonic()
    total = cases + test_cases
    write_bytes_atomically(folder / _UNFINISHED, b"")
    reporter(StageStarted(_STAGE, total, "cases"))
    for done in range(total):
        is_test = done >= cases
        case = make(done - cases if is_test else done, is_test)
        _write_case(folder, case, "Ts" if is_test else "Tr", str(record["file_ending"]))
        reporter(Progress(_STAGE, done + 1, total, detail=case.identifier))
    write_bytes_atomically(folder / "dataset.json", text)
    (folder / _UNFINISHED).unlink(missing_ok=True)
    reporter(StageFinished(_STAGE, time.monotonic() - begin))
    return folder


def _is_there(folder: Path, text: bytes) -> bool:
    """True where the same call finished this data set before.

    Raises:
        DatasetError: the folder holds something else, which must not be mixed with ours.
    """
    marker = folder / "dataset.json"
    if marker.exists():
        if marker.read_bytes() != text:
            raise _other_dataset(folder, "another dataset.json")
        return True
    if (folder / "imagesTr").exists() and not (folder / _UNFINISHED).exists():
        raise _other_dataset(folder, "images that were not made here")
    return False


def _other_dataset(folder: Path, found: str) -> DatasetError:
    return DatasetError(
        "the folder holds another data set, which is not overwritten",
        expected="an empty or new folder",
        found=found,
        cure="choose another folder, or remove this one yourself",
        path=folder,
    )


def _write_case(folder: Path, case: _MadeCase, kind: str, ending: str) -> None:
    images = folder / f"images{kind}"
    labels = folder / f"labels{kind}" / f"{case.identifier}{ending}"
    if case.geometry.is_2d:
        flat = [channel[0] for channel in case.channels]
        if len(flat) == 3:
            _write_picture(images / f"{case.identifier}_0000{ending}", np.stack(flat, axis=-1))
        else:
            for number, channel in enumerate(flat):
                _write_picture(images / f"{case.identifier}_{number:04d}{ending}", channel)
        _write_picture(labels, case.labels[0])
        return
    for number, channel in enumerate(case.channels):
        path = images / f"{case.identifier}_{number:04d}{ending}"
        _write_volume(path, channel, case.geometry)
    _write_volume(labels, case.labels, case.geometry)


def _write_picture(path: Path, pixels: NDArray[Any]) -> None:
    with written_atomically(path) as part:
        iio.imwrite(part, pixels)


def _write_volume(path: Path, voxels: NDArray[Any], geometry: Geometry) -> None:
    image: Any = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection([entry for row in geometry.direction for entry in row])
    try:
        with written_atomically(path) as part:
            SimpleITK.WriteImage(image, str(part), useCompression=True)
    except RuntimeError as error:
        raise ProjectError(
            "the image cannot be written",
            expected="a format that SimpleITK writes and enough free space",
            found=str(error).strip().splitlines()[-1],
            cure="use .nii.gz, .nrrd or .mha, and free some space",
            path=path,
        ) from error
