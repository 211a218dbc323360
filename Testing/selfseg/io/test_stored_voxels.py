"""Headers that claim more than their file holds, and files that a full disk has cut off."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bad_input.files import meta, nifti, nrrd
from bad_input.limits import limited
from selfseg.domain.errors import ImageError, SelfsegError
from selfseg.domain.geometry import Geometry
from selfseg.io.images import read_image, write_label_map
from selfseg.io.itk_images import itk_grid

NOISE = np.random.default_rng(0).integers(0, 3000, (10, 12, 14)).astype(np.int16)


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".nii"])
@pytest.mark.parametrize("compressed", [True, False])
def test_whole_files_are_read(ending: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"v{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), compressed)
    np.testing.assert_array_equal(read_image(path)[0][0], NOISE)


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".nii"])
@pytest.mark.parametrize("compressed", [True, False])
def test_cut_off_files_are_refused(ending: str, compressed: bool, tmp_path: Path) -> None:
    """ITK itself fills up GIPL and compressed MetaImage files with whatever is in memory."""
    path = tmp_path / f"v{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), compressed)
    voxels = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    voxels.write_bytes(voxels.read_bytes()[:-400])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.path == path


def test_damage_inside_a_compressed_meta_image_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "v.mha"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(ImageError, match="cut off or damaged"):
        read_image(path)


@pytest.mark.parametrize(
    "make",
    [
        nrrd("x.nrrd", (2000,) * 3),
        nrrd("x.nrrd", (2000,) * 3, encoding="gzip"),
        nrrd("x.nrrd", (2000,) * 3, encoding="ascii"),
        meta("x.mha", (2000,) * 3),
        meta("x.mha", (-1, 4, 4)),
        nifti("x.nii", (2000,) * 3, b"x"),
        nifti("x.nii.gz", (2000,) * 3, b"x"),
    ],
)
def test_no_room_is_made_for_what_is_not_there(make: object, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    (path,) = tmp_path.iterdir()
    tracemalloc.start()
    try:
        for read in (read_image, itk_grid):
            with pytest.raises(ImageError, match="cut off"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    """The file could hold it, packed as tightly as gzip can."""
    nrrd("x.nrrd", (40_000,) * 3, b"", encoding="gzip")(tmp_path)
    with (tmp_path / "x.nrrd").open("r+b") as stream:
        stream.truncate(70_000_000_000)
    with pytest.raises(ImageError, match="larger than the memory"):
        read_image(tmp_path / "x.nrrd")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    nifti("x.nii", (5, 5, 5))(tmp_path)
    small = (tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(small + bytes(2**26), 1))
    tracemalloc.start()
    try:
        voxels, _ = read_image(tmp_path / "x.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(voxels, read_image(tmp_path / "x.nii")[0])


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.raw", "C:\\x.raw", "a/../../x.raw"])
@pytest.mark.parametrize("kind", ["nhdr", "nhdr list", "mhd", "mhd list"])
def test_headers_name_no_files_elsewhere(name: str, kind: str, tmp_path: Path) -> None:
    match kind:
        case "nhdr":
            nrrd("x.nhdr", (2, 2, 2), b"", data_file=name)(tmp_path)
        case "nhdr list":
            nrrd("x.nhdr", (2, 2, 2), b"", data_file=f"LIST\n{name}\n{name}")(tmp_path)
        case "mhd":
            meta("x.mhd", (2, 2, 2), b"", file=name)(tmp_path)
        case _:
            meta("x.mhd", (2, 2, 2), f"{name}\n{name}\n".encode(), file="LIST")(tmp_path)
    with pytest.raises(ImageError):
        read_image(next(tmp_path.iterdir()))


def test_negative_spacing_turns_the_axis_round(tmp_path: Path) -> None:
    """As ITK's reader of images does; its reader of headers does not."""
    nifti("x.nii", (4, 4, 4), spacing=(-1.5, 1.0, 1.0))(tmp_path)
    meta("x.mha", (4, 4, 4), spacing="-1.5 1 1")(tmp_path)
    for path in tmp_path.iterdir():
        _, grid = read_image(path)
        assert grid.spacing == (1.0, 1.0, 1.5)
        assert [row[0] for row in grid.direction] == [-1.0, 0.0, 0.0]
        assert itk_grid(path)[1] == grid


@pytest.mark.skipif(os.name == "nt", reason="a limit of Unix")
@pytest.mark.parametrize(
    "ending", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".tif", ".png", ".bmp"]
)
def test_a_full_disk_is_noticed(ending: str, tmp_path: Path) -> None:
    flat = ending in (".png", ".bmp", ".tif")
    shape = (1, 90, 90) if flat else (20, 20, 20)
    labels = np.random.default_rng(0).integers(0, 200, shape)
    grid = Geometry(shape, (999.0, 1.0, 1.0) if flat else (1.0, 1.0, 1.0))
    with limited("full disk"), pytest.raises(SelfsegError) as caught:
        write_label_map(tmp_path / f"x{ending}", labels, grid)
    assert caught.value.path == tmp_path / f"x{ending}"
    assert list(tmp_path.iterdir()) == []
