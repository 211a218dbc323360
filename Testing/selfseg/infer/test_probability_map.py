from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.case import RawCase
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import LabelScheme
from selfseg.infer.engine import Slab
from selfseg.infer.probability_map import ProbabilityTaker, network_affine
from selfseg.io.probability_files import ENDING, probability_file
from selfseg.preprocess.case import preprocess_case
from synthetic_preprocessing import GOLDEN, made_plan

LABELS = LabelScheme.from_mapping({"background": 0, "a": 1})
OBLIQUE = ((0.0, 0.8, 0.6), (0.0, 0.6, -0.8), (-1.0, 0.0, 0.0))


@pytest.mark.parametrize("orientation", ["as_stored", "ras"])
def test_the_affine_leads_to_where_the_voxels_are(orientation: str) -> None:
    """An image of world coordinates, preprocessed, says where each of its voxels lies."""
    recipe = replace(GOLDEN["cubic"], border=0, schemes=("nonorm",) * 3, in_mask=(False,) * 3)
    grid = Geometry((20, 24, 18), (1.5, 1.0, 2.0), (10.0, -30.0, 55.0), OBLIQUE)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"))
    step = np.array(OBLIQUE)[:, ::-1] * np.array(grid.spacing)
    world = np.einsum("ij,jzyx->izyx", step, index) + np.array(grid.origin)[:, None, None, None]
    raw = RawCase("world", world.astype(np.float32), grid)
    plan = replace(made_plan(recipe), orientation=orientation)  # type: ignore[arg-type]
    case = preprocess_case(raw, plan, "3d_fullres")
    affine = network_affine(case.record)
    for place in [(5, 6, 7), (8, 9, 10), (9, 4, 11)]:  # a spline bends at the border
        wanted = affine @ np.array([*place, 1])
        np.testing.assert_allclose(case.image[(slice(None), *place)], wanted[:3], atol=0.05)


def test_a_file_that_is_written_slice_by_slice(tmp_path: Path) -> None:
    path = tmp_path / f"case{ENDING}"
    maps = np.random.default_rng(0).standard_normal((3, 4, 5, 2)).astype(np.float16)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    with probability_file(path, (3, 4, 5), ("background", "a"), affine, 1.5) as write:
        taker = ProbabilityTaker(write, LABELS, None, 1.5)
        taker.take(Slab(0, maps[:2]))
        taker.take(Slab(2, maps[2:]))
        taker.finish()
    with np.load(path, allow_pickle=False) as stored:
        assert stored["names"].tolist() == ["background", "a"]
        assert stored["temperature"] == 1.5
        np.testing.assert_array_equal(stored["affine"], affine)
        found = stored["probabilities"]
    wanted = 1 / (1 + np.exp((maps[..., 0] - maps[..., 1]).astype(float) / 1.5))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[..., 1] / 255, wanted, atol=0.003)


def test_nothing_is_left_of_a_file_that_lacks_slices(tmp_path: Path) -> None:
    path = tmp_path / f"case{ENDING}"
    plane = np.zeros((4, 5, 1), np.float32)
    given = (path, (3, 4, 5), ("a",), np.eye(4), 1.0)
    with pytest.raises(ValueError, match="1 slices, not 3"), probability_file(*given) as write:
        write(plane)
    with pytest.raises(ValueError, match="a slice of"), probability_file(*given) as write:
        write(plane[:2])
    assert list(tmp_path.iterdir()) == []
