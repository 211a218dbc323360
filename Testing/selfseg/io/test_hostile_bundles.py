"""Hostile model bundles: each refused, nothing written, nothing executed, nothing left."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile_content import CONTENT
from hostile_zips import MARK, PACKED, Files, Payload, pack, unpacked_files, with_manifest
from model_examples import a_bundle, a_quality, made_weights
from selfseg.domain.errors import SelfsegError
from selfseg.io.bundle_files import install_bundle, read_bundle, write_bundle
from selfseg.registry.library import Library


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("good") / "model"
    bundle = a_bundle(quality=a_quality("liver"))
    write_bundle(folder, bundle, made_weights(bundle))
    return unpacked_files(folder)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which a payload would leave its mark."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def _refused(source: Path, place: Path, says: str) -> None:
    before = {path: path.lstat().st_mtime_ns for path in place.rglob("*") if not path.is_dir()}
    modules = set(sys.modules)
    library = Library(place / "library" / "models")
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(SelfsegError) as error:
            library.install(source)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert re.search(says, str(error.value)), str(error.value)
    assert error.value.expected
    assert error.value.cure
    assert ".part-" not in str(error.value)
    assert time.monotonic() - start < 20
    assert peak < 64 * 2**20
    assert list(library.folder.iterdir()) == []
    after = {path: path.lstat().st_mtime_ns for path in place.rglob("*") if not path.is_dir()}
    assert after == before
    assert not (place / "work" / MARK).exists()
    assert not [name for name in set(sys.modules) - modules if "evil" in name]


def _as_folder(files: Files, folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize("attack", PACKED)
def test_hostile_zip_files(attack: str, good: Files, place: Path) -> None:
    hostile = PACKED[attack]
    assert hostile.packed is not None
    source = place / "model.selfseg"
    source.write_bytes(hostile.packed(good))
    _refused(source, place, hostile.says)


@pytest.mark.parametrize("form", ["packed", "folder"])
@pytest.mark.parametrize("attack", CONTENT)
def test_hostile_content(attack: str, form: str, good: Files, place: Path) -> None:
    hostile = CONTENT[attack]
    assert hostile.files is not None
    files = hostile.files(good)
    if hostile.manifest:
        files = with_manifest(files)
    source = place / "model.selfseg"
    if form == "packed":
        source.write_bytes(pack(files))
    else:
        _as_folder(files, source)
    _refused(source, place, hostile.says)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
@pytest.mark.parametrize("kind", ["link", "link in place", "link to a folder", "pipe"])
def test_folders_with_links(kind: str, good: Files, place: Path) -> None:
    folder = _as_folder(good, place / "model")
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret.json").write_bytes(good["plans/plain.json"])
    plan = folder / "plans" / "plain.json"
    match kind:
        case "link":
            (folder / "LICENSE.txt").symlink_to(outside / "secret.json")
        case "link in place":
            plan.unlink()
            plan.symlink_to(outside / "secret.json")
        case "link to a folder":
            plan.unlink()
            plan.parent.rmdir()
            (folder / "plans").symlink_to(outside)
        case _:
            os.mkfifo(folder / "report.html")
    _refused(folder, place, "link or device")


def test_a_folder_nested_without_end(good: Files, place: Path) -> None:
    folder = _as_folder(good, place / "model")
    (folder / Path(*"abcdefghijkl")).mkdir(parents=True)
    _refused(folder, place, "folders more than")


def test_a_file_changed_after_the_check_is_noticed(good: Files, place: Path) -> None:
    """The bytes that are hashed are the bytes that are used."""
    stored = install_bundle(_as_folder(good, place / "model"), place / "copy")
    path = stored.folder / "weights" / "plain" / "3d_fullres" / "fold_0.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SelfsegError, match="not those the model was published with"):
        stored.read_weights("plain", "3d_fullres", "0")
    with pytest.raises(SelfsegError, match="not those the model was published with"):
        read_bundle(stored.folder).verify()


def test_the_good_one_is_taken(good: Files, place: Path) -> None:
    (place / "model.selfseg").write_bytes(pack(good))
    assert Library(place / "models").install(place / "model.selfseg").key == "made@1.0"


def test_the_payload_would_have_been_noticed(place: Path) -> None:
    pickle.loads(pickle.dumps(Payload()))  # noqa: S301 - that it runs is what is tested
    assert (place / "work" / MARK).exists()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(
    data: st.DataObject, good: Files, place: Path
) -> None:
    """Whatever the bytes are: an error of ours, or the very model, and nothing left."""
    packed = bytearray(pack(good))
    directory = packed.index(b"PK\x01\x02")
    start = data.draw(st.sampled_from([0, directory]))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(start, len(packed) - 1))] = data.draw(st.integers(0, 255))
    source, target = place / "model.selfseg", place / "taken"
    source.write_bytes(packed)
    try:
        install_bundle(source, target)
        assert unpacked_files(target) == good
        shutil.rmtree(target)
    except SelfsegError:
        assert not target.exists()
    assert sorted(path.name for path in place.iterdir()) == ["model.selfseg", "work"]


def test_there_are_enough_attacks() -> None:
    assert len(PACKED) + len(CONTENT) >= 100
