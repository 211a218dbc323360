"""Preprocessed cases on disk: exact, readable in parts, and never half there."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfseg.domain.case import PreprocessedCase, PreprocessRecord
from selfseg.domain.errors import FileFormatError, ProjectError
from selfseg.domain.geometry import Geometry
from selfseg.io.array_files import storage_blocks
from selfseg.io.case_store import StoredCase, has_case, open_case, write_case


def make_case(
    shape: tuple[int, int, int] = (9, 20, 17),
    *,
    channels: int = 2,
    seed: int = 0,
    labels: bool = True,
    nonzero: bool = True,
) -> PreprocessedCase:
    random = np.random.default_rng(seed)
    label_map = random.integers(-1, 4, shape).astype(np.int16)
    return PreprocessedCase(
        identifier=f"case_{seed:03d}",
        image=random.standard_normal((channels, *shape), dtype=np.float32),
        record=PreprocessRecord(
            Geometry(shape, (3.0, 1.0, 1.0)),
            (0, 1, 2),
            (0, 0, 0),
            shape,
            shape,
            (3.0, 1.0, 1.0),
            shape,
            (3.0, 1.0, 1.0),
            shape,
        ),
        labels=label_map if labels else None,
        nonzero=random.random(shape) > 0.5 if nonzero else None,
        foreground={
            (1,): np.argwhere(label_map == 1).astype(np.int32),
            (1, 2): np.argwhere((label_map == 1) | (label_map == 2)).astype(np.int32),
            (9,): np.empty((0, 3), np.int32),
        },
    )


def assert_same(one: PreprocessedCase, other: PreprocessedCase) -> None:
    assert one.identifier == other.identifier
    assert one.record == other.record
    for name in ("image", "labels", "nonzero"):
        a, b = getattr(one, name), getattr(other, name)
        if a is None:
            assert b is None
        else:
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
    assert list(one.foreground) == list(other.foreground)
    for values, locations in one.foreground.items():
        assert other.foreground[values].dtype == np.int32
        assert np.array_equal(locations, other.foreground[values])


@pytest.mark.parametrize(("labels", "nonzero"), [(True, True), (False, False), (True, False)])
@pytest.mark.parametrize("patch_size", [None, (16, 16), (8, 16, 16)])
def test_round_trip_is_exact(
    tmp_path: Path, labels: bool, nonzero: bool, patch_size: tuple[int, ...] | None
) -> None:
    case = make_case(labels=labels, nonzero=nonzero)
    write_case(tmp_path / "3d_fullres", case, patch_size=patch_size)
    stored = open_case(tmp_path / "3d_fullres", case.identifier)
    assert (stored.identifier, stored.shape, stored.channel_count) == ("case_000", (9, 20, 17), 2)
    assert stored.has_labels is labels
    assert_same(case, stored.load())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_part_equals_the_slice(tmp_path: Path, data: st.DataObject) -> None:
    case = make_case()
    if not has_case(tmp_path, case.identifier):
        write_case(tmp_path, case, patch_size=(4, 8, 8))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in (9, 20, 17))
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, (9, 20, 17), strict=True))
    where = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    stored = open_case(tmp_path, case.identifier)
    assert case.labels is not None
    assert case.nonzero is not None
    image = stored.read_image(start, np.array(stop))  # type: ignore[arg-type]
    assert np.array_equal(image, case.image[(slice(None), *where)])
    assert image.flags.writeable
    assert image.flags.c_contiguous
    assert np.array_equal(stored.read_labels(start, stop), case.labels[where])
    nonzero = stored.read_nonzero(start, stop)
    assert nonzero is not None
    assert np.array_equal(nonzero, case.nonzero[where])


@pytest.mark.parametrize(
    ("start", "stop"),
    [((-1, 0, 0), (3, 3, 3)), ((0, 0, 0), (10, 3, 3)), ((2, 0, 0), (2, 3, 3)), ((0, 0), (3, 3))],
)
def test_parts_must_lie_inside(
    tmp_path: Path, start: tuple[int, ...], stop: tuple[int, ...]
) -> None:
    write_case(tmp_path, make_case())
    with pytest.raises(ValueError, match=r"no part of|argument"):
        open_case(tmp_path, "case_000").read_image(start, stop)


def test_blocks_follow_the_patch() -> None:
    assert storage_blocks((300, 512, 512), (128, 128, 128))[0] == (32, 32, 32)
    assert storage_blocks((9, 256, 256), (256, 256))[0][0] == 1
    for shape, patch in (((300, 512, 512), (20, 320, 256)), ((1, 7, 3), None), ((9, 5, 5), (6, 6))):
        block, chunk = storage_blocks(shape, patch)
        assert all(1 <= b <= n for b, n in zip(block, shape, strict=True))
        assert all(c % b == 0 for b, c in zip(block, chunk, strict=True))
        assert np.prod(block) <= 32**3
        assert np.prod(chunk) <= 128**3


def test_key_marks_stale_cases(tmp_path: Path) -> None:
    case = make_case()
    assert not has_case(tmp_path, case.identifier)
    write_case(tmp_path, case, key="plan-a")
    assert has_case(tmp_path, case.identifier)
    assert has_case(tmp_path, case.identifier, key="plan-a")
    assert not has_case(tmp_path, case.identifier, key="plan-b")


def test_rewriting_leaves_nothing_of_the_old_case(tmp_path: Path) -> None:
    write_case(tmp_path, make_case())
    without = make_case((4, 5, 6), channels=1, labels=False, nonzero=False)
    write_case(tmp_path, without)
    assert_same(without, open_case(tmp_path, "case_000").load())
    assert sorted(os.listdir(tmp_path)) == [
        "case_000.foreground.npy",
        "case_000.image.b2nd",
        "case_000.json",
    ]


@pytest.mark.parametrize("stop_at", range(5))
def test_a_writer_killed_anywhere_leaves_no_case(tmp_path: Path, stop_at: int) -> None:
    """A child process writes over an older case and dies at the n-th file that is finished."""
    write_case(tmp_path, make_case(), key="old")
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_case_store as t
from selfseg.io import atomic_files
finished, replace = [], atomic_files._replace
def dying(part, path):
    if len(finished) == {stop_at}:
        os._exit(9)
    finished.append(path)
    replace(part, path)
atomic_files._replace = dying
t.write_case({str(tmp_path)!r}, t.make_case(), key="new")
"""
    outcome = subprocess.run([sys.executable, "-c", script], check=False)
    assert outcome.returncode == 9
    assert not has_case(tmp_path, "case_000")
    with pytest.raises(ProjectError, match="selfseg preprocess"):
        open_case(tmp_path, "case_000")
    write_case(tmp_path, make_case(), key="new")
    assert has_case(tmp_path, "case_000", key="new")


