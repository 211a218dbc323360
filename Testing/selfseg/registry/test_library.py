"""The model library: versions side by side, damage that stays where it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_examples import a_bundle, made_weights
from selfseg.domain.errors import ModelError, ProjectError
from selfseg.io.bundle_files import Weights, WeightsKey, write_bundle
from selfseg.io.library_folder import default_library, version_order
from selfseg.io.staged_folders import staged_folder
from selfseg.registry.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "models")


def add(library: Library, name: str = "made", version: str = "1.0", **options: bool) -> str:
    bundle = a_bundle(name, version)
    return library.add(bundle, made_weights(bundle), **options).key


def never_read() -> Iterator[tuple[WeightsKey, Weights]]:
    pytest.fail("the weights were read")
    yield


def keys(library: Library) -> list[str]:
    return [entry.key for entry in library.entries()]


def leftovers(library: Library) -> list[str]:
    return [path.name for path in library.folder.iterdir() if path.name.startswith(".part-")]


def test_a_library_that_is_not_there_is_empty(library: Library) -> None:
    assert library.entries() == ()
    with pytest.raises(ModelError, match="no model"):
        library.find("made")
    assert not library.folder.exists()


def test_versions_lie_side_by_side(library: Library) -> None:
    for version in ("1.10", "1.9", "2.0-rc1", "1.9.1"):
        add(library, version=version)
    add(library, "another")
    assert keys(library) == [
        "another@1.0", "made@1.9", "made@1.9.1", "made@1.10", "made@2.0-rc1",
    ]  # fmt: skip
    assert library.find("made").version == "2.0-rc1"
    assert library.find("made@1.9").version == "1.9"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1", "2"), ("1.9", "1.10"), ("1.0", "1.0.1"), ("2.0-rc1", "2.0"), ("2.0-a", "2.0-b")],
)
def test_versions_in_order(older: str, newer: str) -> None:
    assert version_order(older) < version_order(newer)


def test_the_same_version_comes_in_once(library: Library, tmp_path: Path) -> None:
    add(library)
    with pytest.raises(ModelError, match="already") as caught:
        library.add(a_bundle("made", "1.0"), never_read())  # before any of the work
    assert all(option in caught.value.cure for option in ("--replace", "--version", "--name"))
    bundle = a_bundle(postprocessing=())
    write_bundle(tmp_path / "m", bundle, made_weights(bundle, seed=5))
    with pytest.raises(ModelError, match="already"):
        library.install(tmp_path / "m")
    before = library.find("made").stored
    library.install(tmp_path / "m", replace=True)
    after = library.find("made").stored
    assert before is not None
    assert after is not None
    assert before.manifest != after.manifest
    assert leftovers(library) == []


def test_names_that_differ_only_in_case_are_refused(library: Library) -> None:
    add(library, "made")
    with pytest.raises(ModelError, match="only in case"):
        add(library, "Made")
    assert keys(library) == ["made@1.0"]


def test_a_damaged_model_is_listed_and_breaks_nothing(library: Library) -> None:
    for name in ("a", "b", "c", "d"):
        add(library, name)
    (library.folder / "a@1.0" / "bundle.json").write_bytes(b"{")
    (library.folder / "b@1.0" / "manifest.json").unlink()
    weights = library.folder / "c@1.0" / "weights" / "plain" / "3d_fullres"
    data = (weights / "fold_0.safetensors").read_bytes()
    (weights / "fold_0.safetensors").write_bytes(data[:-1] + b"?")
    (library.folder / "e@1.0").mkdir()
    (library.folder / "not a model").mkdir()
    (library.folder / "f@1.0").write_text("a file")
    (library.folder / "d@1.0").rename(library.folder / "g@1.0")
    faults = {entry.key: entry.fault for entry in library.entries()}
    assert list(faults) == ["a@1.0", "b@1.0", "c@1.0", "e@1.0", "g@1.0"]
    assert faults["c@1.0"] is None  # only `verify` reads weights
    assert all(faults[key] is not None for key in ("a@1.0", "b@1.0", "e@1.0", "g@1.0"))
    with pytest.raises(ModelError, match="damaged"):
        library.find("a")
    for key in ("a", "b", "c", "e", "g"):
        with pytest.raises(Exception, match="expected"):
            library.verify(key)
        library.remove(key)
    assert keys(library) == []


def test_the_newest_good_version_is_found(library: Library) -> None:
    add(library, version="1")
    add(library, version="2")
    (library.folder / "made@2" / "bundle.json").unlink()
    assert library.find("made").version == "1"


def test_removing_wants_to_know_which_version(library: Library) -> None:
    add(library, version="1")
    add(library, version="2")
    with pytest.raises(ModelError, match="several versions"):
        library.remove("made")
    assert library.remove("made@1") == ("made@1",)
    assert library.remove("made") == ("made@2",)
    assert leftovers(library) == []


@pytest.mark.parametrize("key", ["..", "../made@1.0", "made@1.0/..", "", ".", "made@1.0/plans"])
def test_no_key_leads_out_of_the_library(key: str, library: Library) -> None:
    add(library)
    for act in (library.remove, library.find, library.verify):
        with pytest.raises(ModelError, match="no model"):
            act(key)
    assert keys(library) == ["made@1.0"]


@pytest.mark.parametrize("name", ["out", "out.selfseg"])
def test_export_and_import_again(name: str, library: Library, tmp_path: Path) -> None:
    add(library)
    library.export("made", tmp_path / name)
    other = Library(tmp_path / "other")
    other.install(tmp_path / name)
    first, second = library.find("made").stored, other.find("made").stored
    assert first is not None
    assert second is not None
    assert first.manifest == second.manifest
    assert first.bundle == second.bundle


def test_a_damaged_model_is_not_exported(library: Library, tmp_path: Path) -> None:
    add(library)
    path = next((library.folder / "made@1.0").rglob("fold_1.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for name in ("out", "out.selfseg"):
        with pytest.raises(ModelError):
            library.export("made", tmp_path / name)
        assert not (tmp_path / name).exists()


def test_models_come_in_side_by_side(library: Library, tmp_path: Path) -> None:
    for number in range(4):
        bundle = a_bundle("made", str(number))
        write_bundle(tmp_path / f"{number}.selfseg", bundle, made_weights(bundle))

    def install(number: int) -> str:
        try:
            return library.install(tmp_path / f"{number % 4}.selfseg").key
        except ModelError as error:
            return error.what

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(install, range(8)))
    assert sum("already" in result for result in results) == 4
    assert keys(library) == ["made@0", "made@1", "made@2", "made@3"]
    assert [entry.fault for entry in library.entries()] == [None] * 4
    assert leftovers(library) == []


def test_what_a_killed_process_left_goes_after_a_day(library: Library) -> None:
    add(library, version="1")
    for name, age in ((".part-old", 2 * 86400), (".part-new", 60)):
        folder = library.folder / name
        (folder / "plans").mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    add(library, version="2")
    assert leftovers(library) == [".part-new"]
    assert keys(library) == ["made@1", "made@2"]


@pytest.mark.skipif(os.name != "posix", reason="forks a child")
def test_what_a_killed_process_left_goes_at_once_where_it_is_marked(library: Library) -> None:
    add(library, version="1")
    child = os.fork()
    if child == 0:
        with staged_folder(library.folder / "made@2") as stage:
            (stage / "plans").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(leftovers(library)) == 2
    with staged_folder(library.folder / "made@3") as stage:  # of somebody who lives
        add(library, version="4")
        assert sorted(leftovers(library)) == sorted((stage.name, f"{stage.name}.lock"))
    assert leftovers(library) == []
    assert keys(library) == ["made@1", "made@4"]


def test_a_library_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="--library"):
        add(Library(tmp_path / "file" / "models"))


@pytest.mark.parametrize("system", ["Windows", "Darwin", "Linux", "FreeBSD"])
def test_the_default_lies_in_the_users_folder(system: str, tmp_path: Path) -> None:
    folder = default_library(system, tmp_path)
    assert folder.is_relative_to(tmp_path)
    assert folder.parts[-2:] == ("selfseg", "models")
    assert len({str(default_library(s, tmp_path)) for s in ("Windows", "Darwin", "Linux")}) == 3


def test_the_users_data_folder_on_linux_may_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_library("Linux") == tmp_path / "selfseg" / "models"
    assert not default_library("Darwin").is_relative_to(tmp_path)
    for other in ("", "relative/folder"):
        monkeypatch.setenv("XDG_DATA_HOME", other)
        expected = Path.home() / ".local" / "share" / "selfseg" / "models"
        assert default_library("Linux") == expected
