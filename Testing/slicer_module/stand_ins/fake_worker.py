"""A warm worker with the real protocol around a computation that is none, for tests.

Its first argument says what to do: label (thresholds the first channel at 1000 within the limit),
flag (likewise, and doubts it), sum (thresholds the sum of all channels), fail, crash (dies while
computing), crash-once (where the file named next is not there yet), wait (until cancelled), deaf
(ignores everything, with a child of its own), slow (takes a second in small steps).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from selfseg.domain.errors import Cancelled, ModelError
from selfseg.domain.events import Notice, Progress, Reporter, StageStarted
from selfseg.serve.lines import bounded_lines
from selfseg.serve.messages import KeptModel, ModelKey, Segment
from selfseg.serve.segmentation import WorkResult
from selfseg.serve.streams import AnswerPipe, take_standard_streams
from selfseg.serve.worker import Worker

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]

Stop = Callable[[], bool]


class FakeSegmenter:
    """Takes the place of `selfseg.serve.segmentation.Segmenter`."""

    def __init__(self, behaviour: str, marker: str) -> None:
        self.behaviour = behaviour
        self.marker = Path(marker)

    def warm_up(self) -> None:
        pass

    def kept(self) -> tuple[KeptModel, ...]:
        return ()

    def unload(self, source: str | None = None) -> int:
        return 0

    def load(self, key: ModelKey, reporter: Reporter, should_stop: Stop) -> WorkResult:
        print(f"loaded {key.source} {key.device}", file=sys.stderr, flush=True)
        return WorkResult()

    def segment(self, request: Segment, reporter: Reporter, should_stop: Stop) -> WorkResult:
        print(f"options {request.mirror} {request.step} {request.model}", file=sys.stderr)
        reporter(StageStarted("predict", 4, "tile"))
        if self.behaviour == "fail":
            raise ModelError("the model is broken", cure="train it again")
        if self.behaviour == "crash":
            os._exit(77)
        if self.behaviour == "crash-once" and not self.marker.exists():
            self.marker.touch()
            os._exit(77)
        if self.behaviour == "wait":
            while not should_stop():
                time.sleep(0.01)
            raise Cancelled("stopped")
        if self.behaviour == "deaf":
            reporter(Notice(f"child {subprocess.Popen(SLEEPER).pid}"))
            time.sleep(60)
        if self.behaviour == "slow":
            for done in range(20):
                reporter(Progress("tiles", done, 20, eta_seconds=(20 - done) * 0.05))
                time.sleep(0.05)
        return self.label(request, reporter)

    def label(self, request: Segment, reporter: Reporter) -> WorkResult:
        images = [np.load(path, mmap_mode="r") for path in request.images]
        for done in range(1, 5):
            reporter(Progress("tiles", done, 4, eta_seconds=4.0 - done))
        voxels = (
            sum(images[1:], images[0].astype(np.float32))
            if self.behaviour == "sum"
            else (images[0])
        )
        labels = (voxels > 1000).astype(np.uint8)
        if request.limit is not None:
            inside = np.zeros_like(labels)
            box = tuple(slice(first, stop) for first, stop in request.limit)
            inside[box] = labels[box]
            labels = inside
        reporter(Notice("thresholded"))
        with open(request.output, "wb") as stream:
            np.save(stream, labels)
        quality = {"flagged": False, "reasons": [], "dice": 0.91}
        if self.behaviour == "flag":
            reason = "bright: predicted Dice 0.62, below 0.70"
            quality = {"flagged": True, "reasons": [reason], "dice": 0.62}
        return WorkResult(paths=(request.output,), provenance={"made by": "fake"}, quality=quality)


def main(behaviour: str, marker: str = "") -> None:
    source, sink = take_standard_streams()
    answers = AnswerPipe(sink, on_broken=lambda: worker.end())
    worker = Worker(
        answers, FakeSegmenter(behaviour, marker), abandon=lambda: os._exit(1), instance="fake"
    )
    worker.run(bounded_lines(lambda size: os.read(source, size)))


if __name__ == "__main__":
    main(*sys.argv[1:])
