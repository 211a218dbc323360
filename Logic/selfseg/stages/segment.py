"""From new images to label maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..domain.case import PreprocessedCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ModelError
from ..domain.events import (
    CaseFinished,
    Event,
    Notice,
    Progress,
    Reporter,
    StageFinished,
    StageStarted,
    silent,
)
from ..domain.plan import Plan
from ..infer.engine import Backend, predict_logits
from ..infer.restore import restore
from ..io.images import read_case, write_label_map
from ..io.project import Project
from ..io.weights import read_weights
from ..preprocess.case import preprocess_case


def load_backend(
    project: Project,
    plan: Plan,
    configuration: str,
    folds: Sequence[str],
    checkpoint: str,
    device: str,
) -> Backend:
    """The trained networks of some folds, ready to predict; a fresh one without folds.

    Raises:
        ModelError: a fold has no such weights.
    """
    from ..infer.torch_backend import TorchBackend

    weights = []
    for fold in folds:
        run_folder = project.run_folder(plan.name, configuration, fold)
        path = run_folder / f"weights_{checkpoint}.safetensors"
        if not path.is_file():
            raise ModelError(
                f"fold {fold} of {configuration} has no {checkpoint} weights",
                expected=path.name,
                found="no such file",
                cure="train it with `selfseg run`, or choose other folds",
                path=path.parent,
            )
        weights.append(read_weights(path)[0])
    return TorchBackend(
        plan.configuration(configuration).network,
        plan.input_channels(configuration),
        plan.description.labels.head_count,
        weights,
        device=device,
        autocast=plan.autocast,
    )


def segment_case(
    case: PreprocessedCase,
    backend: Backend,
    plan: Plan,
    configuration: str,
    *,
    mirror: bool = True,
    step: float = 0.5,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> NDArray[Any]:
    """The label map (Z, Y, X) of one preprocessed case on its native grid.

    Raises:
        Cancelled: `should_stop` said so.
    """
    logits = predict_logits(
        case,
        backend,
        plan.configuration(configuration),
        head_count=plan.description.labels.head_count,
        step=step,
        mirror=mirror,
        reporter=reporter,
        should_stop=should_stop,
    )
    return restore(logits, case.record, plan.description.labels)


@dataclass(frozen=True)
class CaseProgress:
    """Turns the tiles of one case into progress over all cases of a stage."""

    stage: str
    done: int
    total: int
    started: float
    reporter: Reporter

    def __call__(self, event: Event) -> None:
        """Passes the event on, counted in cases where it counts tiles."""
        if not isinstance(event, Progress):
            self.reporter(event)
            return
        over = self.done + event.done / max(event.total, 1)
        left = (time.monotonic() - self.started) / over * (self.total - over)
        self.reporter(Progress(self.stage, over, self.total, left, event.detail))


def choose_trained(
    project: Project, reporter: Reporter, plan_name: str | None, configuration: str | None
) -> tuple[Plan, str, tuple[str, ...]]:
    """What to predict with where nothing was selected: all folds of the first configuration.

    Raises:
        ModelError: the project holds no trained model.
    """
    for name in project.plan_names if plan_name is None else (plan_name,):
        plan = project.read_plan(name)
        for candidate in plan.configurations if configuration is None else (configuration,):
            folds = project.trained_folds(name, candidate)
            if folds:
                reporter(
                    Notice(
                        f"no selection was made in this project: using plan {name}, "
                        f"{candidate}, fold{'s' if len(folds) > 1 else ''} {', '.join(folds)}"
                    )
                )
                return plan, candidate, folds
    raise ModelError(
        "there is no trained model here",
        expected="a project with at least one finished training",
        found=", ".join(project.plan_names) or "no plan",
        cure="train one with `selfseg run DATASET -p PROJECT`",
        path=project.folder,
    )


def segment_files(
    cases: Sequence[CaseFiles],
    backend: Backend,
    plan: Plan,
    configuration: str,
    output: Path,
    *,
    ending: str,
    mirror: bool,
    step: float,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> tuple[Path, ...]:
    """Reads, preprocesses, segments and writes one case after the other."""
    start = time.monotonic()
    written = []
    reporter(StageStarted("predict", total=len(cases), unit="case"))
    for done, files in enumerate(cases):
        case_start = time.monotonic()
        raw = read_case(files, None, with_labels=False)
        _check_channels(raw.channels.shape[0], plan, files)
        case = preprocess_case(raw, plan, configuration)
        labels = segment_case(
            case,
            backend,
            plan,
            configuration,
            mirror=mirror,
            step=step,
            reporter=CaseProgress("predict", done, len(cases), start, reporter),
            should_stop=should_stop,
        )
        path = output / f"{files.identifier}{ending}"
        write_label_map(path, labels, raw.geometry)
        written.append(path)
        reporter(CaseFinished(files.identifier, time.monotonic() - case_start, str(path)))
    reporter(StageFinished("predict", seconds=time.monotonic() - start))
    return tuple(written)


def _check_channels(found: int, plan: Plan, files: CaseFiles) -> None:
    names = plan.description.channel_names
    if found != len(names):
        raise ModelError(
            f"case {files.identifier} has another number of channels than the model",
            expected=f"{len(names)}: {', '.join(names)}",
            found=f"{found} in {', '.join(p.name for p in files.images)}",
            cure="give one file per channel, named <case>_0000, <case>_0001, ...",
        )
