"""The verbs `model ...`: the library of trained models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import StopRequest
from ..domain.errors import SelfsegError, UsageError
from ..domain.events import Reporter
from .model_card import entry_as_json, licence_of, show_model

if TYPE_CHECKING:
    from ..registry.library import Library
    from ..stages.model_import import ImportOptions


def add_verbs(parsers: Any, common: argparse.ArgumentParser) -> None:
    """Lets the command line understand `model` and what follows it.

    Args:
        parsers: the verbs, as `ArgumentParser.add_subparsers` returns them.
        common: options of every verb.
    """
    text = "Keep, share and check trained models."
    model = parsers.add_parser("model", help=text, description=text)
    verbs = model.add_subparsers(title="verbs", required=True, metavar="VERB")
    library = argparse.ArgumentParser(add_help=False)
    library.add_argument(
        "--library", type=Path, metavar="DIR", help="folder of the models (default: the user's)"
    )

    def verb(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(
            name, help=text, description=text, parents=[common, library]
        )
        sub.set_defaults(verb=function)
        return sub

    listing = verb("list", list_models, "Name the models of the library, damaged ones too.")
    listing.add_argument("--json", action="store_true", help="for programs")

    show = verb("show", show_model, "Tell what a model is, what it segments and how well.")
    show.add_argument(
        "model", metavar="MODEL", help="NAME, NAME@VERSION, a bundle (file or folder), a project"
    )
    show.add_argument("--json", action="store_true", help="for programs")

    take = verb("import", import_model, "Take a model into the library, checking every byte.")
    take.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a bundle, a project, or a trained nnU-Net v2 model (folder or zip)",
    )
    take.add_argument(
        "--standard-network", action="store_true", help="trust an nnU-Net trainer not known"
    )
    take.add_argument(
        "--replace", action="store_true", help="put it in the place of the same name and version"
    )
    _add_card(take, "what a project or an nnU-Net model does not say itself")

    give = verb("export", export_model, "Write a model as one file to hand on.")
    give.add_argument("model", metavar="MODEL", help="NAME, NAME@VERSION or a project's folder")
    give.add_argument(
        "-o", "--output", type=Path, required=True, help="FILE.selfseg, or a new folder"
    )
    give.add_argument(
        "--onnx", action="store_true", help="as graphs for ONNX Runtime, in a new folder"
    )
    _add_card(give, "from a project")

    remove = verb("remove", remove_model, "Delete a model of the library.")
    remove.add_argument("model", metavar="MODEL", help="NAME or NAME@VERSION")

    verify = verb("verify", verify_models, "Check every byte of a model.")
    verify.add_argument(
        "model", nargs="?", help="NAME, NAME@VERSION, a file or a folder (default: all)"
    )


def list_models(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Prints one line per model."""
    entries = _library(options).entries()
    if options.json:
        print(json.dumps([entry_as_json(entry) for entry in entries], indent=2))
        return 0
    if not entries:
        print(f"no models in {_library(options).folder}")
    for entry in entries:
        if entry.stored is None:
            print(f"{entry.key}  DAMAGED: {entry.fault.what if entry.fault else ''}")
            continue
        bundle = entry.stored.bundle
        names = [label.name for label in bundle.description.labels.foreground]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        size = f"{entry.stored.size_bytes / 2**20:.0f} MB"
        print(f"{entry.key}  {', '.join(names[:4])}{more}; {size}; {licence_of(bundle)}")
    return 0


