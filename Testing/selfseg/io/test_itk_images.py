"""Volumes through SimpleITK: axes, geometry, label values, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from selfseg.domain.dataset import CaseFiles
from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import LabelScheme
from selfseg.io.images import (
    LabelValueError,
    channel_count,
    grid_difference,
    read_case,
    read_image,
    read_label_map,
    write_label_map,
)

TURNED = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
OBLIQUE = ((0.8, -0.6, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
GRID = Geometry((4, 5, 6), (3.0, 0.5, 0.75), (10.0, -20.5, 3.25), OBLIQUE)
SCHEME = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2})


def save(
    path: Path,
    array: np.ndarray,
    *,
    spacing: tuple[float, ...] | None = None,
    origin: tuple[float, ...] | None = None,
    direction: tuple[float, ...] | None = None,
    vector: bool = False,
) -> Path:
    """Writes an array with ITK's (x, y, z) geometry."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


def nifti(path: Path, array: np.ndarray, columns: np.ndarray) -> Path:
    """Writes a bare NIfTI-1 file (float32) with an sform only; array is (Z, Y, X)."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 16, 32)
    lengths = np.linalg.norm(columns, axis=0)
    struct.pack_into("<8f", head, 76, 1.0, *lengths, 1, 1, 1, 1)
    struct.pack_into("<2f", head, 108, 352, 1)
    struct.pack_into("<2h", head, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", head, 280 + 16 * row, *columns[row], 0.0)
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + array.astype("<f4").tobytes())
    return path


def scale(path: Path, slope: float, intercept: float) -> None:
    """Sets scl_slope and scl_inter of a NIfTI-1 file."""
    packed = path.suffix == ".gz"
    raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into("<2f", raw, 112, slope, intercept)
    path.write_bytes(gzip.compress(raw) if packed else bytes(raw))


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_volume_keeps_axes_and_geometry(tmp_path: Path, volume: np.ndarray, ending: str) -> None:
    flat = tuple(c for row in OBLIQUE for c in row)
    path = save(
        tmp_path / f"v{ending}",
        volume,
        spacing=(0.75, 0.5, 3.0),
        origin=(10.0, -20.5, 3.25),
        direction=flat,
    )
    array, geometry = read_image(path)
    assert array.shape == (1, 4, 5, 6)
    assert array.dtype == np.float32
    assert_array_equal(array[0], volume)
    assert geometry.mismatch(GRID, tolerance=1e-6) == ""
    assert channel_count(path) == 1


def test_gipl_is_read(tmp_path: Path, volume: np.ndarray) -> None:
    path = save(tmp_path / "v.gipl", volume, spacing=(1.0, 2.0, 3.0))
    array, geometry = read_image(path)
    assert_array_equal(array[0], volume)
    assert geometry.spacing == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_vector_pixels_become_channels(tmp_path: Path, ending: str) -> None:
    pixels = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    path = save(tmp_path / f"v{ending}", pixels, vector=True)
    array, _ = read_image(path)
    assert_array_equal(array, np.moveaxis(pixels, -1, 0))
    assert channel_count(path) == 2


def test_fourth_nifti_axis_becomes_channels(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    image = sitk.JoinSeries([sitk.GetImageFromArray(part) for part in stack])
    image.SetSpacing((0.75, 0.5, 3.0, 1.0))
    image.SetOrigin((1.0, 2.0, 3.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "v.nii.gz"))
    array, geometry = read_image(tmp_path / "v.nii.gz")
    assert_array_equal(array, stack)
    assert geometry == Geometry((4, 5, 6), (3.0, 0.5, 0.75), (1.0, 2.0, 3.0))
    assert channel_count(tmp_path / "v.nii.gz") == 3


def test_flat_nifti_is_one_marked_slice_and_comes_back_flat(
    tmp_path: Path, volume: np.ndarray
) -> None:
    path = save(
        tmp_path / "v.nii.gz",
        volume[0],
        spacing=(0.5, 0.75),
        origin=(1.0, 2.0),
        direction=(0.0, -1.0, 1.0, 0.0),
    )
    array, geometry = read_image(path)
    assert_array_equal(array[0, 0], volume[0])
    assert geometry == Geometry((1, 5, 6), (999.0, 0.75, 0.5), (1.0, 2.0, 0.0), TURNED)
    assert geometry.is_2d
    write_label_map(tmp_path / "out.nii.gz", np.ones((1, 5, 6), int), geometry)
    assert sitk.ReadImage(str(tmp_path / "out.nii.gz")).GetDimension() == 2
    assert read_label_map(tmp_path / "out.nii.gz")[1] == geometry


def test_one_slice_volume_stays_a_volume(tmp_path: Path) -> None:
    geometry = Geometry((1, 5, 6), (5.0, 1.0, 1.0), (1.0, 2.0, 3.0))
    write_label_map(tmp_path / "l.nii.gz", np.ones((1, 5, 6), int), geometry)
    assert read_label_map(tmp_path / "l.nii.gz")[1] == geometry


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_voxels_are_those_of_itk(tmp_path: Path, kind: type, ending: str) -> None:
    array = (1000 * np.random.default_rng(0).normal(size=(3, 4, 5, 6))).astype(kind)
    for name, data, vector in (
        ("flat", array[0, 0], False),
        ("volume", array[0], False),
        ("vector", np.moveaxis(array, 0, -1), True),
    ):
        path = save(tmp_path / f"{name}{ending}", data, vector=vector)
        if not vector:  # ITK crashes on a scaled vector
            scale(path, 0.37, -12.5)
        image = sitk.ReadImage(str(path), sitk.sitkVectorFloat32 if vector else sitk.sitkFloat32)
        expected = sitk.GetArrayFromImage(image)
        expected = np.moveaxis(expected, -1, 0) if vector else expected
        assert_array_equal(read_image(path)[0].reshape(expected.shape), expected)


def test_nearly_straight_sform_is_straightened(tmp_path: Path, volume: np.ndarray) -> None:
    columns = np.diag([1.0, 2.0, 3.0])
    columns[0, 1] = 9e-4 * 2
    array, geometry = read_image(nifti(tmp_path / "v.nii", volume, columns))
    assert_array_equal(array[0], volume)
    assert geometry.spacing == pytest.approx((3, 2, 1), abs=1e-5)
    direction = np.array(geometry.direction)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.abs(direction), np.eye(3), atol=1e-3)


def test_sheared_sform_is_refused(tmp_path: Path, volume: np.ndarray) -> None:
    columns = np.diag([1.0, 2.0, 3.0])
    columns[0, 1] = 0.2
    path = nifti(tmp_path / "v.nii", volume, columns)
    with pytest.raises(ImageError, match="not perpendicular") as caught:
        read_image(path)
    assert caught.value.path == path
    assert caught.value.cure


def test_straight_sform_is_read_as_itk_does(tmp_path: Path, volume: np.ndarray) -> None:
    _, geometry = read_image(nifti(tmp_path / "v.nii", volume, np.diag([1.0, 2.0, 3.0])))
    assert geometry.direction[0][0] == -1  # RAS to LPS
    assert geometry.spacing == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_cut_off_file_is_refused(tmp_path: Path, ending: str) -> None:
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    path = save(tmp_path / f"v{ending}", noise)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == path


def test_gzip_in_several_parts_is_whole(tmp_path: Path, volume: np.ndarray) -> None:
    data = save(tmp_path / "v.nii", volume).read_bytes()
    parted = tmp_path / "p.nii.gz"
    parted.write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]))
    assert_array_equal(read_image(parted)[0][0], volume)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.nii.gz", b""), ("b.nii.gz", b"nonsense"), ("c.nrrd", b"NRRD0004\n"), ("d.mha", b"\0")],
)
def test_nonsense_is_an_image_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read") as caught:
        read_image(tmp_path / name)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.cure


def test_missing_file_and_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "v.nii.gz")
    with pytest.raises(ImageError, match="unknown kind"):
        read_image(tmp_path / "v.docx")


def test_itk_warnings_stay_out_of_the_terminal(
    tmp_path: Path, volume: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    columns = np.diag([1.0, 2.0, 3.0])
    columns[0, 1] = 9e-4 * 2
    read_image(nifti(tmp_path / "v.nii", volume, columns))
    assert capfd.readouterr().err == ""


def test_scaled_nifti_vector(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(-9, 9, (4, 5, 6, 2)).astype(np.int16)
    path = save(tmp_path / "v.nii", pixels, vector=True)
    scale(path, 0.5, 1.0)
    assert_array_equal(read_image(path)[0], np.moveaxis(pixels, -1, 0) * 0.5 + 1)


@settings(max_examples=30, deadline=None)
@given(
    labels=hnp.arrays(
        np.int64,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
        elements=st.integers(0, 70_000),
    ),
    ending=st.sampled_from([".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr", ".nii"]),
    spacing=st.tuples(*[st.floats(0.125, 8.0, width=32)] * 3),
    origin=st.tuples(*[st.floats(-500, 500, width=32)] * 3),
)
def test_label_map_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    labels: np.ndarray,
    ending: str,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
) -> None:
    path = tmp_path_factory.mktemp("r") / f"l{ending}"
    geometry = Geometry(labels.shape, spacing, origin, TURNED)
    write_label_map(path, labels, geometry)
    back, found = read_label_map(path)
    assert_array_equal(back, labels)
    assert geometry.mismatch(found, tolerance=1e-4) == ""
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]


def test_nifti_geometry_survives_exactly(tmp_path: Path, volume: np.ndarray) -> None:
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    path = save(
        tmp_path / "v.nii.gz",
        volume,
        spacing=(0.7123, 0.7123, 2.9),
        origin=(-123.456, 78.9, 1000.25),
        direction=tuple(rotation.ravel()),
    )
    _, geometry = read_image(path)
    write_label_map(tmp_path / "l.nii.gz", np.zeros((4, 5, 6), np.uint8), geometry)
    _, found = read_label_map(tmp_path / "l.nii.gz")
    assert geometry.mismatch(found, tolerance=1e-5) == ""


@pytest.mark.parametrize(
    ("highest", "kind"), [(255, np.uint8), (256, np.uint16), (65_536, np.uint32)]
)
def test_smallest_type_is_written(tmp_path: Path, highest: int, kind: type) -> None:
    labels = np.full(GRID.shape, highest)
    write_label_map(tmp_path / "new" / "l.nii.gz", labels, GRID)
    assert read_label_map(tmp_path / "new" / "l.nii.gz")[0].dtype == kind


def test_writing_refuses_what_cannot_be_held(tmp_path: Path) -> None:
    zeros = np.zeros(GRID.shape, int)
    before = tmp_path / "l.gipl"
    before.write_bytes(b"untouched")
    with pytest.raises(ImageError, match="cannot hold the geometry"):
        write_label_map(before, zeros, GRID)
    assert before.read_bytes() == b"untouched"
    with pytest.raises(LabelValueError):
        write_label_map(tmp_path / "l.nii.gz", zeros - 1, GRID)
    with pytest.raises(LabelValueError):
        write_label_map(tmp_path / "l.nii.gz", zeros + 0.5, GRID)
    with pytest.raises(ImageError, match="does not fit"):
        write_label_map(tmp_path / "l.nii.gz", zeros[1:], GRID)
    with pytest.raises(ImageError, match="unknown kind"):
        write_label_map(tmp_path / "l.vti", zeros, GRID)
    assert [file.name for file in tmp_path.iterdir()] == ["l.gipl"]


def test_float_label_map_with_whole_numbers(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    path = save(tmp_path / "l.nii.gz", labels.astype(np.float32))
    back, _ = read_label_map(path)
    assert back.dtype == np.int32
    assert_array_equal(back, labels)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_float_label_map_with_other_numbers(tmp_path: Path, value: float) -> None:
    labels = np.zeros((4, 5, 6), np.float32)
    labels[0, 0, 0] = value
    with pytest.raises(LabelValueError, match="not whole numbers"):
        read_label_map(save(tmp_path / "l.nii.gz", labels))


def test_case_joins_channels_and_labels(tmp_path: Path, volume: np.ndarray) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    files = CaseFiles(
        "c",
        (save(tmp_path / "c_0000.nii.gz", volume), save(tmp_path / "c_0001.nrrd", volume + 1)),
        save(tmp_path / "c.mha", labels),
    )
    case = read_case(files, SCHEME)
    assert_array_equal(case.channels, np.stack([volume, volume + 1]))
    assert_array_equal(case.labels, labels)
    assert read_case(files, SCHEME, with_labels=False).labels is None


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"origin": (0.0005, 0, 0)}, ""),
        ({"spacing": (1.0005, 1, 1)}, ""),
        ({"origin": (0.01, 0, 0)}, "origin"),
        ({"spacing": (1.01, 1, 1)}, "spacing"),
        ({"direction": (0, -1, 0, 1, 0, 0, 0, 0, 1)}, "direction"),
    ],
)
def test_small_grid_differences_are_tolerated(
    tmp_path: Path, volume: np.ndarray, change: dict, refused: str
) -> None:
    label = save(tmp_path / "c.nrrd", np.zeros((4, 5, 6), np.uint8), **change)
    files = CaseFiles("c", (save(tmp_path / "c_0000.nrrd", volume),), label)
    if not refused:
        assert read_case(files, SCHEME).geometry.spacing == (1.0, 1.0, 1.0)
        return
    with pytest.raises(ImageError, match=refused) as caught:
        read_case(files, SCHEME)
    assert "c.nrrd" in str(caught.value)
    assert "c_0000.nrrd" in str(caught.value)


def test_grid_tolerance_is_relative_to_the_spacing() -> None:
    first = Geometry((2, 2, 2), (0.01, 0.01, 0.01))
    assert grid_difference(first, Geometry((2, 2, 2), (0.01,) * 3, (5e-4, 0.0, 0.0)))
    assert not grid_difference(first, Geometry((2, 2, 2), (0.01,) * 3, (5e-6, 0.0, 0.0)))


def test_case_refuses_foreign_labels_nan_and_other_sizes(
    tmp_path: Path, volume: np.ndarray
) -> None:
    image = save(tmp_path / "c_0000.nii.gz", volume)
    label = save(tmp_path / "c.nii.gz", np.full((4, 5, 6), 7, np.uint8))
    with pytest.raises(LabelValueError, match="7"):
        read_case(CaseFiles("c", (image,), label), SCHEME)
    assert read_case(CaseFiles("c", (image,), label), None).labels is not None
    other = save(tmp_path / "c_0001.nii.gz", volume[1:])
    with pytest.raises(ImageError, match="size"):
        read_case(CaseFiles("c", (image, other)), SCHEME)
    volume[0, 0, 0] = np.nan
    with pytest.raises(ImageError, match="not numbers"):
        read_case(CaseFiles("c", (save(image, volume),)), SCHEME)
    with pytest.raises(ImageError, match="no image"):
        read_case(CaseFiles("c", ()), SCHEME)
