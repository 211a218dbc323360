"""Running sums of tiles in the machine's memory."""

from __future__ import annotations

import numpy as np
import pytest

from selfseg.domain.case import FloatArray
from selfseg.domain.errors import ModelError
from selfseg.domain.stopping import Stop, never
from selfseg.infer.backend import Target, WindowPlan
from selfseg.infer.host_window import HostWindow, check_shape
from synthetic_inference import noise

PATCH = (2, 3, 4)


class Echo:
    """Logits are the channels; remembers how many tiles came at once, and how mirrored."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def predict(
        self, batch: FloatArray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
    ) -> FloatArray:
        self.asked.append((len(batch), mirror_axes))
        return batch


def a_target(z: int, y: int, x: int, patch: tuple[int, ...] = PATCH, seed: int = 0) -> Target:
    z_width, y_width, x_width = (1, *patch)[-3:]
    generator = np.random.default_rng(seed)
    lines = [generator.random(n).astype(np.float32) for n in (z_width, y_width, x_width)]
    place = (slice(z, z + z_width), slice(y, y + y_width), slice(x, x + x_width))
    return Target(place, (lines[0], lines[1], lines[2]))


@pytest.mark.parametrize("half", [False, True])
def test_tiles_are_added_at_all_of_their_targets(half: bool) -> None:
    tiles = noise(3, 2, *PATCH)
    targets = [
        [a_target(0, 0, 0)],
        [a_target(1, 2, 3, seed=1), a_target(2, 1, 0, seed=2)],
        [a_target(2, 2, 3, seed=3)],
    ]
    wanted = np.zeros((4, 5, 7, 2))
    for tile, places in zip(tiles, targets, strict=True):
        for target in places:
            z, y, x = target.weights
            wanted[target.place] += np.einsum("kzyx,z,y,x->zyxk", tile, z, y, x)
    backend = Echo()
    with HostWindow(backend, WindowPlan((4, 5, 7), PATCH, half, passes=2), 2) as window:
        window.add(tiles, (0, 2), targets)
        assert backend.asked == [(2, (0, 2)), (1, (0, 2))]
        found = window.finished(4)
        assert found.dtype == (np.float16 if half else np.float32)
        np.testing.assert_allclose(found, wanted, atol=4e-3 if half else 1e-6)
        np.testing.assert_array_equal(window.finished(2), found[:2])


def test_the_window_moves_up_and_is_empty_behind() -> None:
    window = HostWindow(Echo(), WindowPlan((5, 3, 4), PATCH), 1)
    window.sums[...] = np.arange(5, dtype=np.float32)[:, None, None, None]
    window.advance(2)
    assert window.sums[:, 0, 0, 0].tolist() == [2, 3, 4, 0, 0]
    window.advance(5)
    assert not window.sums.any()


def test_tiles_of_2d_networks_are_slices() -> None:
    patch = (3, 4)
    tiles = noise(2, 1, *patch)
    targets = [[a_target(z, 0, 0, patch, seed=z)] for z in range(2)]
    window = HostWindow(Echo(), WindowPlan((2, 3, 4), patch, passes=2), 1)
    window.add(tiles, (), targets)
    for z, found in enumerate(window.finished(2)):
        lines = targets[z][0].weights
        wanted = tiles[z, 0] * lines[0][0] * np.outer(lines[1], lines[2])
        np.testing.assert_allclose(found[..., 0], wanted, atol=1e-6)


def test_outputs_of_another_shape_are_refused() -> None:
    window = HostWindow(Echo(), WindowPlan((4, 5, 7), PATCH), 3)
    with pytest.raises(ModelError, match="does not fit the plan"):
        window.add(noise(1, 2, *PATCH), (), [[a_target(0, 0, 0)]])
    check_shape((3, *PATCH), (3, *PATCH))
    with pytest.raises(ModelError, match="heads, patch"):
        check_shape((3, 2, 3), (3, *PATCH))
