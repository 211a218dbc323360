"""Photographs and TIFF: pixel formats, palettes, stacks, and writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.io.images import channel_count, read_image, read_label_map, write_label_map

PICTURE = Geometry((1, 5, 6), (999.0, 1.0, 1.0))
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 255, (5, 6), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65535, (5, 6), dtype=np.uint16)
COLOUR = RANDOM.integers(0, 255, (5, 6, 3), dtype=np.uint8)
SEEN = np.full((5, 6, 1), 200, np.uint8)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff"])
@pytest.mark.parametrize(
    ("pixels", "expected"),
    [(GREY, GREY[None]), (COLOUR, np.moveaxis(COLOUR, -1, 0))],
    ids=["grey", "colour"],
)
def test_pictures(tmp_path: Path, ending: str, pixels: np.ndarray, expected: np.ndarray) -> None:
    path = tmp_path / f"p{ending}"
    Image.fromarray(pixels).save(path)
    array, geometry = read_image(path)
    assert array.dtype == np.float32
    assert_array_equal(array[:, 0], expected)
    assert geometry == PICTURE
    assert channel_count(path) == len(expected)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_deep_grey(tmp_path: Path, ending: str) -> None:
    Image.fromarray(DEEP).save(tmp_path / f"p{ending}")
    assert_array_equal(read_image(tmp_path / f"p{ending}")[0][0, 0], DEEP)


def test_deep_colour_png_keeps_its_depth(tmp_path: Path) -> None:
    deep = RANDOM.integers(0, 65535, (5, 6, 3), dtype=np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), str(tmp_path / "p.png"))
    assert_array_equal(read_image(tmp_path / "p.png")[0][:, 0], np.moveaxis(deep, -1, 0))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_transparency_is_dropped(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p{ending}"
    Image.fromarray(np.concatenate([COLOUR, SEEN], axis=-1)).save(path)
    assert_array_equal(read_image(path)[0][:, 0], np.moveaxis(COLOUR, -1, 0))


def test_grey_with_transparency(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("LA").save(tmp_path / "p.png")
    assert_array_equal(read_image(tmp_path / "p.png")[0][:, 0], GREY[None])


def test_jpeg_is_read_and_never_written(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 6), 90, np.uint8)).save(tmp_path / "p.jpg")
    assert read_image(tmp_path / "p.jpg")[0].shape == (1, 1, 5, 6)
    with pytest.raises(ImageError, match="JPEG"):
        write_label_map(tmp_path / "l.jpg", np.zeros((1, 5, 6), int), PICTURE)


def test_bilevel_picture_is_nought_and_one(tmp_path: Path) -> None:
    mask = GREY > 127
    Image.fromarray(mask).save(tmp_path / "l.png")
    assert_array_equal(read_image(tmp_path / "l.png")[0][0, 0], mask)
    assert_array_equal(read_label_map(tmp_path / "l.png")[0][0], mask)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp"])
def test_palette_gives_colours_to_images_and_numbers_to_label_maps(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"p{ending}"
    numbers = (GREY % 3).astype(np.uint8)
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette(palette.ravel().tolist())
    image.save(path)
    assert_array_equal(read_image(path)[0][:, 0], np.moveaxis(palette[numbers], -1, 0))
    assert_array_equal(read_label_map(path)[0][0], numbers)


def test_grey_palette_gives_greys_to_label_maps(tmp_path: Path) -> None:
    numbers = (GREY % 2).astype(np.uint8)
    image = Image.fromarray(numbers)
    image.putpalette([0, 0, 0, 7, 7, 7])
    image.save(tmp_path / "p.png")
    assert_array_equal(read_label_map(tmp_path / "p.png")[0][0], numbers * 7)


def test_colour_label_map_needs_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(GREY[..., None], 3, axis=-1)).save(tmp_path / "l.png")
    assert_array_equal(read_label_map(tmp_path / "l.png")[0][0], GREY)
    Image.fromarray(COLOUR).save(tmp_path / "l.png")
    with pytest.raises(ImageError, match="several channels"):
        read_label_map(tmp_path / "l.png")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_in_both_layouts(tmp_path: Path, planar: str) -> None:
    data = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
    tifffile.imwrite(tmp_path / "p.tif", data, photometric="rgb", planarconfig=planar)
    assert_array_equal(read_image(tmp_path / "p.tif")[0][:, 0], np.moveaxis(COLOUR, -1, 0))


def test_lzw_tiff_is_read(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "p.tif", compression="tiff_lzw")
    assert_array_equal(read_image(tmp_path / "p.tif")[0][0, 0], GREY)


def test_tiff_stack_takes_its_spacing_from_beside(tmp_path: Path) -> None:
    stack = RANDOM.normal(size=(3, 5, 6)).astype(np.float32)
    path = tmp_path / "c_0000.tif"
    tifffile.imwrite(path, stack, photometric="minisblack")
    array, geometry = read_image(path)
    assert_array_equal(array[0], stack)
    assert geometry == Geometry((3, 5, 6), (1.0, 1.0, 1.0))
    (tmp_path / "c.json").write_text('{"spacing": [2.5, 0.5, 0.25]}')
    assert read_image(path)[1].spacing == (2.5, 0.5, 0.25)
    (tmp_path / "c.json").write_text('{"spacing": [2.5]}')
    with pytest.raises(ImageError, match="spacing"):
        read_image(path)


@pytest.mark.parametrize("highest", [255, 256, 70_000])
def test_tiff_stack_round_trip(tmp_path: Path, highest: int) -> None:
    geometry = Geometry((3, 5, 6), (2.5, 0.5, 0.25))
    labels = RANDOM.integers(0, highest + 1, geometry.shape)
    write_label_map(tmp_path / "l.tif", labels, geometry)
    back, found = read_label_map(tmp_path / "l.tif")
    assert_array_equal(back, labels)
    assert found == geometry
    assert json.loads((tmp_path / "l.json").read_text()) == {"spacing": [2.5, 0.5, 0.25]}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["l.json", "l.tif"]


@pytest.mark.parametrize(
    ("ending", "highest"), [(".png", 3), (".png", 300), (".bmp", 255), (".tif", 70_000)]
)
def test_picture_round_trip(tmp_path: Path, ending: str, highest: int) -> None:
    labels = RANDOM.integers(0, highest + 1, PICTURE.shape)
    labels[0, 0, 0] = highest
    write_label_map(tmp_path / f"l{ending}", labels, PICTURE)
    back, geometry = read_label_map(tmp_path / f"l{ending}")
    assert_array_equal(back, labels)
    assert geometry == PICTURE
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "highest", "geometry"),
    [
        ("l.png", 70_000, PICTURE),
        ("l.bmp", 256, PICTURE),
        ("l.png", 1, Geometry((2, 5, 6), (1.0, 1.0, 1.0))),
        ("l.png", 1, Geometry((1, 5, 6), (999.0, 0.5, 0.5))),
        ("l.tif", 1, Geometry((1, 5, 6), (999.0, 0.5, 0.5))),
        ("l.tif", 1, Geometry((2, 5, 6), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0))),
        ("l.tif", 1, Geometry((1, 5, 6), (3.0, 1.0, 1.0))),
    ],
)
def test_writing_refuses_what_a_picture_cannot_hold(
    tmp_path: Path, name: str, highest: int, geometry: Geometry
) -> None:
    with pytest.raises(ImageError, match="cannot hold") as caught:
        write_label_map(tmp_path / name, np.full(geometry.shape, highest), geometry)
    assert caught.value.path == tmp_path / name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".png", ".bmp", ".jpg", ".tif"])
@pytest.mark.parametrize("cut", [0, 20, 60])
def test_damaged_pictures_are_image_errors(tmp_path: Path, ending: str, cut: int) -> None:
    path = tmp_path / f"p{ending}"
    Image.fromarray(RANDOM.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(path)


def test_absurd_tiff_size_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    Image.fromarray(GREY).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x01\x01\x04\x00")  # the tag of the image length, a 32-bit number
    data[at + 8 : at + 12] = b"\x05\x00\x00\x82"
    path.write_bytes(bytes(data))
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(path)
