"""Segmented scans, scenes and tables that `selfseg collect` is to make a data set of."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from .files import as_json, cut, folder, image, linked, mode, nrrd, removed, written
from .rows import Change, Row, both

COLLECT = "collect scans -o out"
SEGMENTS = "scans/a.seg.nrrd"
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + ']><MRML><Volume name="&j;"/></MRML>'
)
ENTITY = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    '<MRML><Volume name="&e;"/></MRML>'
)


def _zipped(name: str, **entries: bytes) -> Change:
    def change(place: Path) -> None:
        with zipfile.ZipFile(place / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in entries.items():
                archive.writestr(entry.replace("__", "/").replace("UP", ".."), data)

    return change


def _header(old: bytes, new: bytes) -> Change:
    def change(place: Path) -> None:
        data = (place / SEGMENTS).read_bytes()
        assert old in data
        (place / SEGMENTS).write_bytes(data.replace(old, new))

    return change


SCANS: tuple[Row, ...] = (
    Row("nowhere to collect to", "collect scans", ("-o DATASET",), status=2),
    Row("scans that are not there", "collect nowhere -o out",
        ("nowhere", "there is no such file or folder")),
    Row("a folder without scans", "collect empty -o out", ("nothing to learn from was found",),
        folder("empty")),
    Row("scans without segments", COLLECT, ("no case is ready", "2 cases"),
        both(removed(SEGMENTS), removed("scans/b.seg.nrrd"))),
    Row("segments without their scan", COLLECT, ("no image goes with it",),
        removed("scans/a.nrrd")),
    Row("segments that are text", COLLECT, ("a.seg.nrrd", "cannot be read"),
        written(SEGMENTS, "NRRD0004\n")),
    Row("segments cut in half", COLLECT, ("a.seg.nrrd", "cut off"), cut(SEGMENTS, -1000)),
    Row("segments of 10^6 x 10^6 x 10^6", COLLECT, ("cut off or damaged",),
        _header(b"sizes: 16 20 12", b"sizes: 1000000 1000000 1000000")),
    Row("a scan of 10^6 x 10^6 x 10^6", COLLECT, ("cut off or damaged",),
        nrrd("scans/a.nrrd", (10**6,) * 3)),
    Row("a segment with a value beyond its voxels", COLLECT,
        ("Liver", "cannot be in this file"),
        _header(b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=99999999999999999999")),
    Row("a segment in a layer that is not there", COLLECT, ("spleen", "cannot be in this file",
        "layer 7"),
        _header(b"Segment1_Layer:=0", b"Segment1_Layer:=7")),
    Row("a structure that one case lacks", COLLECT, ("spleen", "is not segmented", "--missing"),
        _header(b"Segment1_Name:=spleen", b"Segment1_Name:=kidney")),
    Row("no case left", f"{COLLECT} --exclude a --exclude b", ("no case is ready",)),
    Row("a structure that nobody has", f"{COLLECT} --structure heart",
        ("no segment is called 'heart'", "Liver, spleen")),
    Row("a structure that nobody has beside one that is there",
        f"{COLLECT} --structure Liver --structure sple",
        ("no segment is called 'sple'", "did you mean spleen?")),
    Row("a case to leave out that is not there", f"{COLLECT} --exclude GHOST",
        ("no case is called 'GHOST'", "a, b")),
    Row("a look with a case to leave out that is not there",
        "collect scans --dry-run --exclude GHOST --rename livr=Liver",
        ("--exclude GHOST has no effect", "--rename livr has no effect", "did you mean Liver?"),
        status=0),
    Row("a channel more than there are images", f"{COLLECT} --channel CT --channel PET",
        ("it has 1 images", "the others have 2")),
    Row("a renaming that is none", f"{COLLECT} --rename liver", ("FROM=TO",), status=2),
    Row("a label of zero", f"{COLLECT} --label 0=x", ("above 0",), status=2),
    Row("a data set over another one", "collect scans -o data",
        ("a new or empty folder", "imagesTr, labelsTr")),
    Row("a data set into a file", "collect scans -o model.selfseg",
        ("model.selfseg", "there is something of this name already")),
    Row("a data set where nothing may be written", "collect scans -o locked/out",
        ("right to write",), both(folder("locked"), mode("locked", 0o500)), limit="plain user"),
    Row("a full disk for a data set", COLLECT, ("space",), limit="full disk", leaves=("out*",)),
    Row("a scene of text", "collect s.mrml -o out", ("s.mrml", "the scene cannot be read"),
        written("s.mrml", "scene")),
    Row("a scene that unpacks to gigabytes", "collect s.mrml -o out",
        ("the scene cannot be read", "a document type or entities"),
        written("s.mrml", BOMB)),
    Row("a scene that reads /etc/passwd", "collect s.mrml -o out",
        ("the scene cannot be read", "a document type or entities"),
        written("s.mrml", ENTITY)),
    Row("a scene whose files lie elsewhere", "collect s.mrml -o out", ("no segmentation",),
        written("s.mrml", '<MRML><Volume id="v" name="v" storageNodeRef="s"/>'
                '<VolumeArchetypeStorage id="s" fileName="/etc/passwd"/></MRML>')),
    Row("an empty archive of a scene", "collect s.mrb -o out", ("s.mrb", "it holds no file"),
        _zipped("s.mrb")),
    Row("an archive that leads out", "collect s.mrb -o out",
        ("s.mrb", "it leads out of the folder"),
        _zipped("s.mrb", UP__evil=b"x", scene__s_mrml=b"<MRML/>")),
    Row("an archive that is a bomb", "collect s.mrb -o out", ("s.mrb", "a zip bomb"),
        _zipped("s.mrb", s__a=bytes(2**26))),
    Row("an archive that is text", "collect s.mrb -o out", ("s.mrb", "no zip file"),
        written("s.mrb", "x")),
    Row("a table of nothing", "collect t.csv -o out",
        ("the table does not say which files belong together",), written("t.csv", "")),
    Row("a table in UTF-16", "collect t.csv -o out",
        ("the table does not say which files belong together", "utf-8"),
        written("t.csv", "image,segmentation\na,b\n".encode("utf-16"))),
    Row("a table of files that are gone", "collect t.csv -o out", ("gone.nrrd", "cannot be read"),
        written("t.csv", "image,segmentation\ngone.nrrd,gone.seg.nrrd\n")),
    Row("a collection file of lists", "collect c.json -o out",
        ("c.json", "does not hold what it should"),
        as_json("c.json", {"schema": "selfseg.collection/1", "channels": 7, "cases": [[]]})),
    Row("a collection file of the future", "collect c.json -o out", ("newer selfseg",),
        as_json("c.json", {"schema": "selfseg.collection/9", "channels": [], "cases": []})),
    Row("a collection file that leads out", "collect c.json -o out",
        ("c.json", "does not hold what it should"),
        as_json("c.json", {"schema": "selfseg.collection/1", "channels": ["CT"], "cases": [
            {"case": "../x", "images": [{"channel": "CT", "file": "/etc/passwd", "grid": {
                "shape": [1, 1, 1], "spacing": [1.0] * 3, "origin": [0.0] * 3,
                "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}], "segments": []}]})),
    Row("folders that link to each other", COLLECT, ("2 of 2 cases",),
        both(folder("scans/deep"), linked("scans/deep/up", "../..")), status=0, leaves=("out*",)),
    Row("a scan that is all the same", COLLECT, ("2 of 2 cases",),
        image("scans/a.nrrd", np.zeros((12, 20, 16), np.int16), spacing=(0.7, 0.9, 2.5),
              origin=(-12.5, 31.25, 7.0)), status=0, leaves=("out*",)),
)  # fmt: skip
