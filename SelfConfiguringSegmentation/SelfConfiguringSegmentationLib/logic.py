"""What scripts and other modules call: documented in docs/reference/slicer-api.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .paths import make_selfseg_importable


class SelfConfiguringSegmentationLogic(ScriptedLoadableModuleLogic):
    """What scripts and other modules call.

    Args:
        startProcess: starts `selfseg` in a child process; Slicer's own Python by default.
        launchProcess: starts a training so that it outlives Slicer; likewise.
        segmenting: a `SegmentLogic`: the warm worker and the list of models.
    """

    def __init__(
        self, startProcess: Any = None, launchProcess: Any = None, segmenting: Any = None
    ) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        make_selfseg_importable()
        from .segment.logic import SegmentLogic
        from .session import Signal

        self._startProcess = startProcess
        self._launchProcess = launchProcess
        self.dependenciesChanged: Any = Signal()
        self.segmenting = segmenting or SegmentLogic(start=startProcess)

    def segment(
        self,
        volumeNode: Any,
        model: Any,
        *,
        settings: Any = None,
        segmentationNode: Any = None,
        addToSegmentation: bool = False,
        roiNode: Any = None,
        allFrames: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Segments a volume and waits for the result.

        Args:
            volumeNode: the volume; a list of volumes for a model with several channels.
            model: name of a model of the library ("liver-ct", "liver-ct@1.0"), path of a project
                or model bundle, or one of `models()`.
            settings: a `SegmentationSettings`; its defaults otherwise.
            segmentationNode: its segments are replaced; a new node is made otherwise.
            addToSegmentation: keeps the segments that it has.
            roiNode: a markups ROI; the rest of the image is not segmented.
            allFrames: of the sequence that the volume shows; gives the proxy of a sequence of
                segmentations that plays along.
            onEvent: takes progress events (dicts, see `selfseg.domain.events`).
            onLog: takes other lines of the child process.

        Returns:
            The segmentation node: one segment per structure of the model.

        Raises:
            SelfsegError: with cause and cure; the scene is then as it was before.
        """
        run = self.startSegmentation(
            volumeNode,
            model,
            settings=settings,
            segmentationNode=segmentationNode,
            addToSegmentation=addToSegmentation,
            roiNode=roiNode,
            allFrames=allFrames,
            onEvent=onEvent,
            onLog=onLog,
        )
        return self._waitFor(run)

    def startSegmentation(
        self,
        volumeNode: Any,
        model: Any,
        *,
        settings: Any = None,
        segmentationNode: Any = None,
        addToSegmentation: bool = False,
        roiNode: Any = None,
        allFrames: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Starts a segmentation and returns at once; arguments as for `segment`.

        Returns:
            A `SegmentationRun`: call `poll()` from a timer until it is True, then `finish()`.
        """
        return self.segmenting.start_segmentation(
            volumeNode,
            model,
            settings=settings,
            all_frames=allFrames,
            segmentation_node=segmentationNode,
            add=addToSegmentation,
            roi_node=roiNode,
            on_event=onEvent,
            on_log=onLog,
        )

    def models(self) -> Any:
        """The models that can be used: a tuple of `ModelEntry`, damaged ones too."""
        return self.segmenting.models.entries()

    def importModel(
        self,
        source: str | Path,
        *,
        replace: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Takes a model into the library, and waits for it.

        Args:
            source: a bundle, a project, or a trained nnU-Net v2 model (folder or zip).
            replace: a model of the same name and version.
            onEvent: see `segment`.
            onLog: see `segment`.

        Returns:
            The `ModelEntry`; its `key` is what `segment` takes.

        Raises:
            SelfsegError: with cause and cure; the library is then as it was before.
        """
        return self._waitFor(
            self.startImport(source, replace=replace, onEvent=onEvent, onLog=onLog)
        )

    def startImport(
        self,
        source: str | Path,
        *,
        replace: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Starts an import and returns at once; arguments as for `importModel`.

        Returns:
            An `ImportRun`: call `poll()` from a timer until it is True, then `finish()`.
        """
        return self.segmenting.start_import(source, replace=replace, on_event=onEvent, on_log=onLog)

    def close(self) -> None:
        """Ends the warm worker; what is used later starts a new one."""
        self.segmenting.close()

    def _starter(self) -> Any:
        from .jobs import slicer_starter

        return self._startProcess or slicer_starter()

    def _waitFor(self, run: Any) -> Any:
        application = getattr(slicer, "app", None)
        run.wait(application.processEvents if application is not None else lambda: None)
        return run.finish()

    def segmentFolder(self, folder: Any, model: Any, output: Any, **options: Any) -> Any:
        """Segments a folder of scans, and waits for the last one.

        Args:
            folder: of images and DICOM series; or a list of files and folders.
            model: a path, or the name of a model in the library.
            output: folder for the label maps, predictions.json and volumes.csv.
            options: `settings` (a `BatchSettings`), `onEvent`, `onLog`.

        Returns:
            A `BatchResult`: what was segmented, and by case why others were not.

        Raises:
            SelfsegError: nothing could be segmented.
        """
        return self._waitFor(self.startSegmentFolder(folder, model, output, **options))

    def startSegmentFolder(self, folder: Any, model: Any, output: Any, **options: Any) -> Any:
        """As `segmentFolder`, in the background: `poll()` until it is True, then `finish()`."""
        from .batch.run import start_batch

        options.setdefault("library", self.segmenting.models.library)
        return start_batch(folder, model, output, self._starter(), **options)

    def exportSegmentation(
        self, segmentationNode: Any, path: Any, format: str = "", **options: Any
    ) -> Any:
        """Writes a segmentation as files of another program, and waits for them.

        Args:
            segmentationNode: what to write.
            path: a folder, or a file whose ending says the format.
            format: "seg-nrrd", "nifti", "nrrd", "masks", "stl", "obj", "glb", "dicom-seg" or
                "report"; needed for a folder.
            options: `settings` (an `ExportSettings`), `onEvent`, `onLog`.

        Returns:
            The files, or the folder of them.

        Raises:
            SelfsegError: with cause and cure.
        """
        return self._waitFor(
            self.startExportSegmentation(segmentationNode, path, format, **options)
        )

    def startExportSegmentation(
        self, segmentationNode: Any, path: Any, format: str = "", **options: Any
    ) -> Any:
        """As `exportSegmentation`, in the background."""
        from .export.run import start_scene_export

        return start_scene_export(segmentationNode, path, format, self._starter(), **options)

    def exportReviewed(self, folder: Any, output: Any, format: str = "", **options: Any) -> Any:
        """Writes every approved or corrected case of a reviewed folder; see `exportSegmentation`.

        Returns:
            The files, or one folder per case.
        """
        return self._waitFor(self.startExportReviewed(folder, output, format, **options))

    def startExportReviewed(
        self, folder: Any, output: Any, format: str = "", **options: Any
    ) -> Any:
        """As `exportReviewed`, in the background."""
        from .export.run import start_folder_export

        return start_folder_export(folder, output, format, self._starter(), **options)

    def train(
        self,
        collection: Any,
        folder: str | Path,
        *,
        name: str = "",
        timeBudget: float | None = None,
        skipProblems: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
        **details: Any,
    ) -> Any:
        """Trains a model of segmented scans, and waits until it is in the library.

        Args:
            collection: None for the open scene, a subject hierarchy item, a file or folder
                (see docs/reference/collection-file.md), or a list of these.
            folder: everything about the training is kept here; the same call goes on where
                an earlier one stopped.
            name: of the model; the folder's otherwise.
            timeBudget: seconds for the training; None trains as published (days).
            skipProblems: leaves cases with problems out; they are an error otherwise.
            onEvent: takes progress events (dicts, see `selfseg.domain.events`).
            onLog: takes lines for people.
            details: `device`, `options` (further words of `selfseg run`), `library`, and what
                `selfseg collect` asks: `channels`, `missing`, `structures`, `renames`, `excluded`.

        Returns:
            A `FinishedModel`: name, version, folder, Dice on unseen cases.

        Raises:
            SelfsegError: with cause and cure.
        """
        run = self.startTraining(
            collection,
            folder,
            name=name,
            timeBudget=timeBudget,
            skipProblems=skipProblems,
            onEvent=onEvent,
            onLog=onLog,
            **details,
        )
        return self._waitFor(run)

    def startTraining(
        self,
        collection: Any,
        folder: str | Path,
        *,
        name: str = "",
        timeBudget: float | None = None,
        skipProblems: bool = False,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
        **details: Any,
    ) -> Any:
        """Starts a training and returns at once; arguments as for `train`.

        Returns:
            A `TrainRun`: call `poll()` from a timer until it is True, then `finish()`. Once it
            trains, it goes on when Slicer is closed.
        """
        from .train.logic import start_training

        return start_training(
            self,
            collection,
            Path(folder),
            name=name,
            seconds=timeBudget,
            skip_problems=skipProblems,
            on_event=onEvent,
            on_log=onLog,
            **details,
        )

    def missingDependencies(self) -> Any:
        """What the child process needs and is not installed; starts and imports nothing.

        Returns:
            A `Missing`: false where everything is there; its `text` is for the user.

        Raises:
            RuntimeError: this Slicer is too old to install packages.
        """
        from .dependencies import missing

        return missing()

    def installDependencies(self) -> None:
        """Makes the child process able to run: asks the user first where packages are missing.

        Where a wheel folder is set (box Installation), everything comes from it.

        Raises:
            RuntimeError: the user declined, it failed, or the PyTorch extension is missing.
        """
        from SelfConfiguringSegmentationLib import settings

        from .dependencies import install_dependencies

        if self.missingDependencies():
            install_dependencies(settings.read(settings.WHEEL_FOLDER, ""))
            self.dependenciesChanged.tell(None)