@pytest.mark.parametrize("ending", ["image.b2nd", "labels.b2nd", "nonzero.b2nd", "foreground.npy"])
def test_truncated_or_missing_files_are_noticed(tmp_path: Path, ending: str) -> None:
    write_case(tmp_path, make_case())
    path = tmp_path / f"case_000.{ending}"
    path.write_bytes(path.read_bytes()[:-10])
    assert not has_case(tmp_path, "case_000")
    with pytest.raises(FileFormatError, match="selfseg preprocess"):
        open_case(tmp_path, "case_000")
    path.unlink()
    assert not has_case(tmp_path, "case_000")


@pytest.mark.parametrize("ending", ["image.b2nd", "foreground.npy"])
def test_foreign_content_of_the_same_size_is_an_error(tmp_path: Path, ending: str) -> None:
    write_case(tmp_path, make_case())
    path = tmp_path / f"case_000.{ending}"
    path.write_bytes(b"\x80" * path.stat().st_size)
    with pytest.raises(FileFormatError, match="damaged"):
        open_case(tmp_path, "case_000").load()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "c:", "x\n"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    case = make_case()
    object.__setattr__(case, "identifier", name)
    with pytest.raises(ProjectError, match="file's name"):
        write_case(tmp_path, case)
    assert not has_case(tmp_path, name)


def test_labels_outside_int16_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    case = make_case()
    object.__setattr__(case, "labels", np.full((9, 20, 17), 40_000))
    with pytest.raises(ProjectError, match="40000"):
        write_case(tmp_path, case)
    object.__setattr__(case, "labels", np.zeros((9, 20, 16), np.int16))
    with pytest.raises(ProjectError, match="label map of shape"):
        write_case(tmp_path, case)
    assert os.listdir(tmp_path) == []


def test_missing_labels_are_explained(tmp_path: Path) -> None:
    write_case(tmp_path, make_case(labels=False))
    with pytest.raises(ProjectError, match="without labels"):
        open_case(tmp_path, "case_000").read_labels((0, 0, 0), (1, 1, 1))


def _sum(stored: StoredCase) -> float:
    return float(stored.read_image((0, 0, 0), stored.shape).sum(dtype=np.float64)) + sum(
        len(found) for found in stored.foreground.values()
    )


def test_stored_cases_are_cheap_to_send_and_safe_to_share(tmp_path: Path) -> None:
    write_case(tmp_path, make_case())
    stored = open_case(tmp_path, "case_000")
    expected = _sum(stored)
    assert len(pickle.dumps(stored)) < 2000
    assert _sum(pickle.loads(pickle.dumps(stored))) == expected  # noqa: S301 - our own, in memory
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(_sum, [stored] * 40)) == [expected] * 40
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(_sum, [stored] * 4) == [expected] * 4


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files on Linux only")
def test_reading_keeps_no_file_open(tmp_path: Path) -> None:
    write_case(tmp_path, make_case())
    stored = open_case(tmp_path, "case_000")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        _sum(stored)
    assert len(os.listdir("/proc/self/fd")) <= before
