"""Planning from files alone, and plans as files of their own."""

from __future__ import annotations

from pathlib import Path

from ..domain.fingerprint import Fingerprint
from ..domain.plan import Plan, PlannerName
from ..io.json_files import read_json, read_plain_json, write_json, write_plain_json
from ..io.nnunet_json import fingerprint_from_nnunet, plan_to_nnunet, read_description
from ..io.project import FINGERPRINT_SCHEMA, PLAN_SCHEMA
from ..plan.planner import make_plan


def plan_from_files(
    fingerprint: Path,
    dataset_json: Path,
    planner: PlannerName,
    memory_gb: float | None,
    name: str | None,
) -> tuple[Plan, Fingerprint]:
    """Plans from a fingerprint, ours or nnU-Net's, and a dataset.json; needs no images."""
    description = read_description(dataset_json)
    content = read_plain_json(fingerprint)
    if isinstance(content, dict) and "schema" in content:
        measured = read_json(fingerprint, Fingerprint, schema=FINGERPRINT_SCHEMA)
    else:
        measured = fingerprint_from_nnunet(content)
    return make_plan(measured, description, planner, memory_gb, name), measured


def write_plan_file(
    path: Path, plan: Plan, form: str, fingerprint: Fingerprint | None = None
) -> None:
    """Writes a plan in our own form ("selfseg") or nnU-Net's plans.json ("nnunet")."""
    if form == "nnunet":
        write_plain_json(path, plan_to_nnunet(plan, fingerprint))
    else:
        write_json(path, plan, schema=PLAN_SCHEMA)
