"""First-stage predictions on disk: exact, keyed, readable in parts, and never half there."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.case import PreprocessedCase, PreprocessRecord
from selfseg.domain.errors import FileFormatError, ProjectError
from selfseg.domain.geometry import Geometry
from selfseg.io import previous_store
from selfseg.io.case_store import open_case, write_case
from selfseg.io.previous_store import has_previous, read_previous, write_previous

SHAPE = (9, 20, 17)


def a_map(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 300, SHAPE).astype(np.uint16)


def test_round_trip_and_key(tmp_path: Path) -> None:
    assert not has_previous(tmp_path, "a", key="x")
    write_previous(tmp_path, "a", a_map(), key="x", patch_size=(4, 8, 8))
    assert has_previous(tmp_path, "a", key="x")
    assert not has_previous(tmp_path, "a", key="y")
    assert not has_previous(tmp_path, "b", key="x")
    part = read_previous(tmp_path, "a", SHAPE, (slice(2, 5), slice(0, 20), slice(3, 4)))
    assert part.dtype == np.int16
    np.testing.assert_array_equal(part, a_map()[2:5, :, 3:4])


def test_a_writer_killed_on_the_way_leaves_nothing_that_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_previous(tmp_path, "a", a_map(), key="x")

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(previous_store, "write_array", killed)
        with pytest.raises(KeyboardInterrupt):
            write_previous(tmp_path, "a", a_map(1), key="y")
    assert not has_previous(tmp_path, "a", key="x")
    assert not has_previous(tmp_path, "a", key="y")
    write_previous(tmp_path, "a", a_map(1), key="y")
    assert has_previous(tmp_path, "a", key="y")


def test_damage_is_noticed_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    write_previous(tmp_path, "a", a_map(), key="x")
    array = tmp_path / "a.previous.b2nd"
    array.write_bytes(array.read_bytes()[:50])
    assert not has_previous(tmp_path, "a", key="x")
    whole = tuple(slice(0, n) for n in SHAPE)
    with pytest.raises(FileFormatError, match="predicted anew"):
        read_previous(tmp_path, "a", SHAPE, whole)
    array.unlink()
    with pytest.raises(ProjectError, match="has not predicted the case a"):
        read_previous(tmp_path, "a", SHAPE, whole)


def test_a_stored_case_reads_it_beside_its_image(tmp_path: Path) -> None:
    spacing = (1.0, 1.0, 1.0)
    record = PreprocessRecord(
        Geometry(SHAPE, spacing), (0, 1, 2), (0, 0, 0), SHAPE, SHAPE, spacing, SHAPE, spacing, SHAPE
    )
    image = np.zeros((1, *SHAPE), np.float32)
    write_case(tmp_path / "fullres", PreprocessedCase("a", image, record))
    write_previous(tmp_path / "cascade", "a", a_map(), key="x")

    without = open_case(tmp_path / "fullres", "a")
    assert without.read_previous((0, 0, 0), SHAPE) is None
    assert without.load().previous is None

    stored = open_case(tmp_path / "fullres", "a", previous=tmp_path / "cascade")
    for case in (stored, pickle.loads(pickle.dumps(stored))):  # noqa: S301 - our own bytes
        part = case.read_previous((1, 2, 3), (4, 5, 6))
        assert part is not None
        np.testing.assert_array_equal(part, a_map()[1:4, 2:5, 3:6])
    np.testing.assert_array_equal(stored.load().previous, a_map())
    with pytest.raises(ValueError, match="no part of"):
        stored.read_previous((0, 0, 0), (10, 1, 1))
    missing = dataclasses.replace(stored, _previous=tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match="has not predicted"):
        missing.load()