def import_model(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Takes a model in and prints what it is called now."""
    from ..stages.model_import import import_model as take

    entry = take(
        _library(options),
        options.source,
        _import_options(options, replace=options.replace),
        reporter=reporter,
    )
    print(entry.key)
    return 0


def export_model(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Writes a model of the library or of a project, and prints where."""
    from ..io.bundle_files import write_bundle
    from ..io.project import PROJECT_FILE, Project
    from ..registry.onnx_export import export_onnx, export_stored
    from ..stages.bundle import bundle_from_project
    from ..stages.model_import import ImportOptions

    details = _import_options(options)
    if options.onnx and details.report is not None:
        raise UsageError(
            "a model for ONNX Runtime holds no report",
            expected="--onnx or --report",
            found="both",
            cure="leave one of them out",
        )
    if (Path(options.model) / PROJECT_FILE).is_file():
        bundle, weights = bundle_from_project(
            Project.open(Path(options.model)), details.card, details.choice, reporter=reporter
        )
        licence = details.licence_text
        if options.onnx:
            export_onnx(options.output, bundle, weights, licence_text=licence, reporter=reporter)
        else:
            write_bundle(
                options.output, bundle, weights, licence_text=licence, report=details.report
            )
    elif details != ImportOptions():
        raise UsageError(
            "the model's card was written when it was made",
            expected="no other option than --library and -o",
            found="one of --name, --version, --licence, ... or -c, -f, --plan",
            cure="leave them out, or export from the project",
        )
    elif options.onnx:
        stored = _library(options).find(options.model).stored
        assert stored is not None  # noqa: S101 - `find` gives none that is damaged
        export_stored(stored, options.output, reporter=reporter)
    else:
        _library(options).export(options.model, options.output)
    print(options.output)
    return 0


def remove_model(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Deletes a model and prints which one."""
    print("removed", *_library(options).remove(options.model))
    return 0


def verify_models(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Checks one model or all, and prints what is wrong."""
    library = _library(options)
    if options.model is not None and Path(options.model).exists():
        _verify_path(Path(options.model))
        print(f"{options.model}: good")
        return 0
    keys = [options.model] if options.model else [entry.key for entry in library.entries()]
    status = 0
    for key in keys:
        try:
            print(f"{library.verify(key).key}: good")
        except SelfsegError as error:
            if options.model:
                raise
            print(f"{key}: DAMAGED\n{error}")
            status = 1
    return status


def _verify_path(path: Path) -> None:
    """A copy is made and thrown away: what is checked is what an import would take."""
    import tempfile

    from ..io.bundle_files import install_bundle, read_bundle

    if path.is_dir():
        read_bundle(path).verify()
        return
    with tempfile.TemporaryDirectory() as folder:
        install_bundle(path, Path(folder) / "model")


def _add_card(parser: argparse.ArgumentParser, title: str) -> None:
    group = parser.add_argument_group(title)
    group.add_argument("--name", help="default: the data set's")
    group.add_argument("--version", help="default: 1")
    group.add_argument("--summary", default="", help="what it segments in what, in a sentence")
    group.add_argument("--licence", default="", help="of the weights, as CC-BY-4.0")
    group.add_argument("--licence-file", type=Path, help="the licence in full")
    group.add_argument("--citation", default="")
    group.add_argument("--author", action="append", default=[])
    group.add_argument("--report", type=Path, help="a page to put in; it may show patients")
    group.add_argument("--plan", help="of a project: name of a plan in it")
    group.add_argument("-c", "--configuration", action="append", default=[])
    group.add_argument("-f", "--folds", nargs="+", default=[], help="default: all but fold all")
    group.add_argument("--checkpoint", choices=("final", "best"), help="default: as selected")


def _import_options(options: argparse.Namespace, *, replace: bool = False) -> ImportOptions:
    from ..stages.bundle import CardOptions, ModelChoice
    from ..stages.model_import import ImportOptions

    text = ""
    if options.licence_file is not None:
        try:
            text = options.licence_file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                "the licence cannot be read",
                expected="a text file in UTF-8",
                found=str(error),
                cure="check the path, and save the file in UTF-8",
                path=options.licence_file,
            ) from error
    return ImportOptions(
        card=CardOptions(
            options.name,
            options.version,
            options.summary,
            options.licence,
            options.citation,
            tuple(options.author),
        ),
        choice=ModelChoice(
            options.plan,
            tuple(options.configuration),
            tuple(options.folds),
            options.checkpoint,
        ),
        licence_text=text,
        report=options.report,
        replace=replace,
        standard_network=getattr(options, "standard_network", False),
    )


def _library(options: argparse.Namespace) -> Library:
    from ..io.library_folder import default_library
    from ..registry.library import Library

    return Library(options.library or default_library())
