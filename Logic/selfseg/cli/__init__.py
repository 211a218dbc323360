"""The command line: one verb per stage. Arguments in, progress events out.

Nothing heavy is imported before a verb runs, so that `selfseg --help` answers at once.
`flags` declares what several verbs understand, `parser` says which verb takes what, `verbs` and
`launching` do it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ..console import JsonLines, StopRequest, TerminalBars, printable
from ..domain.errors import SelfsegError
from .flags import seconds
from .parser import Verb, make_parser
from .unattended import ProgressFile, both, told_to

__all__ = ["main", "seconds"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0 done, 1 something is wrong with data, project or model (faults
        found by `check` too), 2 wrong usage, 130 stopped.
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
        status, message = error.exit_code, str(error)
    except KeyboardInterrupt:
        status, message = 130, "stopped; give the same command again to go on from here"
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        display.close()
        if file is not None:
            file.end(status, message)
    if message:
        sys.stderr.write(f"{printable(message)}\n")
    return status
