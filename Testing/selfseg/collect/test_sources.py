"""Tables, collection files and scenes, hostile ones too."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from collect_examples import (
    LIVER_CODE,
    OBLIQUE,
    ORIGIN,
    SHAPE,
    SPACING,
    SPLEEN,
    Piece,
    grey,
    liver,
    write_image,
    write_seg_nrrd,
)
from selfseg.collect.collecting import collect
from selfseg.collect.collection import CollectOptions
from selfseg.collect.survey import survey
from selfseg.domain.errors import DatasetError, FileFormatError, SelfsegError
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case, read_label_map

# ---- tables


def test_a_table_names_the_files(tmp_path: Path) -> None:
    write_image(tmp_path / "x" / "one.mha")
    write_image(tmp_path / "x" / "two.nii.gz", grey(50))
    write_image(tmp_path / "y" / "labels.nii.gz", liver().astype(np.uint8))
    (tmp_path / "y" / "names.txt").write_text("0 Clear_Label 0 0 0 0\n1 my_liver 1 2 3 255\n")
    (tmp_path / "cases.csv").write_text(
        "case;image_T1;image_T2;segmentation;group\n"
        "a;x/one.mha;x/two.nii.gz;y/labels.nii.gz;patient 1\n"
        "b;x/one.mha;;y/labels.nii.gz;\n"
        "c;x/one.mha;x/nothing.mha;y/labels.nii.gz;\n"
    )
    collection = survey([tmp_path / "cases.csv"])
    assert collection.channels == ("T1", "T2")
    assert collection.structures[0].name == "my liver"
    assert collection.structures[0].colour == (1, 2, 3)
    assert [[p.kind for p in case.problems] for case in collection.cases] == [
        [], ["no-image"], ["unreadable"],
    ]  # fmt: skip
    options = CollectOptions(excluded=("b", "c"))
    collect([tmp_path / "cases.csv"], tmp_path / "out", options=options)
    data = open_dataset(tmp_path / "out")
    assert data.groups == {"a": "patient 1"}
    case = read_case(data.case("a"), data.description.labels)
    assert case.channels[1].min() == 50
    np.testing.assert_array_equal(case.labels == 1, liver())


COLUMNS = "case,image,segmentation"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", f"{COLUMNS}\n", f"{COLUMNS},x\n1,2,3,4\n"])
def test_a_table_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(DatasetError, match="belong together"):
        survey([tmp_path / "cases.csv"])


# ---- collection files


def grid(**changes: Any) -> dict[str, Any]:
    return {
        "shape": list(SHAPE), "spacing": list(SPACING), "origin": list(ORIGIN),
        "direction": OBLIQUE.tolist(), **changes,
    }  # fmt: skip


def handed_over(folder: Path, **changes: Any) -> Path:
    """A collection file of one case, its label map cropped and in a layer of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", grey())
    np.save(folder / "layer.npy", (liver() * 5)[1:9, 2:14, 3:12].astype(np.uint8))
    moved = np.array(ORIGIN) + OBLIQUE @ (np.array(SPACING[::-1]) * (3, 2, 1))
    case = {
        "case": "p1",
        "group": None,
        "images": [{"channel": "CT", "file": "image.npy", "grid": grid(), "to_world": None}],
        "layers": [
            {"file": "layer.npy", "grid": grid(shape=[8, 12, 9], origin=moved.tolist())},
        ],
        "layers_to_world": None,
        "segments": [
            {"name": "Liver", "layer": 0, "value": 5, "terminology": LIVER_CODE,
             "colour": [1, 2, 3], "empty": False},
            {"name": "tumour", "layer": 0, "value": 9, "terminology": None, "colour": None,
             "empty": True},
        ],
    }  # fmt: skip
    case.update(changes)
    path = folder / "collection.json"
    path.write_text(
        json.dumps({"schema": "selfseg.collection/1", "channels": ["CT"], "cases": [case]})
    )
    return path


