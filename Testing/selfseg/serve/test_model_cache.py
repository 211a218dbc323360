"""Which models stay."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from selfseg.serve.messages import ModelKey
from selfseg.serve.model_cache import ModelCache, stamp_of

A, B, C = (ModelKey(f"/{name}") for name in "abc")
STAMP = (("/w", 1, 1),)


def test_the_one_used_longest_ago_goes_first() -> None:
    cache: ModelCache[str] = ModelCache(100)
    cache.put(A, STAMP, 40, "a")
    cache.put(B, STAMP, 40, "b")
    assert cache.get(A, STAMP) == "a"
    cache.put(C, STAMP, 40, "c")
    assert cache.get(B, STAMP) is None
    assert [entry.model for entry in cache.snapshot()] == [A, C]


def test_a_model_larger_than_the_cache_is_not_kept() -> None:
    cache: ModelCache[str] = ModelCache(100)
    cache.put(A, STAMP, 40, "a")
    cache.make_room(101)
    cache.put(B, STAMP, 101, "b")
    assert cache.snapshot() == ()


def test_a_model_whose_files_changed_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"1")
    before = stamp_of((file,))
    cache: ModelCache[str] = ModelCache(100)
    cache.put(A, before, 40, "a")
    os.utime(file, ns=(1, 1))
    assert cache.get(A, stamp_of((file,))) is None
    assert cache.snapshot() == ()


def test_unloading_one_model_with_all_its_variants() -> None:
    cache: ModelCache[str] = ModelCache(100)
    for key in (A, ModelKey("/a", folds=("0",)), B):
        cache.put(key, STAMP, 10, "x")
    assert cache.unload("/a") == 2
    assert cache.unload() == 1
    assert cache.unload() == 0


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 120)), max_size=20))
def test_the_limit_holds(puts: list[tuple[ModelKey, int]]) -> None:
    cache: ModelCache[int] = ModelCache(100)
    for key, size in puts:
        if cache.get(key, STAMP) is None:
            cache.put(key, STAMP, size, size)
        assert sum(entry.bytes for entry in cache.snapshot()) <= 100
