"""The verb `model show`: what a model is, wherever it lies."""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import StopRequest
from ..domain.events import Reporter

if TYPE_CHECKING:
    from ..domain.bundle import ModelBundle
    from ..registry.library import LibraryEntry


@dataclass(frozen=True)
class _Model:
    """A model, where it lies, and its size where it is packed for handing on."""

    bundle: ModelBundle
    place: Path
    size_bytes: int | None


def show_model(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Prints a model's card."""
    model = _found(options, reporter)
    if options.json:
        print(json.dumps(_as_json(model), indent=2))
        return 0
    bundle, card = model.bundle, model.bundle.card
    size = "" if model.size_bytes is None else f"{model.size_bytes / 2**20:.1f} MB"
    lines = [
        (card.key, card.summary),
        ("file" if model.place.is_file() else "folder", str(model.place)),
        ("size", size),
        ("licence", licence_of(bundle)),
        ("authors", ", ".join(card.authors)),
        ("citation", card.citation),
        ("created", card.created),
        ("channels", ", ".join(bundle.description.channel_names)),
        *(("votes", f"{m.configuration}, fold {', '.join(m.folds)}") for m in bundle.members),
        ("predicted quality", _predicted_quality(bundle)),
        *((f"  {key}", text) for key, text in card.provenance.items()),
    ]
    for name, text in lines:
        if text or name == card.key:
            print(f"{name}: {text}" if text else name)
    means = (bundle.scores or {}).get("mean", {})
    for label, look in zip(bundle.description.labels.foreground, bundle.appearances, strict=True):
        dice = means.get(label.key, {}).get("Dice")
        code = f"  {look.type}" if look.type else ""
        side = f", {look.modifier.meaning}" if look.modifier else ""
        score = "" if dice is None else f"  Dice {dice:.3f} on unseen cases"
        print(f"  {label.name}{code}{side}{score}")
    return 0


def _found(options: argparse.Namespace, reporter: Reporter) -> _Model:
    """What exists as a path is taken as one, else it is a name in the library."""
    from ..io.bundle_files import BUNDLE_ENDING, install_bundle, read_bundle
    from ..io.bundle_layout import MANIFEST_FILE
    from ..io.library_folder import default_library
    from ..io.project import PROJECT_FILE, Project
    from ..registry.library import Library
    from ..stages.bundle import CardOptions, bundle_from_project

    path = Path(options.model)
    if (path / PROJECT_FILE).is_file():
        bundle, _ = bundle_from_project(Project.open(path), CardOptions(), reporter=reporter)
        return _Model(bundle, path, None)
    if (path / MANIFEST_FILE).is_file():
        stored = read_bundle(path)
        return _Model(stored.bundle, path, stored.size_bytes)
    if path.is_file() and path.suffix.lower() == BUNDLE_ENDING:
        with tempfile.TemporaryDirectory(prefix="selfseg-") as folder:
            stored = install_bundle(path, Path(folder) / "model")
            return _Model(stored.bundle, path, stored.size_bytes)
    entry = Library(options.library or default_library()).find(options.model)
    assert entry.stored is not None  # noqa: S101 - `find` gives none that is damaged
    return _Model(entry.stored.bundle, entry.folder, entry.stored.size_bytes)


def licence_of(bundle: ModelBundle) -> str:
    """The licence of the weights, in a word or two."""
    return bundle.card.licence or "licence not stated"


def _predicted_quality(bundle: ModelBundle) -> str:
    """Whether the quality of new segmentations is predicted, and how far to trust that."""
    from ..quality.ranking import track_record

    if bundle.quality is None:
        return "no"
    record = track_record(bundle.quality)
    if record.note or record.dice.spearman is None:
        return f"yes; {record.note}"
    return (
        f"yes; ranks held-out cases with a correlation of {record.dice.spearman:.2f} "
        f"(95% interval {record.dice.low:.2f} to {record.dice.high:.2f})"
    )


def entry_as_json(entry: LibraryEntry) -> dict[str, Any]:
    """A model of the library as plain values; of a damaged one only what is wrong."""
    if entry.stored is not None:
        return _as_json(_Model(entry.stored.bundle, entry.folder, entry.stored.size_bytes))
    return {
        "key": entry.key,
        "name": entry.name,
        "version": entry.version,
        "folder": str(entry.folder),
        "fault": None if entry.fault is None else str(entry.fault),
    }


def _as_json(model: _Model) -> dict[str, Any]:
    bundle, card = model.bundle, model.bundle.card
    means = (bundle.scores or {}).get("mean", {})
    return {
        "key": card.key,
        "name": card.name,
        "version": card.version,
        "folder": str(model.place),
        "fault": None,
        "size_bytes": model.size_bytes,
        "summary": card.summary,
        "licence": card.licence,
        "citation": card.citation,
        "authors": list(card.authors),
        "created": card.created,
        "provenance": dict(card.provenance),
        "channels": list(bundle.description.channel_names),
        "members": [
            {"plan": m.plan, "configuration": m.configuration, "folds": list(m.folds)}
            for m in bundle.members
        ],
        "structures": [
            {
                "name": label.name,
                "values": list(label.values),
                "colour": list(look.colour),
                "codes": [
                    None if c is None else str(c) for c in (look.category, look.type, look.modifier)
                ],
                "dice": means.get(label.key, {}).get("Dice"),
            }
            for label, look in zip(
                bundle.description.labels.foreground, bundle.appearances, strict=True
            )
        ],
    }
