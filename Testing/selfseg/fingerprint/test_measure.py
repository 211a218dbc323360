"""What is measured on cases, and the fingerprint of a small data set on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.case import RawCase
from selfseg.domain.dataset import CaseFiles
from selfseg.domain.errors import DatasetError
from selfseg.domain.events import Event, Notice, Progress, silent
from selfseg.domain.fingerprint import Fingerprint
from selfseg.domain.geometry import Geometry
from selfseg.fingerprint.batch import hash_files, take_fingerprint
from selfseg.fingerprint.measure import HISTOGRAM_BINS, combine, measure_case


def made(identifier: str, *, seed: int = 0, labelled: bool = True, size: int = 12) -> RawCase:
    generator = np.random.default_rng(seed)
    image = np.zeros((2, size, 10, 14), dtype=np.float32)
    image[:, 2:-1, 1:9, 3:] = generator.integers(1, 500, (2, size - 3, 8, 11))
    labels = np.zeros(image.shape[1:], dtype=np.int16)
    if labelled:
        labels[4:7, 3:5, 5:9] = 1
        labels[4:6, 6:8, 5:9] = 3
    geometry = Geometry((size, 10, 14), (2.0, 0.5, 0.75 + seed))
    return RawCase(identifier, image, geometry, labels)


def read_saved(files: CaseFiles, folder: Path) -> RawCase:
    assert files.label is not None
    stored = np.load(files.images[0])
    labels = np.load(files.label)
    return RawCase(files.identifier, stored, Geometry(labels.shape, (2.0, 0.5, 1.0)), labels)


@pytest.fixture
def saved(tmp_path: Path) -> list[CaseFiles]:
    cases = []
    for number in range(4):
        raw = made(f"c{number}", seed=number, labelled=number != 2)
        image, label = tmp_path / f"{number}.npy", tmp_path / f"{number}_label.npy"
        np.save(image, raw.channels)
        np.save(label, raw.labels)
        cases.append(CaseFiles(raw.identifier, (image,), label))
    return cases


def test_a_case_is_cropped_and_its_foreground_measured() -> None:
    raw = made("a")
    case = measure_case(raw)
    assert case.shape_after_crop == (9, 8, 11)
    assert case.relative_size == pytest.approx(9 * 8 * 11 / (12 * 10 * 14))
    assert case.spacing == raw.geometry.spacing
    assert raw.labels is not None
    for channel, found in zip(raw.channels, case.foreground, strict=True):
        assert found.mean == pytest.approx(channel[raw.labels > 0].mean())
    volume = 9 * 8 * 11
    assert case.class_fractions == pytest.approx(
        {0: 1 - 40 / volume, 1: 24 / volume, 3: 16 / volume}
    )


def test_the_fingerprint_keeps_the_order_of_cases() -> None:
    cases = [made("b", seed=2), made("a", seed=1, size=16)]
    found = combine(measure_case(raw) for raw in cases)
    assert found.case_identifiers == ("b", "a")
    assert found.spacings == ((2.0, 0.5, 2.75), (2.0, 0.5, 1.75))
    assert found.shapes_after_crop == ((9, 8, 11), (13, 8, 11))
    assert dict(found.class_voxel_fractions)[3] == pytest.approx((16 / 792 + 16 / 1144) / 2)


def test_histograms_cover_the_whole_image_and_sum_to_one() -> None:
    found = combine([measure_case(made("a"))])
    assert len(found.intensity_histograms) == 2
    for histogram in found.intensity_histograms:
        assert len(histogram.counts) == HISTOGRAM_BINS == len(histogram.edges) - 1
        assert sum(histogram.counts) == pytest.approx(1)
        assert all(a < b for a, b in zip(histogram.edges, histogram.edges[1:], strict=False))


def test_a_constant_image_has_a_histogram_too() -> None:
    ones = np.ones((1, 4, 4, 4), dtype=np.float32)
    raw = RawCase("a", ones, Geometry((4, 4, 4), (1, 1, 1)), np.ones((4, 4, 4), dtype=np.int16))
    found = combine([measure_case(raw)])
    assert sum(found.intensity_histograms[0].counts) == pytest.approx(1)
    assert found.foreground_intensities[0].std == 0
    assert found.class_voxel_fractions == ((1, 1.0),)


def test_a_case_without_foreground_counts_for_shapes_only() -> None:
    with_one = combine([measure_case(made("a"))])
    with_both = combine([measure_case(made("a")), measure_case(made("e", labelled=False))])
    assert with_both.foreground_intensities == with_one.foreground_intensities
    assert len(with_both.spacings) == 2


def test_no_foreground_anywhere_is_an_error_with_a_cure() -> None:
    with pytest.raises(DatasetError, match="no training case has any labelled voxel"):
        combine([measure_case(made("a", labelled=False))])
    with pytest.raises(DatasetError):
        combine([])


def test_a_case_without_label_map_is_an_error() -> None:
    raw = made("a")
    with pytest.raises(DatasetError, match="a has no label map"):
        measure_case(RawCase("a", raw.channels, raw.geometry))


def fingerprint_of(saved: list[CaseFiles], workers: int, folder: Path) -> Fingerprint:
    read = partial(read_saved, folder=folder)
    return take_fingerprint(saved, read, workers=workers, reporter=silent)


def test_the_number_of_workers_changes_nothing(saved: list[CaseFiles], tmp_path: Path) -> None:
    assert fingerprint_of(saved, 1, tmp_path) == fingerprint_of(saved, 2, tmp_path)


def test_what_is_told_on_the_way(saved: list[CaseFiles], tmp_path: Path) -> None:
    events: list[Event] = []
    read = partial(read_saved, folder=tmp_path)
    take_fingerprint(saved, read, workers=1, reporter=events.append)
    assert [e.done for e in events if isinstance(e, Progress)] == [1, 2, 3, 4]
    (notice,) = [e for e in events if isinstance(e, Notice)]
    assert "1 of 4" in notice.text
    assert "c2" in notice.text


def test_the_hash_follows_names_and_contents(saved: list[CaseFiles], tmp_path: Path) -> None:
    before = fingerprint_of(saved, 1, tmp_path).dataset_hash
    assert len(before) == 64
    renamed = [CaseFiles("x" + c.identifier, c.images, c.label) for c in saved]
    assert fingerprint_of(renamed, 1, tmp_path).dataset_hash != before
    assert saved[3].label is not None
    labels = np.load(saved[3].label)
    labels[5, 5, 5] = 1
    np.save(saved[3].label, labels)
    assert fingerprint_of(saved, 1, tmp_path).dataset_hash != before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone"):
        hash_files(CaseFiles("a", (tmp_path / "gone.npy",)))
