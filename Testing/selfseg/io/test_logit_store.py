from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.errors import FileFormatError, ProjectError
from selfseg.io.logit_store import has_logits, read_logits, remove_logits, write_logits


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def made(shape: tuple[int, ...] = (3, 5, 7, 6)) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (8 * generator.standard_normal(shape)).astype(np.float32)


def test_labels_keep_their_probabilities(tmp_path: Path) -> None:
    logits = made()
    write_logits(tmp_path, "a", logits + 1000, key="k", regions=False)
    back = read_logits(tmp_path, "a").astype(np.float32)
    assert back.shape == (5, 7, 6, 3)
    before = softmax(np.moveaxis(logits, 0, -1))
    assert np.abs(softmax(back) - before).max() < 2e-3
    sure = before.max(axis=-1) > 0.51
    assert (back.argmax(axis=-1) == before.argmax(axis=-1))[sure].all()


def test_regions_keep_their_logits(tmp_path: Path) -> None:
    logits = made()
    write_logits(tmp_path, "a", logits, key="k", regions=True)
    back = read_logits(tmp_path, "a").astype(np.float32)
    # Half precision above 8.
    assert np.abs(back - np.moveaxis(logits, 0, -1)).max() <= 2**-6


def test_far_from_structures_it_takes_no_room(tmp_path: Path) -> None:
    logits = np.stack([np.full((40, 40, 40), v, np.float32) for v in (9, -9, -12)])
    logits += np.random.default_rng(0).standard_normal((1, 40, 40, 40)).astype(np.float32)
    write_logits(tmp_path, "a", logits, key="k", regions=False)
    assert (tmp_path / "a.logits.b2nd").stat().st_size < logits.size * 2 / 50


def test_only_what_was_made_from_the_same_counts(tmp_path: Path) -> None:
    assert not has_logits(tmp_path, "a", key="k")
    with pytest.raises(ProjectError, match="not there"):
        read_logits(tmp_path, "a")
    write_logits(tmp_path, "a", made(), key="k", regions=False)
    assert has_logits(tmp_path, "a", key="k")
    assert not has_logits(tmp_path, "a", key="other")
    path = tmp_path / "a.logits.b2nd"
    path.write_bytes(path.read_bytes()[:-5])
    assert not has_logits(tmp_path, "a", key="k")
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="damaged"):
        read_logits(tmp_path, "a")
    remove_logits(tmp_path, "a")
    remove_logits(tmp_path, "a")
    assert not list(tmp_path.iterdir())
