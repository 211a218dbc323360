"""The command line: one verb per stage. Arguments in, progress events out.

Nothing heavy is imported before a verb runs, so that `selfseg --help` answers at once.
`flags` declares what several verbs understand, and `parser` lists the verbs. Every other module
holds a few of them: what each takes, and the function that does it.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from ..console import JsonLines, StopRequest, TerminalBars, printable
from ..domain.errors import SelfsegError
from .commands import runnable
from .flags import seconds
from .parser import Verb, make_parser
from .unattended import ProgressFile, both, told_to

__all__ = ["main", "seconds"]

NOBODY_READS = 141
"""128 + SIGPIPE, as a shell reports a program that ends so."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0 done, 1 something is wrong with data, project or model (faults
        found by `check` too), 2 wrong usage, 130 stopped, 141 nobody reads the output any more.
    """
    started = time.monotonic()
    options = make_parser().parse_args(arguments)
    options.started = started
    display = JsonLines() if options.progress == "json" else TerminalBars()
    stop = StopRequest()
    stop.install(watch_stdin=options.stop_on_stdin_close, stop_file=options.stop_file)
    verb: Verb = options.verb
    file: ProgressFile | None = None
    status, message = 1, "ended by an error of the program"
    try:
        file = told_to(options.progress_file, arguments)
        reporter = display if file is None else both(display, file)
        status, message = verb(options, stop.checking(reporter), stop), ""
    except SelfsegError as error:
        status, message = error.exit_code, runnable(str(error))
    except KeyboardInterrupt:
        status, message = 130, "stopped; give the same command again to go on from here"
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and (
            nobody_reads() or is_broken(sys.stdout) or is_broken(sys.stderr)
        ):
            status, message = NOBODY_READS, ""
        else:
            message = f"{type(error).__name__}: {error}"
            raise
    finally:
        with suppress(BrokenPipeError):
            display.close()
        if file is not None:
            file.end(status, message)
    with suppress(BrokenPipeError):
        if message:
            sys.stderr.write(f"{printable(message)}\n")
    # Little output may still be on its way.
    return NOBODY_READS if nobody_reads() and status == 0 else status


def is_broken(stream: TextIO) -> bool:
    """Whether nobody reads from this pipe, also where nothing waits to be written to it."""
    try:
        polled = select.poll()
        polled.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in polled.poll(0))
    except (AttributeError, OSError, ValueError):  # on Windows, or no file
        return False


def nobody_reads() -> bool:
    """Whether output was lost as its reader has ended (`selfseg ... | head`); more goes nowhere."""
    ended = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            ended = True
    return ended
