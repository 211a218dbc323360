"""DICOM segmentations of volumes that Slicer loaded from its DICOM database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError
from selfseg.domain.segments import ALGORITHM_NAME_TAG, ALGORITHM_TYPE_TAG, STATUS_TAG, algorithm_of

from ..scene import tag_of

UIDS = "DICOM.instanceUIDs"
REFERENCED = "DICOM.ReferencedInstanceUIDs"

SERIES_NUMBER = "100"


def source_files(volume_node: Any) -> tuple[Path, ...]:
    """The files that a volume was loaded from; none where it was not loaded as DICOM."""
    import slicer

    database = getattr(slicer, "dicomDatabase", None)
    uids = (volume_node.GetAttribute(UIDS) or "").split() if volume_node is not None else []
    if database is None or not uids:
        return ()
    files = [database.fileForInstance(uid) for uid in uids]
    return tuple(Path(file) for file in files) if all(files) else ()


def slicer_exporter(segmentation_node: Any, volume_node: Any) -> Callable[..., Any] | None:
    """Slicer's own exporter, where it can be used; None otherwise.

    It needs a volume out of the DICOM database and a terminology for every segment.
    """
    if not source_files(volume_node):
        return None
    segmentation = segmentation_node.GetSegmentation()
    named = all(
        segmentation.GetNthSegment(index).GetTerminology()
        for index in range(segmentation.GetNumberOfSegments())
    )
    if not named:
        return None
    try:
        from DICOMSegmentationPlugin import DICOMSegmentationExporter
    except ImportError:
        return None
    exporter: Callable[..., Any] = DICOMSegmentationExporter
    return exporter


def export_with_slicer(
    segmentation_node: Any, volume_node: Any, path: Path, exporter: Callable[..., Any]
) -> Path:
    """Writes a DICOM segmentation with Slicer's exporter and adds it to the database.

    Slicer waits until it is done: the exporter is not made to run beside.

    Raises:
        SelfsegError: the exporter's own words.
    """
    import slicer

    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    segmentation_node.SetNodeReferenceID(role, volume_node.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(
        segmentation_node.GetScene()
    )
    item = hierarchy.GetItemByDataNode(segmentation_node) if hierarchy else 0
    if item and not hierarchy.GetItemAttribute(item, REFERENCED):
        hierarchy.SetItemAttribute(item, REFERENCED, volume_node.GetAttribute(UIDS))
    say_who_drew(segmentation_node.GetSegmentation())
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = exporter(segmentation_node)
    try:
        writer.export(
            str(path.parent),
            path.name,
            {"SeriesDescription": path.stem[:64], "SeriesNumber": SERIES_NUMBER},
            skipEmpty=True,
        )
    except Exception as error:
        raise SelfsegError(
            _("Slicer's DICOM exporter failed"),
            expected=_("a segmentation on the grid of its DICOM series"),
            found=str(error),
            cure=_("read the error, or export .seg.nrrd"),
            path=path,
        ) from error
    finally:
        writer.cleanup()
    slicer.dicomDatabase.insert(str(path))
    return path


def say_who_drew(segmentation: Any) -> None:
    """Brings the tags up to date: a program's segment that was edited since is both's."""
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        tags = {
            key: value
            for key in (ALGORITHM_TYPE_TAG, ALGORITHM_NAME_TAG, STATUS_TAG)
            if (value := tag_of(segment, key))
        }
        kind = algorithm_of(tags)
        segment.SetTag(ALGORITHM_TYPE_TAG, kind)
        if kind != "MANUAL" and not tags.get(ALGORITHM_NAME_TAG):
            # The exporter refuses a program's segment without the program's name.
            segment.SetTag(ALGORITHM_NAME_TAG, "SelfConfiguringSegmentation")
