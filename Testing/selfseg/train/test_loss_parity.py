"""The loss and twenty training steps against nnU-Net's: benchmarks/loss_parity.py made the file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synthetic_training import COURSES, GOLDEN, LOSS_CASES, Course, LossCase, our_course, our_loss

pytestmark = pytest.mark.usefixtures("one_thread")

PEER = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("case", LOSS_CASES, ids=lambda case: case.name)
def test_loss_is_the_peers(case: LossCase) -> None:
    loss, gradients = our_loss(case)
    assert loss == pytest.approx(PEER["losses"][case.name], abs=1e-5)
    assert float(np.abs(gradients[-1]).max()) == 0  # the lowest resolution does not count
    learns = case.blank < case.samples
    assert all((np.abs(part).max() > 0) == learns for part in gradients[:-1])


def test_settings_differ_in_their_loss() -> None:
    values = [value for name, value in PEER["losses"].items() if "3 of 3" not in name]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
def test_twenty_steps_have_the_peers_losses(course: Course) -> None:
    wanted = PEER["curves"][course.name]
    assert len(wanted) == 20
    np.testing.assert_allclose(our_course(course), wanted, atol=1e-3)
    assert np.ptp(wanted) > 0.05  # otherwise any optimiser would pass
