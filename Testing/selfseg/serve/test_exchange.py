"""Plain arrays in and out, and outputs that are there in full or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from selfseg.domain.errors import ImageError, ProjectError, SelfsegError, UsageError
from selfseg.domain.geometry import Geometry
from selfseg.io.images import read_label_map
from selfseg.serve.exchange import read_images, staged_output
from selfseg.serve.messages import Grid

GRID = Grid((3.0, 1.0, 2.0), (1.0, 2.0, 3.0))
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_plain_channels(tmp_path: Path) -> None:
    first = saved(tmp_path / "case.npy", VOXELS)
    second = saved(tmp_path / "more.npy", np.stack([VOXELS, -VOXELS]).astype(np.float64))
    raw = read_images((first, second), GRID)
    assert raw.identifier == "case"
    assert raw.geometry == Geometry((2, 3, 4), GRID.spacing, GRID.origin)
    assert raw.channels.dtype == np.float32
    np.testing.assert_array_equal(raw.channels, np.stack([VOXELS, VOXELS, -VOXELS]))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((2, 2)), "no image"),
        (np.zeros((1, 1, 1, 1, 1)), "no image"),
        (np.zeros((0, 2, 2)), "no image"),
        (np.zeros((2, 2, 2), complex), "no image"),
        (np.full((2, 2, 2), np.nan), "not numbers"),
        (np.full((2, 2, 2), 1e300), "not numbers"),
        (np.array([{}], object), "cannot be read"),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, array: np.ndarray, text: str) -> None:
    with pytest.raises(ImageError, match=text):
        read_images((saved(tmp_path / "a.npy", array),), GRID)


def test_damaged_and_missing_arrays(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", VOXELS)
    path.write_bytes(path.read_bytes()[:-4])
    for file in (path, tmp_path / "none.npy"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_images((file,), GRID)
    np.savez(tmp_path / "z.npz", VOXELS)
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    with pytest.raises(ImageError, match=r"no image|cannot be read"):
        read_images((tmp_path / "z.npy",), GRID)


def test_kinds_and_grids_that_do_not_go_together(tmp_path: Path, image: Path) -> None:
    plain = saved(tmp_path / "a.npy", VOXELS)
    for images, grid in (((plain,), None), ((image,), GRID), ((plain, image), GRID)):
        with pytest.raises(UsageError, match="do not go together"):
            read_images(images, grid)
    other = saved(tmp_path / "b.npy", VOXELS[:1])
    with pytest.raises(ImageError, match="different sizes"):
        read_images((plain, other), GRID)
    with pytest.raises(SelfsegError, match="spacing"):
        read_images((plain,), Grid((0.0, 1.0, 1.0)))


@pytest.mark.parametrize("ending", [".npy", ".nii.gz", ".mhd", ".nrrd"])
def test_the_label_map_appears_at_the_end(tmp_path: Path, ending: str) -> None:
    output = tmp_path / "new" / f"labels{ending}"
    with staged_output(output, "0123") as write:
        (stage,) = output.parent.iterdir()
        assert stage.name.startswith(".part-0123-")
        write(VOXELS, Geometry(VOXELS.shape, (1.0, 1.0, 1.0)))
        assert not output.exists()
    if ending == ".npy":
        found = np.load(output)
        assert found.dtype == np.uint8
    elif ending == ".mhd":
        assert sorted(path.suffix for path in output.parent.iterdir()) == [".mhd", ".zraw"]
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    else:
        found, _ = read_label_map(output)
    np.testing.assert_array_equal(found, VOXELS)
    assert not list(output.parent.glob(".part*"))


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    output = tmp_path / "labels.nii.gz"
    output.write_text("as it was")

    def fail() -> None:
        with staged_output(output, "0") as write:
            write(VOXELS, Geometry(VOXELS.shape, (1.0, 1.0, 1.0)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert output.read_text() == "as it was"
    assert os.listdir(tmp_path) == ["labels.nii.gz"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ProjectError, match="cannot be written"),
        staged_output(tmp_path / "file" / "labels.nii.gz", "0"),
    ):
        pass
