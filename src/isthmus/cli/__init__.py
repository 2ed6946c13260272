"""The command line: parse, call one function, print. Commands are imported when they are run."""

from __future__ import annotations

import gc
import sys
from functools import cache
from typing import Any

GARBAGE = 100_000
"""Objects made between two looks for cycles among them: imports alone make many, and no cycles."""


def main() -> None:
    """Entry point of the console script ``isthmus``."""
    from isthmus.cli.output import print_in_any_encoding
    from isthmus.cli.process import exit_code, own_streams, stopped_by_signals

    gc.set_threshold(GARBAGE)
    own_streams()
    print_in_any_encoding()
    _show_notes()
    with stopped_by_signals():
        code = exit_code(_command)
        gc.freeze()  # what is left goes with the process: nobody looks through it for cycles
        raise SystemExit(code)


def _command() -> None:
    _built()()


@cache
def _built() -> Any:
    """All commands with their options, which take 30 ms to build."""
    from typer.main import get_command

    from isthmus.cli.app import app

    return get_command(app)


def _show_notes() -> None:
    """What the library notes while it reads, such as the shards of a folder, on standard error."""
    import logging

    from isthmus.report.plain import visible

    class Once(logging.Handler):
        """A line each, the same line once."""

        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage()
            if line not in seen:
                seen.add(line)
                print(visible(line), file=sys.stderr)

    seen: set[str] = set()
    log = logging.getLogger("isthmus")
    log.handlers[:] = [Once(logging.INFO)]
    log.setLevel(logging.INFO)
    log.propagate = False
