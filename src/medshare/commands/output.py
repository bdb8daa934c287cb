"""How commands talk: JSON lines for programs, plain lines for logs, a live view for people.

Progress and remarks go to stderr, results to stdout; with `--json` everything goes to
stdout, one object a line, and nothing else does.
"""

import os
import sys

from medshare.commands.lines import JsonOutput, Output, PlainOutput
from medshare.commands.options import Mode


def choose(mode: Mode) -> Output:
    """Return the output that *mode* and the streams of this process ask for."""
    if mode.json:
        return JsonOutput(sys.stdout)
    if mode.quiet:
        return Output()
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from medshare.commands.live import LiveOutput

        return LiveOutput(verbose=mode.verbose)
    return PlainOutput(sys.stderr, sys.stdout, verbose=mode.verbose)
