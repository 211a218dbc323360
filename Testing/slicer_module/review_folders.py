"""Folders of predictions in exactly the form that `selfseg predict` writes, without predicting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from selfseg.domain.labels import Label, LabelScheme
from selfseg.io.digests import digest_of
from selfseg.quality.judgement import CaseQuality, StructureQuality
from selfseg.stages.predictions import FileState, Prediction, Predictions

SCHEME = LabelScheme(
    (Label("liver", (1,), (200, 100, 50), "SCT^10200004^Liver"), Label("tumour", (5,)))
)
REGIONS = LabelScheme(
    (Label("whole tumour", (1, 2, 3)), Label("core", (2, 3)), Label("enhancing", (3,))),
    regions_class_order=(1, 2, 3),
)
SHAPE = (10, 14, 12)
DIRECTION = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)
"""Tilted: a flip or a swap of axes would show."""

DICE: Mapping[str, float] = {"case_a": 0.91, "case_b": 0.55, "case_c": 0.78}


def label_map(seed: int, values: tuple[int, ...] = (1, 5)) -> np.ndarray:
    """Boxes of every value, another one for each seed."""
    labels = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(values):
        start = 1 + (seed + 2 * index) % 4
        labels[start : start + 4 - index, 2 + index : 9, 3 : 7 + seed % 3] = value
    return labels


def write_image(path: Path, voxels: np.ndarray, spacing: float = 1.5) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.7, 0.9, spacing))
    image.SetOrigin((12.5, -31.25, 7.0))
    image.SetDirection(DIRECTION)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_predictions(
    folder: Path,
    dice: Mapping[str, float] = DICE,
    *,
    scheme: LabelScheme = SCHEME,
    channels: int = 1,
) -> Path:
    """Label maps, images beside them in `scans/`, and predictions.json."""
    output, scans = folder / "predictions", folder / "scans"
    output.mkdir(parents=True)
    notes = Predictions(output)
    notes.labels = scheme
    for seed, (name, value) in enumerate(sorted(dice.items())):
        voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
        images = [
            write_image(scans / f"{name}_{channel:04d}.nii.gz", voxels + channel)
            for channel in range(channels)
        ]
        path = write_image(output / f"{name}.nii.gz", label_map(seed, scheme.values))
        last = scheme.foreground[-1].name
        reasons = (f"predicted Dice {value:.2f}, below 0.70",) if value < 0.7 else ()
        structures = {
            label.name: StructureQuality(value if label.name == last else 0.95, 3.0 + seed)
            for label in scheme.foreground
        }
        structures[last] = StructureQuality(value, 3.0 + seed, None, bool(reasons), reasons)
        notes.cases[name] = Prediction(
            path.name,
            digest_of(path),
            tuple(FileState(image.name, 1, 2, str(image)) for image in images),
            {"model": "liver-ct"},
            "2026-01-01T00:00:00+00:00",
            1.0,
            quality=CaseQuality(
                value,
                3.0 + seed,
                bool(reasons),
                tuple(f"{last}: {reason}" for reason in reasons),
                True,
                "",
                structures,
            ),
        )
    notes.write()
    return output
