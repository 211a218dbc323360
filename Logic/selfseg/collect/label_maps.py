"""Label maps in image files, with the names that lie beside them."""

from __future__ import annotations

from pathlib import Path

from ..io.colour_tables import Table, TableEntry, table_beside
from ..io.images import read_label_map, values_in
from ..io.nrrd_header import read_nrrd_header
from ..io.seg_nrrd_header import holds_segments
from .collection import CollectedSegment, CollectedSegmentation, CollectOptions, Problem
from .headers import image_source
from .seg_nrrd import ReadSegmentation, read_seg_nrrd

NAMES_CURE = (
    "put a colour table beside it (as Slicer writes it when it exports a label map), or say what "
    "the values mean: --label 1=liver --label 2=tumour"
)


def read_segmentation(
    path: Path, options: CollectOptions, table: Table | None = None
) -> tuple[ReadSegmentation, tuple[Problem, ...]]:
    """A segmentation from a file: a `.seg.nrrd`, or a label map with a colour table.

    Of a label map the voxels are read, as only they tell which of the named values occur. A
    name of the table whose value does not occur is taken as annotated and not there.

    Args:
        path: the file.
        options: `label_names` is for label maps that bring no names.
        table: its names, where the caller knows them; otherwise they are looked for beside it.

    Returns:
        The segmentation, and the problem of values without names.

    Raises:
        ImageError: it cannot be read.
    """
    if path.name.lower().endswith((".nrrd", ".nhdr")) and holds_segments(read_nrrd_header(path)):
        return read_seg_nrrd(path), ()
    source = image_source(path)
    labels, _ = read_label_map(path)
    present = [value for value in values_in(labels) if value != 0]
    if table is None:
        table = table_beside(path)
    if table is None:
        table = {value: TableEntry(name) for value, name in options.label_names.items()}
    segments = tuple(
        CollectedSegment(
            entry.name, 0, (value,), entry.terms, entry.colour, empty=value not in present
        )
        for value, entry in sorted(table.items())
    )
    unnamed = [value for value in present if value not in table]
    problems: tuple[Problem, ...] = ()
    if unnamed:
        shown = ", ".join(map(str, unnamed[:10])) + (", ..." if len(unnamed) > 10 else "")
        what = f"nothing says what the label values {shown} mean"
        problems = (Problem("unnamed-labels", what, NAMES_CURE),)
    return (
        ReadSegmentation(CollectedSegmentation(str(path), (source,)), segments, source.grid),
        problems,
    )
