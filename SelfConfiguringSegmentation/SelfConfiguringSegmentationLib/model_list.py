"""The models that can be chosen: those of the library, and those that were added by their path.

The library is the folder that `selfseg model` works on. Which other models are listed is written
into a file beside them, so that the panel, scripts and the next session see the same list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from selfseg.domain.errors import ModelError, SelfsegError
from selfseg.io.atomic_files import write_bytes_atomically
from selfseg.io.library_folder import MODEL_FOLDER, default_library, version_order

from .models import Model, read_model

PLACES_FILE = "other_models.json"
"""In the library's folder: paths of models that lie elsewhere."""

MAX_BYTES = 2**20


@dataclass(frozen=True)
class ModelEntry:
    """One model of the list; one that cannot be read has no `model` and says what is wrong.

    Args:
        key: name and version in the library; the path of another model.
        path: where it lies.
        model: its description.
        fault: what is wrong with it.
        in_library: whether it is a model of the library.
    """

    key: str
    path: Path
    model: Model | None
    fault: str = ""
    in_library: bool = True

    @property
    def title(self) -> str:
        """What is shown in a list."""
        if self.model is None:
            return f"{self.path.name} (damaged)"
        return self.model.title if self.in_library else f"{self.model.title} ({self.path.name})"


class ModelList:
    """What can be chosen.

    Args:
        library: its folder; made when the first model comes in.
    """

    def __init__(self, library: Path | None = None) -> None:
        self.library = Path(library) if library is not None else default_library()

    def entries(self) -> tuple[ModelEntry, ...]:
        """The library's models by name, the newest version first, then the others as added.

        Another model that is no longer there is left out; a damaged one is listed.
        """
        try:
            folders = [folder for folder in self.library.iterdir() if folder.is_dir()]
        except OSError:
            folders = []
        named = [
            (match, folder) for folder in folders if (match := MODEL_FOLDER.fullmatch(folder.name))
        ]
        named.sort(key=lambda pair: version_order(pair[0]["version"]), reverse=True)
        named.sort(key=lambda pair: pair[0]["name"].lower())
        own = [_entry(folder.name, folder, in_library=True) for _, folder in named]
        others = [
            _entry(str(path), path, in_library=False) for path in self._places() if path.exists()
        ]
        return (*own, *others)

    def find(self, model: str | Path) -> ModelEntry:
        """The model of that path, key or name; by name alone, the newest good version.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        path = Path(model)
        if path.is_absolute() or path.exists():
            read = read_model(path.absolute())
            return ModelEntry(str(path.absolute()), path.absolute(), read, in_library=False)
        entries = self.entries()
        wanted = str(model)
        found = [e for e in entries if wanted in (e.key, e.key.partition("@")[0])]
        found += [e for e in entries if e.model is not None and e.model.name == wanted]
        good = [entry for entry in found if entry.model is not None]
        if good:
            return good[0]
        raise ModelError(
            f"there is no model {wanted!r}" if not found else f"the model {wanted!r} is damaged",
            expected="one of " + ", ".join(entry.key for entry in entries[:20])
            if entries
            else "an imported model",
            found=found[0].fault if found else wanted,
            cure="import it again" if found else "import it, or give the path of a project",
            path=self.library,
        )

    def add(self, path: Path) -> ModelEntry:
        """Lists a model that lies outside the library.

        Raises:
            ModelError: there is no model.
            ProjectError: the list cannot be written.
        """
        path = Path(path).absolute()
        read = read_model(path)
        if path not in (places := self._places()):
            self._write((*places, path))
        return ModelEntry(str(path), path, read, in_library=False)

    def forget(self, path: Path) -> None:
        """Takes a model that was added off the list; nothing is deleted.

        Raises:
            ProjectError: the list cannot be written.
        """
        self._write(tuple(place for place in self._places() if place != Path(path)))

    def _places(self) -> tuple[Path, ...]:
        path = self.library / PLACES_FILE
        try:
            if path.stat().st_size > MAX_BYTES:
                return ()
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            # A list that is lost costs a few clicks, and must not keep the module from opening.
            return ()
        found = raw.get("places", ()) if isinstance(raw, dict) else ()
        return tuple(Path(place) for place in found if isinstance(place, str))

    def _write(self, places: tuple[Path, ...]) -> None:
        text = json.dumps({"places": [str(place) for place in places]}, indent=2)
        write_bytes_atomically(self.library / PLACES_FILE, text.encode("utf-8"))


def _entry(key: str, path: Path, *, in_library: bool) -> ModelEntry:
    try:
        return ModelEntry(key, path, read_model(path), in_library=in_library)
    except SelfsegError as error:
        return ModelEntry(key, path, None, str(error), in_library)
