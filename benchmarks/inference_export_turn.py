"""Our half of `export_only.py`: one turn, in a process of its own.

    python benchmarks/inference_export_turn.py MAPS RECORD LABELS OUTPUT [--head HEAD]

MAPS is a .npy file (Z, Y, X, M) of logits, or with HEAD (.npz: weights, bias) of the features
below the last layer. It is read slab by slab, as the tiles of a prediction complete them: a
prediction never has all of it either. RECORD and LABELS are JSON: what preprocessing did, and
the plan's labels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfseg.domain.case import PreprocessRecord
from selfseg.domain.labels import LabelScheme
from selfseg.infer.backend import Head
from selfseg.infer.engine import Slab
from selfseg.infer.restore import fill, native_restoration
from selfseg.io.images import write_label_map
from selfseg.io.json_files import read_json

LABELS_SCHEMA = "selfseg.labels/1"
SLAB = 48
"""Slices of a slab: half a patch of 96, which a prediction's next row of tiles completes."""


@dataclass
class SlabReader:
    """Reads slabs of a file and notes how long that took."""

    path: Path
    seconds: float = 0.0

    def slabs(self) -> Iterator[Slab]:
        """All slabs, as float32, which is what the network's window holds."""
        with self.path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
            for first in range(0, shape[0], SLAB):
                began = time.perf_counter()
                here = (min(SLAB, shape[0] - first), *shape[1:])
                values = np.fromfile(stream, kind, int(np.prod(here))).reshape(here)
                maps = values.astype(np.float32)
                del values
                self.seconds += time.perf_counter() - began
                yield Slab(first, maps)


def main() -> None:
    """Restores and writes; prints the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("maps", "record", "labels", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--head", type=Path)
    options = parser.parse_args()
    record = read_json(options.record, PreprocessRecord, schema=PreprocessRecord.schema)
    labels = read_json(options.labels, LabelScheme, schema=LABELS_SCHEMA)
    head = None
    if options.head is not None:
        with np.load(options.head) as parts:
            head = Head(parts["weights"], parts["bias"])
    reader = SlabReader(options.maps)
    began = time.perf_counter()
    native, restoration = native_restoration(record, labels, head)
    fill(reader.slabs(), restoration)
    restored = time.perf_counter()
    write_label_map(options.output, native, record.native)
    written = time.perf_counter()
    stages = {
        "load": reader.seconds,
        "restore": restored - began - reader.seconds,
        "write": written - restored,
    }
    print(json.dumps({"stages": stages}))


if __name__ == "__main__":
    main()
