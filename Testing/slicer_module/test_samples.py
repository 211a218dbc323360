"""Sample data: what comes with the extension is whole, and nothing is downloaded unasked."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import types
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib import samples

from selfseg.domain.errors import SelfsegError
from slicer_module.windows import module_widget, qt_application

__all__ = ["module_widget", "qt_application"]


class SampleDataLogic:
    """The part of Slicer's class that is used, with its signatures."""

    categories: dict[str, str]
    sources: list[dict[str, Any]]
    archive: bytes

    @classmethod
    def registerCustomSampleDataCategory(cls, category: str, title: str) -> None:
        cls.categories[category] = title

    @classmethod
    def registerCustomSampleDataSource(
        cls,
        category: str = "Custom",
        sampleName: Any = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: Any = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
    ) -> None:
        values = dict(locals())
        del values["cls"]
        cls.sources.append(values)

    def downloadFile(
        self, uri: str, destFolderPath: str, name: str, checksum: str | None = None
    ) -> str:
        algorithm, digest = (checksum or "").split(":")
        path = Path(destFolderPath) / name
        path.write_bytes(self.archive)
        if hashlib.new(algorithm, self.archive).hexdigest() != digest:
            path.unlink()  # without a word, as Slicer's does
        return str(path)


@pytest.fixture
def sample_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[SampleDataLogic]:
    kind = type("SampleDataLogic", (SampleDataLogic,), {"categories": {}, "sources": []})
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = kind
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(samples, "downloads_folder", lambda: tmp_path / "cache" / "downloads")
    return kind


def archive_of_a_data_set(top: str = "Task04_Hippocampus", **more: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        files = {f"{top}/dataset.json": b"{}", f"{top}/imagesTr/._x.nii.gz": b"finder", **more}
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def test_the_files_that_come_along_are_those_registered(
    sample_data: type[SampleDataLogic],
) -> None:
    samples.register_sample_data()
    made_up, hippocampus = sample_data.sources
    assert sample_data.categories == {samples.CATEGORY: "Self-Configuring Segmentation"}
    columns = ("uris", "fileNames", "nodeNames", "checksums", "loadFileTypes")
    assert {len(made_up[column]) for column in columns} == {11}
    for uri, checksum in zip(made_up["uris"], made_up["checksums"], strict=True):
        path = Path(url2pathname(urlparse(uri).path))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == checksum.removeprefix("SHA256:")
    assert sum(path.stat().st_size for path in path.parent.iterdir()) < 2**20
    assert made_up["nodeNames"][:2] == ["training-scan-1", "training-scan-1 segmentation"]
    assert made_up["loadFileTypes"][:2] == ["VolumeFile", "SegmentationFile"]
    assert all(Path(source["thumbnailFileName"]).is_file() for source in sample_data.sources)
    assert hippocampus["uris"].startswith("https://")
    assert hippocampus["checksums"] == f"MD5:{samples.HIPPOCAMPUS_MD5}"


def test_an_older_slicer_without_categories_takes_them_too(
    sample_data: type[SampleDataLogic], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(SampleDataLogic, "registerCustomSampleDataCategory")
    samples.register_sample_data()
    assert len(sample_data.sources) == 2


def test_the_made_up_scans_can_be_loaded(scene: Any) -> None:
    from SelfConfiguringSegmentationLib.paths import resources_folder

    folder = resources_folder() / "SampleData"
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(folder / "training-scan-1.nrrd"))
    assert storage.ReadData(volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(folder / "training-scan-1.seg.nrrd"))
    assert storage.ReadData(node)
    values = slicer.util.arrayFromVolume(volume)
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(index).GetName() for index in range(2)]
    assert names == ["liver", "kidney"]
    for index, (low, high) in enumerate(((80, 130), (140, 190))):
        identifier = segmentation.GetNthSegmentID(index)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0
        assert mask.sum() > 500
        # On the anatomy: its grey values are those of the organ.
        assert low < np.median(values[mask]) < high
    terminology = segmentation.GetNthSegment(0).GetTerminology()
    assert "SCT^10200004^Liver" in terminology


def test_a_download_is_checked_and_unpacked_once(
    sample_data: type[SampleDataLogic], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(slicer.util, "infoDisplay", told.append)
    sample_data.archive = archive_of_a_data_set()
    with pytest.raises(SelfsegError, match="checksum is wrong"):
        samples.download_hippocampus()
    assert samples.downloads_size() == 0
    digest = hashlib.md5(sample_data.archive, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(samples, "HIPPOCAMPUS_MD5", digest)
    folder = samples.download_hippocampus()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["dataset.json"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert str(folder) in told[0]
    sample_data.archive = b""
    assert samples.download_hippocampus() == folder
    samples.delete_downloads()
    assert not folder.exists()
    samples.delete_downloads()


def test_an_archive_that_reaches_out_of_its_folder_is_refused(
    sample_data: type[SampleDataLogic], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_data.archive = archive_of_a_data_set(**{"../../outside.txt": b"x"})
    digest = hashlib.md5(sample_data.archive, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(samples, "HIPPOCAMPUS_MD5", digest)
    with pytest.raises(SelfsegError, match="cannot be unpacked"):
        samples.download_hippocampus()
    assert not (samples.downloads_folder() / samples.HIPPOCAMPUS_FOLDER).exists()
    assert not (samples.downloads_folder().parent / "outside.txt").exists()


def test_registration_waits_until_slicer_has_started(
    sample_data: type[SampleDataLogic], qt_application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentation

    connected: dict[str, Any] = {}
    application = types.SimpleNamespace(connect=connected.__setitem__)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    SelfConfiguringSegmentation(types.SimpleNamespace())
    assert sample_data.sources == []
    connected["startupCompleted()"]()
    assert len(sample_data.sources) == 2


def test_downloads_are_shown_and_deleted_after_a_question(
    module_widget: Any, sample_data: type[SampleDataLogic], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The panel's own names, which it imported.
    from SelfConfiguringSegmentationLib.setup import panel

    monkeypatch.setattr(panel, "downloads_folder", samples.downloads_folder)
    folder = samples.downloads_folder() / "Task04_Hippocampus"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_bytes(b"x" * 3 * 2**20)
    ui = module_widget.setup_panel._ui
    module_widget.enter()
    assert ui.downloadsLabel.text == f"3 MB in {folder.parent}"
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    ui.deleteButton.click()
    assert folder.exists()
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text: str(folder.parent) in text
    )
    ui.deleteButton.click()
    assert not folder.exists()
    assert ui.downloadsLabel.text == "none"
    assert ui.deleteButton.enabled is False
