"""The command line: one verb per stage. Arguments in, progress events out.

Nothing heavy is imported before a verb runs, so that `selfseg --help` answers at once.
`flags` declares what several verbs understand, `parser` says which verb takes what, `verbs` and
`launching` do it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ..console import JsonLines, StopRequest, TerminalBars
from ..domain.errors import SelfsegError
from .flags import seconds
from .parser import Verb, make_parser

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
    stop.install(watch_stdin=options.stop_on_stdin_close)
    verb: Verb = options.verb
    try:
        status = verb(options, stop.checking(display), stop)
    except SelfsegError as error:
        display.close()
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        display.close()
        sys.stderr.write("stopped; give the same command again to go on from here\n")
        return 130
    display.close()
    return status
