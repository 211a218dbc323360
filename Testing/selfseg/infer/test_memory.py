from __future__ import annotations

import pytest

from selfseg.domain.errors import UsageError
from selfseg.infer.memory import Choice, Need, as_gigabytes, choose, host_memory_at_hand

GB = 10**9
NEED = Need(window=4 * GB, each_pass=GB, fixed=GB)


@pytest.mark.parametrize(
    ("at_hand", "choice"),
    [
        (20, Choice(8, half=False)),
        (10, Choice(4, half=False)),
        (6, Choice(1, half=False)),
        (5, Choice(2, half=True)),
        (4, Choice(1, half=True)),
    ],
)
def test_fewer_tiles_first_then_half_precision(at_hand: int, choice: Choice) -> None:
    assert choose(NEED, at_hand * GB, 8, budget=30 * GB) == choice


def test_too_small_a_budget_names_the_least() -> None:
    # 2 GB are taken already, 3.9 GB are left, 4 GB are needed.
    with pytest.raises(UsageError, match=r"--memory 6\.0GB"):
        choose(NEED, 3_900_000_000, 8, budget=5_900_000_000)


def test_without_a_budget_it_takes_what_there_is_and_never_refuses() -> None:
    assert choose(NEED, 12 * GB, 8, budget=None) == Choice(1, half=False)
    assert choose(NEED, GB, 8, budget=None) == Choice(1, half=True)


def test_gigabytes_are_rounded_up() -> None:
    assert as_gigabytes(3_900_000_001) == "4.0 GB"
    assert as_gigabytes(3_900_000_000) == "3.9 GB"


def test_what_is_at_hand_is_the_budget_less_what_is_taken() -> None:
    budget = 100 * GB
    at_hand = host_memory_at_hand(budget)
    assert 0 < budget - at_hand < 20 * GB  # this process
    assert host_memory_at_hand(None) > 0


def test_what_is_needed_is_what_is_said() -> None:
    assert NEED.total(3, half=False) == 8 * GB
    assert NEED.total(3, half=True) == 6 * GB
    # The share that may be taken without a budget does not count with one.
    assert choose(NEED, 13 * GB, 8, budget=30 * GB) == Choice(8, half=False)
    assert choose(NEED, 26 * GB, 8, budget=None) == Choice(8, half=False)
