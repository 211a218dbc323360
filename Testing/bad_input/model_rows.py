"""Models that are to be taken in, checked or handed on."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

from hostile_content import CONTENT
from hostile_zips import PACKED, Payload, pack, with_manifest

from .files import cut, folder, mode, sparse, written
from .rows import Change, Row, both

IMPORT = "model import model.selfseg --library library"
VERIFY = "model verify model.selfseg --library library"
THEIRS = "model import nnunet --library library"
LIBRARY = ("library",)
CHECKPOINT = (
    "nnunet/Dataset042_Made/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/checkpoint_final.pth"
)


def _attacked(name: str) -> Change:
    """The model as one of the attacks on bundles makes it."""

    def change(place: Path) -> None:
        path = place / "model.selfseg"
        with zipfile.ZipFile(path) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
        if name in PACKED:
            attack = PACKED[name]
            assert attack.packed is not None
            path.write_bytes(attack.packed(files))
            return
        content = CONTENT[name]
        assert content.files is not None
        made = content.files(files)
        path.write_bytes(pack(with_manifest(made) if content.manifest else made))

    return change


def _their(name: str, **changes: object) -> Change:
    """Entries of a JSON file of nnU-Net's model."""

    def change(place: Path) -> None:
        path = (place / CHECKPOINT).parents[1] / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


MODELS: tuple[Row, ...] = (
    Row("a model file that is not there", IMPORT.replace("model.selfseg", "lost.selfseg"),
        ("no model that can be imported", "nothing")),
    Row("an empty folder for a model", IMPORT.replace("model.selfseg", "empty"),
        ("no model that can be imported", "a folder"), folder("empty"), leaves=LIBRARY),
    Row("a picture for a model", IMPORT.replace("model.selfseg", "x.png"),
        ("no model that can be imported", "a file"), written("x.png", b"\x89PNG")),
    Row("a text named .selfseg", IMPORT, ("no zip file",), written("model.selfseg", "weights"),
        leaves=LIBRARY),
    Row("a model cut in half", IMPORT, ("damaged",), cut("model.selfseg", 2000), leaves=LIBRARY),
    Row("a model of 1 TB that is nothing", IMPORT, ("no zip file",),
        sparse("model.selfseg", 2**40), leaves=LIBRARY),
    Row("a model that leads out of the library", IMPORT, ("leads out",),
        _attacked("path traversal"), leaves=LIBRARY),
    Row("a model that is a zip bomb", IMPORT, ("zip bomb",), _attacked("bomb by ratio"),
        leaves=LIBRARY),
    Row("a model with a pickle in it", IMPORT, ("no place",), _attacked("pickled weights"),
        leaves=LIBRARY),
    Row("a model whose weights are not its own", IMPORT, ("not the one its manifest lists",),
        _attacked("wrong hash of weights"), leaves=LIBRARY),
    Row("a model with NaN in its weights", IMPORT, ("not numbers",),
        _attacked("NaN in the weights"), leaves=LIBRARY),
    Row("a model of the future", IMPORT, ("newer selfseg",), _attacked("newer schema"),
        leaves=LIBRARY),
    Row("a name for a model that has one", f"{IMPORT} --name other", ("leave them out",),
             status=2),
    Row("a licence in Latin-1", f"{IMPORT} --licence-file l.txt", ("licence cannot be read",),
        written("l.txt", b"\xe4\xf6\xff"), status=2),
    Row("a file for the library", "model import model.selfseg --library file.txt",
        ("file.txt", "library cannot be made"),
        written("file.txt", "")),
    Row("a library that may not be written to", "model import model.selfseg --library locked/l",
        ("right to write",), both(folder("locked"), mode("locked", 0o500)), limit="plain user"),
    Row("a full disk for a library", IMPORT, ("space",), limit="full disk", leaves=LIBRARY),
    Row("a model checked that is damaged", VERIFY, ("no zip file, or it is damaged",),
        cut("model.selfseg", 2000)),
    Row("a model checked that is hostile", VERIFY, ("leads out",), _attacked("path traversal")),
    Row("a model checked that is nowhere", "model verify ghost --library library",
        ("there is no model 'ghost'",)),
    Row("a model checked by a name that leads out", "model verify ../../etc --library library",
        ("../../etc",)),
    Row("a model told of that is not there", "model show ghost@7 --library library",
        ("there is no model 'ghost@7'",)),
    Row("a model removed that is not there", "model remove ghost --library library",
        ("there is no model 'ghost'",)),
    Row("an export of a model that is not there",
        "model export ghost -o x.selfseg --library library", ("there is no model 'ghost'",)),
    Row("an export over another file", "model export project -o model.selfseg",
        ("something of this name already",)),
    Row("an export of an untrained configuration", "model export project -o x.selfseg -c 2d",
        ("no trained model of 2d",)),
    Row("an export to a full disk", "model export project -o x.selfseg", ("space",),
        limit="full disk"),
    Row("an export to a folder that may not be written to",
        "model export project -o locked/x.selfseg", ("right to write",),
        both(folder("locked"), mode("locked", 0o500)), limit="plain user"),
    Row("a checkpoint that runs code", THEIRS, ("asks for code", ".mkdir"),
        lambda place: (place / CHECKPOINT).write_bytes(_running((place / CHECKPOINT).read_bytes())),
        leaves=LIBRARY, seconds=20.0),
    Row("a checkpoint that is a plain pickle", THEIRS, ("not in PyTorch's present format",),
        lambda place: (place / CHECKPOINT).write_bytes(pickle.dumps(Payload())), leaves=LIBRARY,
        seconds=20.0),
    Row("a checkpoint cut in half", THEIRS, ("damaged",), cut(CHECKPOINT, 5000), leaves=LIBRARY,
        seconds=20.0),
    Row("plans of nnU-Net that are a list", THEIRS, ("plans.json is not what nnU-Net v2 writes",),
        lambda place: ((place / CHECKPOINT).parents[1] / "plans.json").write_text("[]"),
        leaves=LIBRARY, seconds=20.0),
    Row("plans of nnU-Net without configurations", THEIRS, ("holds no configuration",),
        _their("plans.json", configurations={}), leaves=LIBRARY, seconds=20.0),
    Row("labels of nnU-Net that are numbers", THEIRS,
        ("dataset.json", '"labels" is not what it should be'),
        _their("dataset.json", labels=[1, 2]), leaves=LIBRARY, seconds=20.0),
    Row("a fold of nnU-Net that is not there", f"{THEIRS} -f 3",
        ("does not have these folds", "some of 0"), leaves=LIBRARY,
        seconds=20.0),
)  # fmt: skip


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was_run",)


def _running(checkpoint: bytes) -> bytes:
    """A checkpoint whose pickle makes a folder when it is read."""
    import io

    source, target = zipfile.ZipFile(io.BytesIO(checkpoint)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, pickle.dumps({"a": _Runs()}, 2) if "data.pkl" in name else data)
    return target.getvalue()
