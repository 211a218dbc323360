"""What segmenting a case takes, by what takes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_examples import LABELS, a_plan
from selfseg.domain.case import PreprocessRecord
from selfseg.domain.geometry import Geometry, Shape3
from selfseg.infer.engine import TileOptions
from selfseg.infer.memory_need import CaseNeed, case_need
from selfseg.infer.torch_backend import TorchBackend

pytestmark = pytest.mark.usefixtures("one_thread")

LARGE: Shape3 = (600, 512, 512)


def record(shape: Shape3, after: Shape3) -> PreprocessRecord:
    one = (1.0, 1.0, 1.0)
    return PreprocessRecord(
        Geometry(shape, one), (0, 1, 2), (0, 0, 0), shape, shape, one, after, one, shape
    )


def need(
    shape: Shape3, after: Shape3 | None = None, *, several: bool = False, budget: int | None = None
) -> CaseNeed:
    chosen = replace(a_plan().configuration("3d_fullres"), patch_size=(32, 32, 32))
    backend = TorchBackend(chosen.network, 1, LABELS.head_count, (), device="cpu")
    options, where = TileOptions(memory_bytes=budget), record(shape, after or shape)
    return case_need(where, 1, backend, chosen, LABELS, options, several=several)


def test_the_image_counts_once_as_read_and_once_as_prepared() -> None:
    found = need(LARGE)
    voxels = 600 * 512 * 512
    assert found.native == found.cropped == 4 * voxels
    assert found.prepared == 0  # nothing is resampled
    assert found.label_map == voxels
    assert found.moments["preparing"] == 8 * voxels


def test_a_finer_network_grid_takes_more() -> None:
    coarse, fine = need((64, 64, 64), (32, 32, 32)), need((64, 64, 64), (128, 128, 128))
    assert fine.prepared == 64 * coarse.prepared
    assert fine.peak > coarse.peak


def test_the_slabs_are_not_the_whole_image() -> None:
    deep, deeper = need((300, 256, 256)), need((600, 256, 256))
    assert deep.window == deeper.window  # slices that are decided are forgotten


def test_reading_ahead_counts_the_next_case_and_ends_with_a_budget() -> None:
    alone, several = need((256, 256, 256)), need((256, 256, 256), several=True)
    assert several.moments["predicting"] == alone.moments["predicting"] + several.ahead
    assert several.ahead >= several.native + several.cropped
    assert need((256, 256, 256), several=True, budget=10**12).ahead == 0
