"""Both steps in one: look through the sources, and write the data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..domain.events import Reporter, silent
from .collection import Collection, CollectOptions
from .known_names import require_known
from .rows import report_rows
from .survey import survey
from .writing import write_dataset


def collect(
    sources: Sequence[Path],
    output: Path | None = None,
    *,
    options: CollectOptions | None = None,
    skip_problems: bool = False,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Collection:
    """Makes a data set of segmented scans, whatever they are stored as.

    Args:
        sources: folders, `.mrb` and `.mrml` scenes, `.csv` tables, `.json` collection files,
            folders with DICOM series and segmentations.
        output: folder of the data set; None only looks.
        options: channels, structures and what missing ones mean.
        skip_problems: leaves cases with problems out instead of refusing to write.
        reporter: is told each row, and how far it is.
        should_stop: polled between cases.

    Returns:
        What was found.

    Raises:
        DatasetError: a source cannot be used, cases have problems, or an option names a case or
            structure that is not there.
        ProjectError: the data set cannot be written.
        Cancelled: `should_stop` said so; what is written is kept.
    """
    options = options or CollectOptions(name=output.name if output is not None else "")
    collection = survey(sources, options, reporter=reporter, should_stop=should_stop)
    report_rows(collection, reporter)
    if output is not None:
        require_known(collection.cases, options)
        write_dataset(
            collection,
            output,
            skip_problems=skip_problems,
            reporter=reporter,
            should_stop=should_stop,
        )
    return collection
