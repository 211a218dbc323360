"""Checkpoints and plans that are not what they should be: each is refused, nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_models import (
    DATASET,
    LABELS,
    checkpoint_of,
    their_state,
    tiny_plan,
    weights_of,
    write_model,
)
from selfseg.domain.errors import ModelError, SelfsegError
from selfseg.domain.labels import LabelScheme
from selfseg.registry import nnunet_checkpoint
from selfseg.registry.nnunet_checkpoint import describe_checkpoints
from selfseg.registry.nnunet_choice import NnunetOptions
from selfseg.registry.nnunet_import import import_nnunet, nnunet_model
from selfseg.registry.nnunet_inert import read_structure
from selfseg.registry.nnunet_trainers import check_trainer

PLAN = tiny_plan()
NAME = "3d_fullres"
WAS_RUN = "was_run"


class Runs:
    """What a pickle can do: call any function."""

    def __init__(self, function: Callable[..., Any] = os.mkdir, *arguments: Any) -> None:
        self.parts = (function, arguments or (WAS_RUN,))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def genuine(**changes: Any) -> dict[str, Any]:
    content = checkpoint_of(PLAN, NAME, weights_of(PLAN, NAME)) | changes
    return {key: value for key, value in content.items() if value is not ...}


def saved(**changes: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(genuine(**changes), path)


def with_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    state = their_state(weights_of(PLAN, NAME))
    change(state)
    return saved(network_weights=state)


def repacked(
    change: Callable[[dict[str, bytes]], Any], method: int = zipfile.ZIP_STORED, again: str = ""
) -> Callable[[Path], None]:
    """A checkpoint whose records were changed, maybe with one that is there already."""

    def write(path: Path) -> None:
        torch.save(genuine(), path)
        with zipfile.ZipFile(path) as archive:
            records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
        change(records)
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in records.items():
                archive.writestr(f"archive/{name}", data)
            if again:
                with warnings.catch_warnings(action="ignore"):
                    archive.writestr(f"archive/{again}", b"")

    return write


def with_pickle(data: bytes) -> Callable[[Path], None]:
    return repacked(lambda records: records.update({"data.pkl": data}))


def truncated(path: Path) -> None:
    torch.save(genuine(), path)
    path.write_bytes(path.read_bytes()[:-5000])


def legacy(path: Path) -> None:
    torch.save(genuine(), path, _use_new_zipfile_serialization=False)


def endless_hash() -> bytes:
    """A dictionary whose key takes for ever to hash: tuples of the tuple before, twice."""
    return b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."


def flipped(state: dict[str, torch.Tensor]) -> None:
    state["encoder.stages.0.0.convs.0.conv.weight"] = torch.full((2, 1, 3, 3, 3), torch.nan)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    # name: (what writes the checkpoint, what the message says)
    "code": (saved(logging=Runs()), "posix.mkdir|nt.mkdir"),
    "code as weights": (saved(network_weights=Runs()), "posix.mkdir|nt.mkdir"),
    "eval": (saved(extra=Runs(eval, "1")), "builtin.*eval"),
    "a class of torch": (saved(extra=torch.nn.Linear(1, 1)), "torch.nn.modules.linear.Linear"),
    "a function of torch": (saved(extra=Runs(torch.hub.load, "a", "b")), "torch.hub"),
    "an array": (saved(extra=np.zeros(3)), "numpy.*_reconstruct"),
    "a path": (saved(extra=Path("x")), "pathlib"),
    "code in a tuple": (with_pickle(pickle.dumps((Runs(),), 2)), "posix.mkdir|nt.mkdir"),
    "code by the first protocol": (with_pickle(b"cos\nmkdir\n(Vwas_run\ntR."), "os.mkdir"),
    "an instance by name": (with_pickle(b"(Vwas_run\nios\nmkdir\n."), "os.mkdir"),
    "an attribute of a function": (
        with_pickle(b"\x80\x02ctorch\ndevice\n}X\x01\x00\x00\x00aK\x01sb."),
        "damaged",
    ),
    "an extension": (with_pickle(b"\x80\x02\x82\x01."), "damaged"),
    "no checkpoint": (with_pickle(pickle.dumps([1], 2)), "holds no checkpoint"),
    "an empty checkpoint": (with_pickle(pickle.dumps({}, 2)), "no checkpoint of nnU-Net"),
    "an empty pickle": (with_pickle(b""), "damaged"),
    "memory for the asking": (with_pickle(b"\x80\x02}r\xff\xff\xff\xff."), "too much memory"),
    "a huge pickle": (
        repacked(lambda records: records.update({"data.pkl": bytes(65 * 2**20)})),
        "one data.pkl",
    ),
    "cut off": (truncated, "damaged"),
    "nothing": (lambda path: path.write_bytes(b""), "not in PyTorch's present format"),
    "text": (lambda path: path.write_text("weights"), "not in PyTorch's present format"),
    "the old format": (legacy, "not in PyTorch's present format"),
    "a zip file of something else": (
        repacked(lambda records: records.clear() or records.update({"a.txt": b""})),
        "one data.pkl",
    ),
    "TorchScript": (repacked(lambda records: records.update({"constants.pkl": b"."})), "data.pkl"),
    "packed records": (repacked(len, zipfile.ZIP_DEFLATED), "packed or encrypted"),
    "a record twice": (repacked(len, again="data.pkl"), "records are not valid"),
    "a record missing": (repacked(lambda records: records.pop("data/0")), "numbers are not there"),
    "a record too short": (
        repacked(lambda records: records.update({"data/0": b"123"})),
        "numbers are not there",
    ),
    "10^9 elements of one number": (
        with_weights(lambda state: state.update(huge=torch.zeros(1).expand(10**9))),
        "larger than the numbers it has",
    ),
    "a tensor outside of its numbers": (
        repacked(
            lambda records: records.update(
                {"data.pkl": records["data.pkl"].replace(b"QK\x00K\x02\x85", b"QK\x63K\x02\x85", 1)}
            )
        ),
        "larger than the numbers it has",
    ),
    "weights that are no tensors": (
        with_weights(lambda state: state.update(a=1)),
        "no checkpoint of nnU-Net",
    ),
    "no trainer": (saved(trainer_name=...), "no checkpoint of nnU-Net"),
    "a trainer that cannot be shown": (saved(trainer_name="nnUNet\nTrainer"), "no checkpoint"),
    "axes that are none": (saved(inference_allowed_mirroring_axes="all"), "no checkpoint"),
    "axes out of range": (saved(inference_allowed_mirroring_axes=(0, 7)), "mirror"),
    "an unknown trainer": (saved(trainer_name="nnUNetTrainerUMambaBot"), "is not known"),
    "a trainer with another network": (saved(trainer_name="nnUNetTrainerBN"), "over the batch"),
    "a transformer": (saved(trainer_name="nnUNet_Primus_M_Trainer"), "transformer"),
    "another architecture": (saved(network_weights={"vit.0.weight": torch.zeros(2)}), "weight"),
    "batch normalisation": (
        with_weights(
            lambda s: s.update({"encoder.stages.0.0.convs.0.norm.running_mean": torch.zeros(2)})
        ),
        "normalises over the batch",
    ),
    "a layer too few": (
        with_weights(lambda s: s.pop("decoder.seg_layers.1.weight")),
        "not the one its plans describe",
    ),
    "another number of classes": (
        with_weights(lambda s: s.update({"decoder.seg_layers.1.bias": torch.zeros(9)})),
        "not the one its plans describe",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_checkpoints_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, message = REFUSED[name]
    folder = write_model(tmp_path / "results", PLAN)
    path = folder / "fold_0" / "checkpoint_final.pth"
    write(path)
    with pytest.raises(SelfsegError, match=message) as caught:
        import_nnunet(tmp_path / "results", tmp_path / "out" / "model")
    assert caught.value.cure
    assert not list((tmp_path / "out").iterdir())
    assert not list(tmp_path.rglob(WAS_RUN))


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", PLAN)
    with_weights(flipped)(folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ModelError, match="not numbers") as caught:
        import_nnunet(tmp_path / "results", tmp_path / "out" / "model")
    assert caught.value.path == folder / "fold_0" / "checkpoint_final.pth"
    assert not list((tmp_path / "out").iterdir())


def test_the_user_may_vouch_for_a_trainer(tmp_path: Path) -> None:
    write_model(tmp_path, PLAN, trainer="nnUNetTrainerOfOurs")
    with nnunet_model(tmp_path, options=NnunetOptions(standard_network=True)) as (bundle, _):
        assert bundle.card.provenance["trainer"] == "nnUNetTrainerOfOurs"


@pytest.mark.parametrize(
    ("trainer", "known"),
    [
        ("nnUNetTrainer", True),
        ("nnUNetTrainer_4000epochs_NoMirroring", True),
        ("nnUNetTrainer_1epoch", True),
        ("nnUNetTrainer_DASegOrd0_NoMirroring", True),
        ("nnUNetTrainer_250epochs_BN", False),
        ("nnUNetTrainer_epochs", False),
        ("nnUNetTrainer\n", False),
        ("", False),
    ],
)
def test_known_trainers(trainer: str, known: bool) -> None:
    if known:
        check_trainer(trainer, Path("x"), assume_standard=False)
        return
    with pytest.raises(ModelError, match="not known"):
        check_trainer(trainer, Path("x"), assume_standard=False)


def changed(**entries: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["configurations"][NAME].update(entries)


def architecture(**entries: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["configurations"][NAME]["architecture"].update(entries)


def arguments(**entries: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["configurations"][NAME]["architecture"]["arch_kwargs"].update(
        entries
    )


@pytest.mark.parametrize(
    "change",
    [
        architecture(network_class_name="os.system"),
        arguments(norm_op="torch.nn.BatchNorm3d"),
        arguments(nonlin="os.system"),
        arguments(features_per_stage=[10**9] * 3),
        arguments(n_stages=10**9),
        changed(patch_size=[10**6] * 3),
        changed(preprocessor_name="os.system"),
        changed(resampling_fn_data="os.system"),
        changed(normalization_schemes=["os.system"]),
        changed(previous_stage=NAME),
        changed(inherits_from=NAME),
        lambda content: content.update(label_manager="os.system"),
        lambda content: content.update(plans_name="../../outside"),
        lambda content: content.update(configurations={}),
        lambda content: content.update(configurations=[]),
    ],
)
def test_plans_are_refused(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", PLAN)
    content = json.loads((folder / "plans.json").read_text())
    change(content)
    (folder / "plans.json").write_text(json.dumps(content))
    with pytest.raises(SelfsegError) as caught:
        import_nnunet(tmp_path / "results", tmp_path / "out" / "model")
    assert caught.value.cure
    assert not list((tmp_path / "out").iterdir())


def test_a_checkpoint_of_another_data_set_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, PLAN)
    more = LabelScheme.from_mapping(LABELS.to_mapping() | {"vein": 3})
    other = json.loads(
        (write_model(tmp_path / "other", tiny_plan(more)) / "dataset.json").read_text()
    )
    (folder / "dataset.json").write_text(json.dumps(other))
    with (
        pytest.raises(ModelError, match="not the one its plans describe"),
        nnunet_model(tmp_path / DATASET),
    ):
        pass


@pytest.mark.parametrize("name", ["../outside/plans.json", "/plans.json"])
def test_a_zip_file_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    source = tmp_path / "model.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(ModelError, match="name that is not allowed"):
        import_nnunet(source, tmp_path / "out" / "model")
    assert not list((tmp_path / "out").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.zip", "out"]


def test_a_checkpoint_that_takes_for_ever_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint_final.pth"
    with_pickle(endless_hash())(path)
    monkeypatch.setattr(nnunet_checkpoint, "SECONDS", 3)
    with pytest.raises(ModelError, match="did not finish"):
        describe_checkpoints([path])


@pytest.mark.parametrize(
    "program", ["", "import os; os.abort()", "print('{}')", "print('[]')", "print('no JSON')"]
)
def test_a_process_that_answers_nothing_sensible(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint_final.pth"
    torch.save(genuine(), path)
    monkeypatch.setattr(nnunet_checkpoint, "_CHILD", (sys.executable, "-c", program))
    with pytest.raises(ModelError, match="refused") as caught:
        describe_checkpoints([path])
    assert caught.value.path == path


def test_a_genuine_checkpoint_needs_numpys_numbers_only(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_final.pth"
    torch.save(genuine(), path)
    assert read_structure(path)["trainer_name"] == "nnUNetTrainer"
    with pytest.raises(pickle.UnpicklingError, match=r"numpy.*scalar"):
        torch.load(path, weights_only=True)
