"""Bundles come back as they were written, in both forms, whole or not at all."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile_zips import unpacked_files
from model_examples import CASCADE, LABELS, NETWORK, a_bundle, a_plan, a_quality, made_weights
from selfseg.domain.appearance import Appearance, Code
from selfseg.domain.bundle import Calibration, Member, ModelBundle, ModelCard, PostprocessingStep
from selfseg.domain.errors import ModelError, ProjectError
from selfseg.domain.labels import LabelScheme
from selfseg.io.archive_files import extract_archive
from selfseg.io.bundle_files import (
    WeightsKey,
    install_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from selfseg.io.checked_weights import read_checked_weights
from selfseg.io.weights import write_weights

BOTH_FORMS = pytest.mark.parametrize("name", ["model", "model.selfseg"])
MEMBER = Member("plain", "3d_fullres", ("0", "1"))

words = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}", fullmatch=True)
texts = st.text(st.characters(categories=["L", "N", "P"], include_characters=" "), max_size=30)
codes = st.builds(
    Code, st.just("SCT"), st.from_regex(r"[0-9]{6,12}", fullmatch=True), words
)  # fmt: skip


@st.composite
def schemes(draw: st.DrawFn) -> LabelScheme:
    names = draw(st.lists(words.filter(lambda w: w not in ("background", "ignore")), min_size=1,
                          max_size=5, unique=True))  # fmt: skip
    values = draw(
        st.lists(st.integers(1, 2000), min_size=len(names), max_size=len(names), unique=True)
    )
    labels: dict[str, Any] = dict(zip(names, values, strict=True))
    if draw(st.booleans()):
        labels["union"] = [*sorted(values), 2001]
        return LabelScheme.from_mapping(
            {"background": 0, **labels, "ignore": 3000}, tuple(labels_order(labels))
        )
    return LabelScheme.from_mapping({"background": 0, **labels})


def labels_order(labels: dict[str, Any]) -> list[int]:
    return [value if isinstance(value, int) else value[0] for value in labels.values()]


@st.composite
def bundles(draw: st.DrawFn) -> ModelBundle:
    scheme = draw(schemes())
    folds = draw(
        st.lists(st.sampled_from(["0", "1", "2", "11", "all"]), min_size=1, max_size=2, unique=True)
    )
    axes = draw(st.none() | st.lists(st.integers(0, 2), unique=True, max_size=3).map(tuple))
    name = draw(st.sampled_from(["3d_fullres", "3d_lowres", CASCADE]))
    structures = [label.name for label in scheme.foreground]
    colours = st.tuples(*[st.integers(0, 255)] * 3)
    steps = st.builds(
        PostprocessingStep,
        st.sampled_from(["largest_component_all", "remove_small_components", "fill_holes"]),
        st.lists(st.sampled_from(structures), unique=True).map(tuple),
        st.integers(1, 5),
        st.integers(0, 1000),
    )
    return replace(
        a_bundle(
            members=(Member("plain", name, tuple(folds), axes),),
            plan=a_plan(scheme, replace(NETWORK, features_per_stage=(1, 2))),
        ),
        card=ModelCard(
            draw(words.filter(lambda w: not w.endswith("."))),
            draw(st.sampled_from(["1", "1.2.3", "2026-11-21", "0.1+cpu"])),
            draw(texts), draw(texts), draw(texts),
            tuple(draw(st.lists(texts, max_size=2))), "",
            draw(st.dictionaries(words, texts, max_size=2)),
        ),
        appearances=tuple(
            Appearance(name, draw(colours), *draw(
                st.tuples(codes, codes, codes) | st.just((None, None, None))
            ))
            for name in structures
        ),
        postprocessing=tuple(draw(st.lists(steps, max_size=2))),
        calibration=Calibration(draw(st.floats(0.01, 100)), draw(texts)),
        scores=draw(st.just(None) | st.just({
            "mean": {"1": {"Dice": 0.1 + 0.2, "HD95": None}}, "foreground_mean": {"Dice": None},
        })),
        fingerprint=draw(st.just(None) | st.just(a_bundle().fingerprint)),
        quality=draw(st.just(None) | st.just(a_quality(structures[0]))),
    )  # fmt: skip


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bundle=bundles(), packed=st.booleans(), number=st.integers(0, 2**62))
def test_round_trip_is_exact(
    tmp_path: Path, bundle: ModelBundle, packed: bool, number: int
) -> None:
    place = tmp_path / f"{number}-{os.urandom(4).hex()}"
    weights = dict(made_weights(bundle, seed=number % 1000))
    target = place / ("m.selfseg" if packed else "m")
    write_bundle(target, bundle, weights.items(), licence_text="All rights §")
    stored = install_bundle(target, place / "copy")
    assert stored.bundle == bundle
    assert set(stored.networks) == set(weights)
    for key, arrays in weights.items():
        read = stored.read_weights(key.plan, key.configuration, key.fold)
        assert read.keys() == arrays.keys()
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    assert (stored.folder / "LICENSE.txt").read_text("utf-8") == "All rights §"
    assert sorted(path.name for path in place.iterdir()) == sorted(["copy", target.name])


def test_the_file_is_the_same_every_time(tmp_path: Path) -> None:
    bundle = a_bundle()
    for name in ("a.selfseg", "b.selfseg"):
        write_bundle(tmp_path / name, bundle, made_weights(bundle))
    assert (tmp_path / "a.selfseg").read_bytes() == (tmp_path / "b.selfseg").read_bytes()
    stored = install_bundle(tmp_path / "a.selfseg", tmp_path / "c")
    pack_bundle(stored, tmp_path / "c.selfseg")
    assert (tmp_path / "c.selfseg").read_bytes() == (tmp_path / "a.selfseg").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.selfseg") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "manifest.json"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_read(dtype: str, tmp_path: Path) -> None:
    import safetensors.torch
    import torch

    bundle = a_bundle()
    write_bundle(tmp_path / "m", bundle, made_weights(bundle))
    key, arrays = next(iter(made_weights(bundle)))
    tensors = {n: torch.from_numpy(a).to(getattr(torch, dtype)) for n, a in arrays.items()}
    safetensors.torch.save_file(tensors, tmp_path / "half.safetensors")
    shapes = read_bundle(tmp_path / "m").shapes(key.plan, key.configuration)
    read = read_checked_weights(tmp_path / "half.safetensors", shapes)
    for name, tensor in tensors.items():
        assert np.array_equal(read[name].astype(np.float32), tensor.float().numpy())


def test_a_cascade_brings_its_first_stage(tmp_path: Path) -> None:
    bundle = a_bundle(members=(Member("plain", CASCADE, ("0",)),))
    write_bundle(tmp_path / "m", bundle, made_weights(bundle, ("2", "10", "all")))
    stored = read_bundle(tmp_path / "m")
    assert stored.folds("plain", "3d_lowres") == ("2", "10", "all")
    first = stored.read_weights("plain", CASCADE, "0")["encoder.0.0.conv.weight"]
    assert first.shape[1] == 1 + len(LABELS.values)
    assert first.flags.writeable


@BOTH_FORMS
@pytest.mark.parametrize(
    "fault", ["missing", "extra", "first stage missing", "shape", "nan", "double", "raises"]
)
def test_nothing_is_left_of_a_bundle_that_cannot_be_written(
    fault: str, name: str, tmp_path: Path
) -> None:
    member = Member("plain", CASCADE, ("0",)) if fault.startswith("first") else MEMBER
    bundle = a_bundle(members=(member,))
    weights = {key: dict(arrays) for key, arrays in made_weights(bundle)}
    key = next(iter(weights))
    entry = next(iter(weights[key]))
    array = weights[key][entry]
    match fault:
        case "missing":
            weights.popitem()
        case "extra":
            weights[WeightsKey("plain", "3d_lowres", "0")] = weights[key]
        case "first stage missing":
            weights = {k: v for k, v in weights.items() if k.configuration == CASCADE}
        case "shape":
            weights[key][entry] = array.reshape(-1)
        case "nan":
            weights[key][entry] = np.full_like(array, np.nan)
        case "double":
            weights[key][entry] = array.astype(np.float64)

    def handed_over() -> Any:
        yield from weights.items()
        if fault == "raises":
            raise ModelError("gone")

    with pytest.raises(ModelError):
        write_bundle(tmp_path / "new" / name, bundle, handed_over())
    assert list((tmp_path / "new").iterdir()) == []


@BOTH_FORMS
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    bundle = a_bundle()
    target = tmp_path / name
    target.write_text("mine")
    with pytest.raises(ModelError, match="already"):
        write_bundle(target, bundle, made_weights(bundle))
    assert target.read_text() == "mine"


def test_reading_a_packed_model_says_what_to_do(tmp_path: Path) -> None:
    bundle = a_bundle()
    write_bundle(tmp_path / "m.selfseg", bundle, made_weights(bundle))
    with pytest.raises(ModelError, match="selfseg model import"):
        read_bundle(tmp_path / "m.selfseg")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    bundle = a_bundle()
    write_bundle(tmp_path / "m", bundle, made_weights(bundle))
    with pytest.raises(ModelError, match="no fold 4") as error:
        read_bundle(tmp_path / "m").read_weights("plain", "3d_fullres", "4")
    assert error.value.expected == "0, 1"


def test_a_folder_without_rights_or_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = a_bundle()
    write_bundle(tmp_path / "m", bundle, made_weights(bundle))
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="cannot be written"):
        install_bundle(tmp_path / "m", tmp_path / "file" / "m")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(ProjectError, match="not enough space"):
        install_bundle(tmp_path / "m", tmp_path / "n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m"]


def test_what_file_browsers_leave_behind_is_ignored(tmp_path: Path) -> None:
    bundle = a_bundle()
    write_bundle(tmp_path / "m", bundle, made_weights(bundle))
    (tmp_path / "m" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "m" / "plans" / "Thumbs.db").write_bytes(b"x")
    read_bundle(tmp_path / "m").verify()


def test_archives_are_unpacked_in_part(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("model/plans.json", "model/fold_0/checkpoint_final.pth", "model/x.png"):
            archive.writestr(name, name * 100)
        archive.writestr("model/empty/", "")
    names = extract_archive(
        tmp_path / "a.zip", tmp_path / "out", wanted=lambda name: not name.endswith(".png")
    )
    assert names == ("model/plans.json", "model/fold_0/checkpoint_final.pth")
    assert unpacked_files(tmp_path / "out") == {n: (n * 100).encode() for n in names}


def test_a_plan_name_that_is_no_file_name_is_not_written(tmp_path: Path) -> None:
    plan = replace(a_plan(), name="a/b")
    bundle = a_bundle(members=(Member("a/b", "3d_fullres", ("0",)),), plan=plan)
    with pytest.raises(ProjectError, match="name of the plan"):
        write_bundle(tmp_path / "m", bundle, made_weights(bundle))
    assert list(tmp_path.iterdir()) == []


def test_weights_written_by_hand_need_no_metadata(tmp_path: Path) -> None:
    write_weights(tmp_path / "w", {"a": np.ones((2, 3), np.float32)}, {"note": "x"})
    assert read_checked_weights(tmp_path / "w", {"a": (2, 3)})["a"].shape == (2, 3)
