"""What the module's self-test checks inside Slicer; nothing is installed or downloaded by it."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import unittest
from pathlib import Path
from typing import Any

from .paths import make_selfseg_importable, resources_folder
from .samples import MADE_UP


def segmentation_from_label_map(test: unittest.TestCase) -> None:
    """A label map becomes a segmentation on the grid of its volume."""
    import numpy as np
    import slicer

    make_selfseg_importable()
    from selfseg.domain.labels import LabelScheme

    from .segment.placing import add_segmentation

    labels = np.zeros((6, 8, 10), dtype=np.uint8)
    labels[1:3, 2:4, 3:9] = 2
    volume = slicer.util.addVolumeFromArray(labels.astype(np.int16), np.diag([1, 2, 3, 1]))
    scheme = LabelScheme.from_mapping({"background": 0, "liver": 1, "spleen": 2})
    node = add_segmentation(labels, scheme, volume)
    identifier = node.GetSegmentation().GetSegmentIdBySegmentName("spleen")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
    test.assertEqual(int(mask.sum()), int((labels == 2).sum()))  # noqa: PT009


def sample_data_is_whole(test: unittest.TestCase) -> None:
    """The scans that come with the extension are the published ones."""
    for name, digest in MADE_UP.items():
        found = hashlib.sha256(_sample(name).read_bytes()).hexdigest()
        test.assertEqual(found, digest)  # noqa: PT009


def train_segment_and_close_the_scene(test: unittest.TestCase, logic: Any) -> None:
    """A model trained for seconds finds its structures; a scene closed meanwhile stays empty.

    Args:
        test: takes what was found.
        logic: the module's logic; it is closed at the end.
    """
    if missing := logic.missingDependencies():
        logging.warning("training and segmenting were not tested. %s", missing.text)
        return
    with tempfile.TemporaryDirectory(prefix="selfseg-test-") as folder:
        try:
            _train_and_segment(test, logic, Path(folder))
        finally:
            logic.close()


def _train_and_segment(test: unittest.TestCase, logic: Any, folder: Path) -> None:
    import slicer

    from selfseg.domain.errors import SelfsegError

    scans, dataset, project = (
        resources_folder() / "SampleData",
        folder / "scans",
        folder / "project",
    )
    _run(logic, "collect", scans, "-o", dataset, "--channel", "CT")
    # Not through `logic.train`, which would enter this among the user's own trainings.
    short = ("--epochs", 1, "--iterations", 4, "--workers", 1, "--device", "cpu")
    _run(logic, "run", dataset, "-p", project, "-c", "2d", "-f", 0, *short)
    volume = _load("scan-to-segment.nrrd")
    segmentation = logic.segment(volume, project).GetSegmentation()
    names = [
        segmentation.GetNthSegment(index).GetName()
        for index in range(segmentation.GetNumberOfSegments())
    ]
    test.assertEqual(names, ["liver", "kidney"])  # noqa: PT009
    run = logic.startSegmentation(volume, project)
    slicer.mrmlScene.Clear()
    run.wait()
    test.assertRaises(SelfsegError, run.finish)  # noqa: PT027
    left = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    test.assertEqual(left, 0)  # noqa: PT009


def _run(logic: Any, *words: object) -> None:
    """One verb of selfseg, as the module runs it.

    Raises:
        JobFailed: with the words of the child.
    """
    import slicer

    from .jobs import Job, slicer_starter

    application = getattr(slicer, "app", None)
    job = Job([str(word) for word in words], start=logic._startProcess or slicer_starter())
    try:
        job.wait(while_waiting=application.processEvents if application else lambda: None)
    except BaseException:
        job.end_now()
        raise
    job.raise_on_failure()


def _load(name: str) -> Any:
    import slicer

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(_sample(name)))
    if not storage.ReadData(volume):
        raise OSError(f"{storage.GetFileName()} cannot be read")
    return volume


def _sample(name: str) -> Path:
    return resources_folder() / "SampleData" / name
