"""Networks that find something after a second, so that a whole project can be judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfseg.io.datasets import open_dataset
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network
from selfseg.stages.fold import FoldRun

STEPS = 40


def fit_all_folds(project: Project, configuration: str, folds: str = "01234") -> None:
    """One network learns from all preprocessed cases, a piece of each, and counts as every fold.

    No augmentation, no held-out cases: this is not a training, but what comes after one has
    something to look at.
    """
    plan, dataset = project.read_plan(), open_dataset(project.dataset_folder)
    chosen, labels = plan.configuration(configuration), plan.description.labels
    torch.manual_seed(0)
    network = build_network(chosen.network, plan.input_channels(configuration), labels.head_count)
    run = FoldRun(
        project, dataset, plan, configuration, "0", "cpu", lambda event: None, lambda: False
    )
    images, targets = [], []
    for stored in run.stored([case.identifier for case in dataset.cases]):
        case = stored.load()
        assert case.labels is not None
        image = _sized(case.image, chosen.patch_size)
        target = _sized(np.maximum(case.labels, 0), chosen.patch_size)
        if len(chosen.patch_size) == 2:
            images += list(np.moveaxis(image, 1, 0))
            targets += list(target)
        else:
            images.append(image)
            targets.append(target)
    x = torch.from_numpy(np.stack(images).astype(np.float32))
    y = torch.from_numpy(np.stack(targets).astype(np.int64))
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    counts = torch.bincount(y.ravel(), minlength=labels.head_count).clamp(min=1)
    weights = (counts.max() / counts).sqrt()
    samples = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (8 if len(chosen.patch_size) == 2 else 2,), generator=samples)
        out = network(x[batch])
        logits = out[0] if isinstance(out, list | tuple) else out
        loss = torch.nn.functional.cross_entropy(logits, y[batch], weight=weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = {name: value.numpy() for name, value in network.state_dict().items()}
    for fold in folds:
        folder = project.run_folder(plan.name, configuration, fold)
        write_weights(folder / "weights_final.safetensors", found, {})


def _sized(array: NDArray[Any], size: Sequence[int]) -> NDArray[Any]:
    """The last axes cut or filled up with zeros."""
    before = array.ndim - len(size)
    cut = array[(slice(None),) * before + tuple(slice(0, n) for n in size)]
    missing = [(0, n - m) for n, m in zip(size, cut.shape[before:], strict=True)]
    return np.pad(cut, [(0, 0)] * before + missing)
