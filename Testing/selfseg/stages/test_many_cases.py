"""What is written and looked up for every case takes no longer with every case."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from model_examples import a_bundle
from selfseg.domain.dataset import CaseFiles, Dataset
from selfseg.domain.errors import DatasetError
from selfseg.stages import predictions as predictions_module
from selfseg.stages.predictions import WRITE_EVERY, WRITING_SHARE, Prediction, Predictions


def a_prediction() -> Prediction:
    return Prediction("a.nii.gz", "0" * 64, (), {}, "2026-01-01T00:00:00+00:00", 1.0)


@pytest.mark.parametrize(("writing", "longest"), [(0.1, WRITE_EVERY), (2.0, 2.0 / WRITING_SHARE)])
def test_writing_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writing: float, longest: float
) -> None:
    now, written = [0.0], []

    def slowly(path: Path, value: object, *, schema: str) -> None:
        now[0] += writing
        written.append(now[0])

    monkeypatch.setattr(predictions_module, "write_json", slowly)
    notes = Predictions(tmp_path, clock=lambda: now[0])
    for index in range(1000):
        now[0] += 1.0
        notes.add(f"case_{index}", a_prediction())
    gaps = [later - first for first, later in pairwise(written)]
    assert max(gaps) < longest + writing + 1.01
    assert writing * len(written) < 1000 * max(WRITING_SHARE, writing / WRITE_EVERY) + writing


def test_a_case_is_found_by_name(tmp_path: Path) -> None:
    files = tuple(CaseFiles(name, (tmp_path / name,)) for name in ("a", "b", "c"))
    dataset = Dataset(tmp_path, a_bundle().description, files)
    assert [dataset.case(name) for name in "cab"] == [files[2], files[0], files[1]]
    assert dataset == Dataset(tmp_path, a_bundle().description, files)
    with pytest.raises(DatasetError, match="no case 'd'"):
        dataset.case("d")
