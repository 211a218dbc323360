"""The trainings that this user has started, so that they are found again after a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SCHEMA = "selfseg.slicer-trainings/1"

MOST = 50
"""Older ones are forgotten; their folders stay."""


@dataclass(frozen=True)
class KnownTraining:
    """A folder, and whether the user has been told of its finished model."""

    folder: Path
    told: bool = False


class KnownTrainings:
    """A small JSON file in the user's settings folder.

    Args:
        path: the file; a damaged one counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[KnownTraining]:
        """The trainings whose folders still exist, the latest first."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            entries = content["trainings"] if content["schema"] == SCHEMA else []
            found = [KnownTraining(Path(e["folder"]), bool(e.get("told"))) for e in entries]
        except (OSError, ValueError, LookupError, TypeError, RecursionError, AttributeError):
            return []
        return [known for known in found if (known.folder / "training.json").is_file()]

    def remember(self, folder: Path, *, told: bool = False) -> None:
        """Puts a training first."""
        others = [known for known in self.read() if known.folder != folder]
        self._write([KnownTraining(folder, told), *others][:MOST])

    def forget(self, folder: Path) -> None:
        """Takes a training off the list; its folder stays."""
        self._write([known for known in self.read() if known.folder != folder])

    def _write(self, trainings: list[KnownTraining]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"folder": str(known.folder), "told": known.told} for known in trainings]
        part = self.path.with_suffix(".part")
        part.write_text(
            json.dumps({"schema": SCHEMA, "trainings": entries}, indent=1), encoding="utf-8"
        )
        part.replace(self.path)


def default_path() -> Path:
    """Beside the application's own settings."""
    import slicer

    application = getattr(slicer, "app", None)
    if application is not None:
        settings = Path(application.slicerUserSettingsFilePath)
    else:
        import qt

        settings = Path(qt.QSettings().fileName())
    return settings.parent / "SelfConfiguringSegmentation" / "trainings.json"
