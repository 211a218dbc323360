"""Weights: exact round trips, and damage that is noticed."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from selfseg.domain.errors import ModelError, ProjectError
from selfseg.io.weights import read_weights, write_weights

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name != "__metadata__"
)
tensors = arrays.arrays(
    st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.bool_, np.uint8]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    weights=st.dictionaries(names, tensors, min_size=1, max_size=5),
    metadata=st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=20)),
)
def test_round_trip_is_exact(
    tmp_path: Path, weights: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path = tmp_path / "runs" / "w.safetensors"
    write_weights(path, weights, metadata)
    again, text = read_weights(path)
    assert text == metadata
    assert set(again) == set(weights)
    for name, array in weights.items():
        assert again[name].dtype == array.dtype
        assert again[name].shape == array.shape
        assert again[name].tobytes() == array.tobytes()
        assert again[name].flags.writeable


def test_strided_arrays_keep_their_order(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = {"t": array.T, "s": array[:, ::2], "f": np.asfortranarray(array)}
    write_weights(tmp_path / "w.safetensors", views, {})
    again, _ = read_weights(tmp_path / "w.safetensors")
    for name, view in views.items():
        assert np.array_equal(again[name], view)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": np.ones((3, 3), np.float32)}, {"epoch": "3"})
    return path


@pytest.mark.parametrize("kept", [0, 4, 20, -1])
def test_truncated_files_are_refused(written: Path, kept: int) -> None:
    written.write_bytes(written.read_bytes()[:kept])
    with pytest.raises(ModelError, match="download the model again") as caught:
        read_weights(written)
    assert caught.value.path == written


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a pickle in a zip archive",
        b"\x80\x04\x95 a pickle",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 80)
        + b'{"a":{"dtype":"F32","shape":[4000000000],"data_offsets":[0,16000000000]}}'.ljust(80),
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(path)


def test_longer_than_announced_is_refused(written: Path) -> None:
    written.write_bytes(written.read_bytes() + b"\0" * 8)
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(written)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train first"):
        read_weights(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(tmp_path)


def test_finite_weights_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"good": np.ones(2), "bad": np.array([1.0, np.nan])}, {})
    assert np.isnan(read_weights(path)[0]["bad"][1])
    with pytest.raises(ModelError, match="infinity in bad"):
        read_weights(path, check_finite=True)


def test_what_cannot_be_stored_leaves_the_old_file(written: Path) -> None:
    for bad in ({}, {"a": np.array([object()])}, {"a": np.array(["text"])}):
        with pytest.raises(ModelError, match="cannot be stored"):
            write_weights(written, bad, {})
    assert read_weights(written)[1] == {"epoch": "3"}
    assert os.listdir(written.parent) == ["w.safetensors"]


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    # safetensors writes the text in an order of chance.
    text = {f"word {index}": 'text, "quoted" \u00e9\n' for index in range(12)}
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.safetensors"
        write_weights(path, {"a": np.arange(6.0), "b": np.ones((2, 3))}, text)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    assert read_weights(path)[1] == text


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **more: object) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(ProjectError, match="cannot be written") as error:
        write_weights(tmp_path / "a.safetensors", {"a": np.ones(3)}, {})
    assert "No space left" in error.value.found
    assert list(tmp_path.iterdir()) == []