def test_a_collection_file_hands_cases_over(tmp_path: Path) -> None:
    collection = collect([handed_over(tmp_path / "in")], tmp_path / "out")
    assert collection.channels == ("CT",)
    # Empty in every case: nothing to learn.
    assert [s.name for s in collection.structures] == ["Liver"]
    assert "'tumour'" in collection.notes[0]
    data = open_dataset(tmp_path / "out")
    case = read_case(data.case("p1"), data.description.labels)
    np.testing.assert_array_equal(case.labels == 1, liver())
    np.testing.assert_array_equal(case.channels[0], grey())
    np.testing.assert_allclose(case.geometry.direction, OBLIQUE)


def test_voxels_may_come_later(tmp_path: Path) -> None:
    path = handed_over(
        tmp_path / "in",
        images=[{"channel": "CT", "file": None, "grid": grid()}],
        layers=[{"file": None, "grid": grid()}],
    )
    assert survey([path]).cases[0].state == "ready"
    content = json.loads(path.read_text())
    content["cases"].append({**content["cases"][0], "case": "p2"})
    path.write_text(json.dumps(content))
    assert [case.state for case in survey([path]).cases] == ["ready", "ready"]
    with pytest.raises(SelfsegError, match="not written yet"):
        collect([path], tmp_path / "out")


TURN = np.eye(4)
TURN[:3, :3] = OBLIQUE
TURN[:3, 3] = (5.0, -3.0, 2.0)


