"""Sample data in Slicer's module Sample Data: scans to try everything with.

Two sets: made-up scans that come with the extension (no network), and the hippocampi of the
Medical Segmentation Decathlon, downloaded when their button is pressed and not before.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from .paths import resources_folder

CATEGORY = "SelfConfiguringSegmentation"

MADE_UP = {
    "training-scan-1.nrrd": "513b85c1626fe96bd7b013cfe29e83980f0c304bab4c13b075760e9943893539",
    "training-scan-1.seg.nrrd": "071af364d3af85c91140e6067ecb2d4695ded8d798a494b471b3600825888675",
    "training-scan-2.nrrd": "f18fdbb55fa066ee502be076aa342af69aabcf0bb87b34d71c9bdca2125399a8",
    "training-scan-2.seg.nrrd": "c8cc7d15ffcf08ec6b72bf9691869fdb3abf2d85a4b5b0a5c0c0a05afec18ca0",
    "training-scan-3.nrrd": "f75bf866fabe157481eca9c1852ac893a4e000bcdac9f88dd1960ae418c9e6f0",
    "training-scan-3.seg.nrrd": "5b5b4eb801333c8a81f7b45da9c7ff9ccfc0e2156c122adde231ac2cc2345b1f",
    "training-scan-4.nrrd": "94f9b6e5e960c7ac10292824dbd5856d929ede4061d7c681712347f174c0c105",
    "training-scan-4.seg.nrrd": "20d4cb9c6a19c670265037dec59823c6ef62ac3102093515aed0ece487c35c1b",
    "training-scan-5.nrrd": "13296f5069c36a6603395c1f57e4638544339ea610bc71c3242130f6c2add4c5",
    "training-scan-5.seg.nrrd": "9c911ae6e3036d0ca5ed08d13d3e4dd319c8d694820c1416c29f67316a617987",
    "scan-to-segment.nrrd": "c6e80884d946d2a3648e7c2a094bdb54c24b73bcde5ea0c4620ef57d4caa4429",
}
"""SHA-256 of the files in Resources/SampleData, made by Testing/slicer_module/make_sample_data."""

HIPPOCAMPUS_URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
HIPPOCAMPUS_MD5 = "9d24dba78a72977dbd1d2e110310f31b"
"""Address and checksum as MONAI publishes them (class DecathlonDataset, monai/apps/datasets.py).
No SHA-256 of it is published. The data: A. L. Simpson et al., arXiv:1902.09063, CC BY-SA 4.0."""

HIPPOCAMPUS_FOLDER = "Task04_Hippocampus"


def register_sample_data() -> None:
    """Adds the buttons to Sample Data; called once the application has started."""
    import SampleData

    kind = SampleData.SampleDataLogic
    if hasattr(kind, "registerCustomSampleDataCategory"):  # since April 2026
        kind.registerCustomSampleDataCategory(CATEGORY, title=_("Self-Configuring Segmentation"))
    folder = resources_folder() / "SampleData"
    names = list(MADE_UP)
    segmentation = [name.endswith(".seg.nrrd") for name in names]
    kind.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="MadeUpAbdomens",
        uris=[(folder / name).as_uri() for name in names],
        fileNames=[f"{CATEGORY}-{name}" for name in names],
        nodeNames=[_node_name(name) for name in names],
        checksums=[f"SHA256:{digest}" for digest in MADE_UP.values()],
        loadFileTypes=["SegmentationFile" if yes else "VolumeFile" for yes in segmentation],
        thumbnailFileName=_thumbnail(),
    )
    kind.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName="MSDHippocampus",
        uris=HIPPOCAMPUS_URL,
        fileNames=f"{HIPPOCAMPUS_FOLDER}.tar",
        checksums=f"MD5:{HIPPOCAMPUS_MD5}",
        loadFiles=False,
        customDownloader=download_hippocampus,
        thumbnailFileName=_thumbnail(),
    )


def download_hippocampus(source: Any = None) -> Path:
    """Downloads and unpacks the data set (28 MB), unless it is there already.

    Args:
        source: what Sample Data gives to a downloader of its own; not needed.

    Returns:
        Its folder, which Train and `selfseg` take as a data set.

    Raises:
        SelfsegError: the download failed, what came is not what was published, or the disk is
            full; nothing of it is kept then.
    """
    import SampleData
    import slicer

    folder = downloads_folder() / HIPPOCAMPUS_FOLDER
    if not (folder / "dataset.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        archive = folder.with_suffix(".tar")
        logic = SampleData.SampleDataLogic()
        try:
            logic.downloadFile(
                HIPPOCAMPUS_URL, str(folder.parent), archive.name, f"MD5:{HIPPOCAMPUS_MD5}"
            )
        except ValueError as error:
            raise SelfsegError(
                _("the data set could not be downloaded"),
                expected=_("a connection to {url}").format(url=HIPPOCAMPUS_URL),
                found=str(error),
                cure=_("check the network, and press the button again"),
            ) from error
        # A file whose checksum is wrong is removed without an error.
        if not archive.is_file():
            raise SelfsegError(
                _("the downloaded file is damaged or was changed: its checksum is wrong"),
                expected=f"MD5 {HIPPOCAMPUS_MD5}",
                found=_("another one; the file was removed"),
                cure=_("press the button again; if it stays, tell us"),
                path=archive,
            )
        try:
            _unpack(archive, folder)
        finally:
            archive.unlink()
    slicer.util.infoDisplay(
        _("The data set is in {folder}\nAdd this folder on the page Train.").format(folder=folder)
    )
    return folder


def downloads_folder() -> Path:
    """Where downloads go: a folder of their own in Slicer's cache."""
    import slicer

    cache = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
    return Path(cache) / CATEGORY


def downloads_size() -> int:
    """Bytes on the disk."""
    return sum(path.stat().st_size for path in downloads_folder().rglob("*") if path.is_file())


def delete_downloads() -> None:
    """Removes what was downloaded; it is downloaded again when it is asked for."""
    folder = downloads_folder()
    if folder.exists():
        shutil.rmtree(folder)


def _unpack(archive: Path, folder: Path) -> None:
    """All or nothing: a folder that is there is complete."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as content:
            members = [
                # Finder's own files, which look like images by their names.
                member
                for member in content.getmembers()
                if not PurePosixPath(member.name).name.startswith("._")
            ]
            content.extractall(partial, members, filter="data")
        (partial / folder.name).replace(folder)
    except (tarfile.TarError, OSError) as error:
        raise SelfsegError(
            _("the downloaded data set cannot be unpacked"),
            expected=_("a whole archive, and room for it on the disk"),
            found=str(error),
            cure=_("free some space, and press the button again"),
            path=folder.parent,
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _node_name(file_name: str) -> str:
    stem, kind = file_name.split(".", 1)
    return stem + (" segmentation" if kind == "seg.nrrd" else "")


def _thumbnail() -> str:
    return str(resources_folder() / "Icons" / f"{CATEGORY}.png")
