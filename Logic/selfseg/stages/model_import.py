"""What `selfseg model import` takes: an explicit list of forms, each with its own importer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..domain.errors import ModelError, UsageError
from ..domain.events import Reporter, silent
from ..io.bundle_files import BUNDLE_ENDING
from ..io.bundle_layout import MANIFEST_FILE
from ..io.project import PROJECT_FILE, Project
from ..registry.library import Library, LibraryEntry
from ..registry.nnunet_choice import NnunetOptions
from ..registry.nnunet_import import nnunet_model
from ..registry.nnunet_layout import is_nnunet
from .bundle import CardOptions, ModelChoice, bundle_from_project


@dataclass(frozen=True)
class ImportOptions:
    """How a model comes into the library.

    Args:
        card: name, version and so on, where the source does not say them itself.
        choice: which networks, where the source holds more than a model.
        licence_text: the licence in full.
        report: a page to put beside the weights.
        replace: a model of the same name and version.
        standard_network: trust that a trainer of nnU-Net which is not known trains the
            standard network.
    """

    card: CardOptions = field(default_factory=CardOptions)
    choice: ModelChoice = field(default_factory=ModelChoice)
    licence_text: str = ""
    report: Path | None = None
    replace: bool = False
    standard_network: bool = False


@dataclass(frozen=True)
class Importer:
    """One form of model.

    Args:
        form: what it is called in messages.
        recognises: whether a file or folder is of this form; reads no more than it must.
        take: puts it into the library.
    """

    form: str
    recognises: Callable[[Path], bool]
    take: Callable[[Library, Path, ImportOptions, Reporter], LibraryEntry]


def import_model(
    library: Library, source: Path, options: ImportOptions, *, reporter: Reporter = silent
) -> LibraryEntry:
    """Takes a model of any known form into the library.

    Raises:
        ModelError: it is of no known form, or is refused; the library is as it was.
        UsageError: an option does not go with this form.
    """
    source = Path(source)
    for importer in IMPORTERS:
        if importer.recognises(source):
            return importer.take(library, source, options, reporter)
    raise ModelError(
        "this is no model that can be imported",
        expected="one of: " + "; ".join(importer.form for importer in IMPORTERS),
        found="a folder" if source.is_dir() else "a file" if source.exists() else "nothing",
        cure="check the path",
        path=source,
    )


def _is_bundle(source: Path) -> bool:
    if source.is_dir():
        return (source / MANIFEST_FILE).is_file()
    return source.is_file() and source.suffix.lower() == BUNDLE_ENDING


def _take_bundle(
    library: Library, source: Path, options: ImportOptions, reporter: Reporter
) -> LibraryEntry:
    if options != ImportOptions(replace=options.replace):
        raise UsageError(
            "a model bundle says itself what it is called and what is in it",
            expected="no other option than --library and --replace",
            found="one of --name, --version, --licence, ... or -c, -f, --plan",
            cure="leave them out",
        )
    return library.install(source, replace=options.replace)


def _is_project(source: Path) -> bool:
    return (source / PROJECT_FILE).is_file()


def _take_project(
    library: Library, source: Path, options: ImportOptions, reporter: Reporter
) -> LibraryEntry:
    bundle, weights = bundle_from_project(
        Project.open(source), options.card, options.choice, reporter=reporter
    )
    return library.add(
        bundle,
        weights,
        licence_text=options.licence_text,
        report=options.report,
        replace=options.replace,
    )


def _take_nnunet(
    library: Library, source: Path, options: ImportOptions, reporter: Reporter
) -> LibraryEntry:
    card, choice = options.card, options.choice
    if choice.plan is not None:
        raise UsageError(
            "an nnU-Net model's plan is chosen with its folder",
            expected="no --plan",
            found=choice.plan,
            cure="use -c TRAINER__PLANS__CONFIGURATION",
        )
    wanted = NnunetOptions(
        choice.configurations,
        choice.folds,
        choice.checkpoint or "final",
        options.standard_network,
        card.name or "",
        card.version or "1",
        card.summary,
        card.licence,
        card.citation,
        card.authors,
    )
    with nnunet_model(source, options=wanted, reporter=reporter, scratch=library.folder) as model:
        bundle, weights = model
        return library.add(
            bundle,
            weights,
            licence_text=options.licence_text,
            report=options.report,
            replace=options.replace,
        )


IMPORTERS: tuple[Importer, ...] = (
    Importer(f"a model bundle (a folder with {MANIFEST_FILE}, or a {BUNDLE_ENDING} file)",
             _is_bundle, _take_bundle),
    Importer(f"a project with a finished training (a folder with {PROJECT_FILE})",
             _is_project, _take_project),
    Importer("a trained nnU-Net v2 model (folder or zip file)", is_nnunet, _take_nnunet),
)  # fmt: skip
