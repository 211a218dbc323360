"""The JSON files of a model bundle: all that it says of its model but the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..domain.bundle import ModelBundle
from ..domain.errors import FileFormatError
from ..domain.fingerprint import Fingerprint
from ..domain.plan import Plan
from ..domain.quality import QualityModel
from .bundle_layout import (
    BUNDLE_FILE,
    BUNDLE_SCHEMA,
    FINGERPRINT_FILE,
    LARGEST,
    LARGEST_JSON,
    QUALITY_FILE,
    QUALITY_SCHEMA,
    SCORES_FILE,
    SCORES_SCHEMA,
    BundleFile,
    Manifest,
    ScoresForm,
    plan_file,
)
from .json_files import read_json, write_json
from .member_names import refused
from .project import FINGERPRINT_SCHEMA, PLAN_SCHEMA
from .usable_plan import check_labels, check_usable

T = TypeVar("T")


def read_description(folder: Path, manifest: Manifest) -> ModelBundle:
    """Reads what a bundle says of its model.

    Args:
        folder: of the bundle; its files are those that the manifest lists.
        manifest: of the bundle.

    Raises:
        ModelError: parts that do not belong together.
        FileFormatError: a file is damaged or of another version.
        PlanError, DatasetError: a plan or the labels are not valid.
    """
    file = read_json(
        folder / BUNDLE_FILE, BundleFile, schema=BUNDLE_SCHEMA, max_bytes=LARGEST[BUNDLE_FILE]
    )
    listed = manifest.by_name
    plans: dict[str, Plan] = {}
    wanted = {plan_file(name): name for name in file.plans}
    there = {name for name in listed if name.startswith("plans/")}
    if wanted.keys() != there:
        raise refused(
            folder, "other plans than its description names",
            f"{', '.join(sorted(there)) or 'none'}; named: {', '.join(sorted(wanted)) or 'none'}",
        )  # fmt: skip
    check_labels(file.description.labels, file.description.channel_names)
    for path, name in wanted.items():
        plans[name] = read_json(folder / path, Plan, schema=PLAN_SCHEMA, max_bytes=LARGEST_JSON)
        check_usable(plans[name])
    fingerprint = _read_listed(folder, manifest, FINGERPRINT_FILE, Fingerprint, FINGERPRINT_SCHEMA)
    quality = _read_listed(folder, manifest, QUALITY_FILE, QualityModel, QUALITY_SCHEMA)
    scores = _read_scores(folder / SCORES_FILE) if SCORES_FILE in listed else None
    return ModelBundle(
        file.card,
        file.description,
        plans,
        file.members,
        file.appearances,
        file.postprocessing,
        file.calibration,
        scores,
        fingerprint,
        quality,
    )


def _read_listed(
    folder: Path, manifest: Manifest, name: str, kind: type[T], schema: str
) -> T | None:
    if name not in manifest.by_name:
        return None
    return read_json(folder / name, kind, schema=schema, max_bytes=LARGEST_JSON)


def _read_scores(path: Path) -> dict[str, Any]:
    scores: dict[str, Any] = read_json(path, dict, schema=SCORES_SCHEMA, max_bytes=LARGEST_JSON)
    try:
        msgspec.convert(scores, ScoresForm, strict=True)
    except msgspec.ValidationError as error:
        raise FileFormatError(
            "these are no scores",
            expected="means by structure and metric, as `selfseg evaluate` writes them",
            found=str(error),
            cure="export the model again",
            path=path,
        ) from error
    return scores


def write_description(stage: Path, bundle: ModelBundle) -> None:
    """Writes what a bundle says of its model into the folder that will be the bundle.

    Raises:
        PlanError: a plan that could not be read again.
        ProjectError: a file cannot be written.
    """
    file = BundleFile(
        bundle.card,
        bundle.description,
        tuple(bundle.plans),
        bundle.members,
        bundle.appearances,
        bundle.postprocessing,
        bundle.calibration,
    )
    write_json(stage / BUNDLE_FILE, file, schema=BUNDLE_SCHEMA)
    for name, plan in bundle.plans.items():
        check_usable(plan)
        write_json(stage / plan_file(name), plan, schema=PLAN_SCHEMA)
    if bundle.fingerprint is not None:
        write_json(stage / FINGERPRINT_FILE, bundle.fingerprint, schema=FINGERPRINT_SCHEMA)
    if bundle.scores is not None:
        write_json(stage / SCORES_FILE, bundle.scores, schema=SCORES_SCHEMA)
    if bundle.quality is not None:
        write_json(stage / QUALITY_FILE, bundle.quality, schema=QUALITY_SCHEMA)
