"""Many cases: in parallel, resumed where it stopped, errors with names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.case import PreprocessedCase, RawCase
from selfseg.domain.dataset import CaseFiles
from selfseg.domain.errors import ImageError
from selfseg.domain.events import Event, Progress, silent
from selfseg.preprocess.batch import estimated_bytes, preprocess_cases
from synthetic_preprocessing import GOLDEN, made_case, made_plan

PLAN = made_plan(GOLDEN["thick_slices"])
CASES = [CaseFiles(f"case_{i}", ()) for i in range(5)]


def read_made(files: CaseFiles) -> RawCase:
    return made_case(GOLDEN["thick_slices"], files.identifier)


def read_all_but_three(files: CaseFiles) -> RawCase:
    if files.identifier == "case_3":
        raise ImageError("the image cannot be read", cure="copy it again")
    return read_made(files)


def save(case: PreprocessedCase, folder: Path) -> None:
    np.save(folder / f"{case.identifier}.npy", case.image)


@pytest.mark.parametrize("workers", [1, 2, None])
def test_every_case_is_written_once(tmp_path: Path, workers: int | None) -> None:
    events: list[Event] = []
    preprocess_cases(
        CASES,
        PLAN,
        "3d_fullres",
        read_made,
        partial(save, folder=tmp_path),
        lambda identifier: False,
        workers=workers,
        reporter=events.append,
    )
    assert sorted(p.stem for p in tmp_path.iterdir()) == [c.identifier for c in CASES]
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == [1, 2, 3, 4, 5]
    assert progress[0].stage == "preprocess 3d_fullres"


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    written = partial(save, folder=tmp_path)

    def is_done(identifier: str) -> bool:
        return (tmp_path / f"{identifier}.npy").exists()

    with pytest.raises(ImageError, match="case_3"):
        preprocess_cases(
            CASES, PLAN, "3d_fullres", read_all_but_three, written, is_done,
            workers=1, reporter=silent,
        )  # fmt: skip
    assert is_done("case_2")
    before = (tmp_path / "case_2.npy").stat().st_mtime_ns
    events: list[Event] = []
    preprocess_cases(
        CASES, PLAN, "3d_fullres", read_made, written, is_done, workers=1, reporter=events.append
    )
    assert all(is_done(case.identifier) for case in CASES)
    assert (tmp_path / "case_2.npy").stat().st_mtime_ns == before
    assert [e.detail for e in events if isinstance(e, Progress)] == ["case_3", "case_4"]


def test_the_memory_estimate_grows_with_the_images() -> None:
    small = estimated_bytes(PLAN, "3d_fullres")
    assert 0 < small < 2**24
    two_channels = made_plan(GOLDEN["cubic"])
    assert estimated_bytes(two_channels, "3d_fullres") > small
