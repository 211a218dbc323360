"""The verb `serve`: a warm process that segments on request."""

from __future__ import annotations

import argparse
import os

from ..console import StopRequest
from ..domain.errors import UsageError
from ..domain.events import Reporter
from .flags import seconds
from .predicting import memory


def add_options(parser: argparse.ArgumentParser) -> None:
    """Lets the parser understand what `serve` takes."""
    parser.add_argument(
        "--stdio",
        action="store_true",
        required=True,
        help="take requests from standard input, answer on standard output, as JSON lines",
    )
    parser.add_argument(
        "--cache",
        type=memory,
        default=memory("4GB"),
        metavar="SIZE",
        help="of the models kept in memory, together (default 4GB)",
    )
    parser.add_argument(
        "--queue", type=_count, default=16, metavar="N", help="requests that may wait (default 16)"
    )
    parser.add_argument(
        "--unload-after",
        type=_time_or_never,
        default=seconds("10m"),
        metavar="TIME",
        help="forget the models after so long without a request, or never (default 10m)",
    )


def serve(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Answers requests until standard input is closed."""
    from ..serve.lines import bounded_lines
    from ..serve.segmentation import Segmenter
    from ..serve.streams import AnswerPipe, take_standard_streams
    from ..serve.worker import Worker

    if options.stop_on_stdin_close:
        raise UsageError(
            "--stop-on-stdin-close and --stdio both read standard input",
            expected="one of them",
            cure="leave --stop-on-stdin-close out: the worker ends with its input anyway",
        )
    source, sink = take_standard_streams()
    answers = AnswerPipe(sink, on_broken=lambda: worker.end())
    instance = os.urandom(8).hex()
    worker = Worker(
        answers,
        Segmenter(options.cache, instance),
        queue_length=options.queue,
        unload_after=options.unload_after,
        should_end=stop,
        abandon=lambda: os._exit(1),
        instance=instance,
    )
    worker.run(bounded_lines(lambda size: os.read(source, size)))
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; at least 1")
    return number


def _time_or_never(text: str) -> float | None:
    return None if text.strip().lower() == "never" else seconds(text)