def test_parent_transforms_move_the_labels(tmp_path: Path) -> None:
    """Image and segmentation under the same transform stay as they are; under others they move."""
    same = TURN.ravel().tolist()
    images = [{"channel": "CT", "file": "image.npy", "grid": grid(), "to_world": same}]
    path = handed_over(tmp_path / "same", images=images, layers_to_world=same)
    collect([path], tmp_path / "out")
    labels, _ = read_label_map(tmp_path / "out" / "labelsTr" / "p1.nrrd")
    np.testing.assert_array_equal(labels == 1, liver())

    # Two voxels along the image's z axis, in RAS.
    shift = np.eye(4)
    shift[:3, 3] = np.diag([-1, -1, 1]) @ OBLIQUE[:, 2] * 2 * SPACING[0]
    path = handed_over(tmp_path / "other", layers_to_world=shift.ravel().tolist())
    collection = collect([path], tmp_path / "moved")
    assert "both are applied" in " ".join(collection.cases[0].notes)
    labels, _ = read_label_map(tmp_path / "moved" / "labelsTr" / "p1.nrrd")
    np.testing.assert_array_equal(labels == 1, np.roll(liver(), 2, axis=0))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"layers_to_world": "non-linear"}, "non-linear-transform"),
        ({"layers_to_world": [1.0] * 16}, "unreadable"),
        ({"layers_to_world": [0.0] * 3}, "unreadable"),
        ({"images": []}, "no-image"),
        ({"layers": [], "segments": []}, "no-segmentation"),
        ({"layers": [{"file": "../../etc/passwd.npy", "grid": grid()}]}, "unreadable"),
        ({"layers": [{"file": "layer.npy", "grid": grid()}]}, "unreadable"),
        ({"layers": [{"file": "layer.npy"}]}, "unreadable"),
        ({"segments": [{"name": "a", "layer": 3, "value": 1}]}, "unreadable"),
    ],
)
def test_what_is_wrong_with_a_handed_over_case(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    case = survey([handed_over(tmp_path, **changes)]).cases[0]
    assert [problem.kind for problem in case.problems] == [kind]


def test_a_collection_file_is_read_strictly(tmp_path: Path) -> None:
    path = handed_over(tmp_path, surprise=1)
    with pytest.raises(FileFormatError, match="nobody reads"):
        survey([path])
    np.save(tmp_path / "image.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    case = survey([handed_over_again(tmp_path)]).cases[0]
    assert case.problems[0].kind == "unreadable"


def handed_over_again(folder: Path) -> Path:
    evil = (folder / "image.npy").read_bytes()
    path = handed_over(folder)
    (folder / "image.npy").write_bytes(evil)
    return path


def test_two_segmentations_of_one_image_are_a_question(tmp_path: Path) -> None:
    path = handed_over(tmp_path)
    content = json.loads(path.read_text())
    content["cases"].append({**content["cases"][0], "case": "p2"})
    path.write_text(json.dumps(content))
    assert [case.problems[0].kind for case in survey([path]).cases] == ["ambiguous-pair"] * 2
    left = survey([path], CollectOptions(excluded=("p2",)))
    assert [case.state for case in left.cases] == ["ready", "excluded"]


# ---- scenes

SCENE = """<?xml version="1.0" encoding="UTF-8"?>
{doctype}<MRML version="Slicer 5.8">
 <Volume id="v1" name="2: CT body" references="storage:s1;{image_transform}"></Volume>
 <Volume id="v2" name="other" references="storage:s3;"></Volume>
 <Segmentation id="g1" name="Segmentation"
  references="referenceImageGeometryRef:v1;storage:s2;{transform}"></Segmentation>
 {more}
 <VolumeArchetypeStorage id="s1" fileName="Data/my%20CT%253a.nrrd"></VolumeArchetypeStorage>
 <VolumeArchetypeStorage id="s3" fileName="Data/other.nrrd"></VolumeArchetypeStorage>
 <SegmentationStorage id="s2" fileName="{segmentation}"></SegmentationStorage>
</MRML>
"""


def scene_folder(folder: Path, **changes: str) -> Path:
    """A scene with its files, not packed."""
    (folder / "Data").mkdir(parents=True)
    values = {
        "doctype": "", "image_transform": "", "transform": "", "more": "",
        "segmentation": "Data/Segmentation.seg.nrrd", **changes,
    }  # fmt: skip
    (folder / "scan.mrml").write_text(SCENE.format(**values))
    place: Mapping[str, Any] = {"direction": OBLIQUE}
    write_image(folder / "Data" / "my CT%3a.nrrd", **place)
    write_image(folder / "Data" / "other.nrrd", origin=(1, 2, 3))
    write_seg_nrrd(
        folder / "Data" / "Segmentation.seg.nrrd",
        {"Liver": Piece(liver(), code=LIVER_CODE), "spleen": Piece(SPLEEN, value=2)},
        start=(1, 2, 3),
        stop=(11, 18, 14),
        **place,
    )
    return folder / "scan.mrml"


def packed(scene: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(scene.parent.rglob("*")):
            if path.is_file():
                archive.write(path, f"scan/{path.relative_to(scene.parent).as_posix()}")
    return target


@pytest.mark.parametrize("form", ["mrb", "mrml", "folder of mrb"])
def test_a_scene_is_collected(tmp_path: Path, form: str) -> None:
    scene = scene_folder(tmp_path / "scene")
    source = scene if form == "mrml" else packed(scene, tmp_path / "in" / "scan.mrb")
    if form == "folder of mrb":
        source = source.parent
    collection = collect([source], tmp_path / "out")
    assert [case.identifier for case in collection.cases] == ["scan"]
    assert collection.channels == ("CT",)
    labels, _ = read_label_map(tmp_path / "out" / "labelsTr" / "scan.nrrd")
    np.testing.assert_array_equal(labels, liver() + 2 * SPLEEN)
    case = read_case(open_dataset(tmp_path / "out").case("scan"), None)
    np.testing.assert_array_equal(case.channels[0], grey())
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def test_channels_of_a_scene_are_chosen_by_name(tmp_path: Path) -> None:
    scene = scene_folder(tmp_path / "scene")
    chosen = survey([scene], CollectOptions(channels=("CT", "Other"))).cases[0]
    assert [image.channel for image in chosen.images] == ["CT", "Other"]
    assert [Path(image.voxels.shown).name for image in chosen.images] == [
        "my CT%3a.nrrd", "other.nrrd",
    ]  # fmt: skip
    assert "interpolated onto" in " ".join(chosen.notes)
    unknown = survey([scene], CollectOptions(channels=("PET", "CT"))).cases[0]
    assert unknown.problems[0].kind == "ambiguous-channels"


LINEAR = (
    '<LinearTransform id="t1" name="one" references="transform:t2;" '
    'matrixTransformToParent="{0}"></LinearTransform>'
    '<LinearTransform id="t2" name="two" references="storage:ts;"></LinearTransform>'
    '<TransformStorage id="ts" fileName="Data/two.tfm"></TransformStorage>'
)


def test_transforms_of_a_scene_are_chained(tmp_path: Path) -> None:
    """One voxel from the matrix in the scene, one from a transform file, along z of the image."""
    step = OBLIQUE[:, 2] * SPACING[0]
    ras = np.eye(4)
    ras[:3, 3] = np.diag([-1, -1, 1]) @ step
    text = " ".join(repr(float(n)) for n in ras.ravel())
    scene = scene_folder(tmp_path / "scene", transform="transform:t1;", more=LINEAR.format(text))
    # Files lead from the parent.
    transform = sitk.TranslationTransform(3, (-step).tolist())
    sitk.WriteTransform(transform, str(scene.parent / "Data" / "two.tfm"))
    collect([packed(scene, tmp_path / "in" / "scan.mrb")], tmp_path / "out")
    labels, _ = read_label_map(tmp_path / "out" / "labelsTr" / "scan.nrrd")
    moved = np.roll(liver(), 2, axis=0) + 2 * np.roll(SPLEEN, 2, axis=0) * 1
    moved[:2] = 0
    np.testing.assert_array_equal(labels == 1, moved == 1)


def bspline(folder: Path) -> dict[str, str]:
    transform = sitk.BSplineTransformInitializer(sitk.Image(8, 8, 8, sitk.sitkUInt8), [2, 2, 2])
    transform.SetParameters([0.5] * len(transform.GetParameters()))
    folder.mkdir(parents=True)
    sitk.WriteTransform(transform, str(folder / "two.tfm"))
    more = (
        '<BSplineTransform id="t1" name="warp" references="storage:ts;"></BSplineTransform>'
        '<TransformStorage id="ts" fileName="Data/two.tfm"></TransformStorage>'
    )
    return {"transform": "transform:t1;", "more": more}


def test_non_linear_transforms_are_refused_with_a_cure(tmp_path: Path) -> None:
    changes = bspline(tmp_path / "warp")
    scene = scene_folder(tmp_path / "scene", **changes)
    (tmp_path / "warp" / "two.tfm").rename(scene.parent / "Data" / "two.tfm")
    problem = survey([scene]).cases[0].problems[0]
    assert problem.kind == "non-linear-transform"
    assert "harden" in problem.cure


CIRCLE = '<LinearTransform id="t1" references="transform:t1"/>'


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"segmentation": "Data/Segmentation.vtm"}, "not-a-labelmap", "label map"),
        ({"segmentation": "../../secret.nrrd"}, "unreadable", "does not hold"),
        ({"segmentation": "/etc/passwd.nrrd"}, "unreadable", "does not hold"),
        ({"doctype": '<!DOCTYPE a [<!ENTITY b "c">]>'}, "unreadable", "entities"),
        ({"doctype": '<!DOCTYPE a SYSTEM "file:///etc/passwd">'}, "unreadable", "entities"),
        ({"more": "<broken"}, "unreadable", "cannot be read"),
        (
            {"transform": "transform:t1;", "more": CIRCLE},
            "unreadable",
            "no end",
        ),
    ],
)  # fmt: skip
def test_scenes_that_are_not_taken(
    tmp_path: Path, changes: dict[str, str], kind: str, says: str
) -> None:
    scene = scene_folder(tmp_path / "scene", **changes)
    problem = survey([packed(scene, tmp_path / "in" / "scan.mrb").parent]).cases[0].problems[0]
    assert problem.kind == kind
    assert says in problem.what


def leads_out(archive: zipfile.ZipFile) -> None:
    archive.writestr("../evil.mrml", "<MRML/>")


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("scan/scan.mrml")
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/passwd")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("scan/zeros.nrrd", bytes(2**24))


@pytest.mark.parametrize("attack", [leads_out, link, bomb])
def test_hostile_archives_are_refused(
    tmp_path: Path, attack: Callable[[zipfile.ZipFile], None]
) -> None:
    path = tmp_path / "in" / "scan.mrb"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        attack(archive)
    case = survey([path]).cases[0]
    assert case.problems[0].kind == "unreadable"
    assert "refused" in case.problems[0].what
    assert "model" not in case.problems[0].cure
    assert not (tmp_path / "evil.mrml").exists()
