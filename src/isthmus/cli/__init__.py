"""The command line: parse, call one function, print. Commands are imported when they are run."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script ``isthmus``."""
    from isthmus.cli.app import app
    from isthmus.cli.output import print_in_any_encoding
    from isthmus.errors import IsthmusError

    print_in_any_encoding()
    _show_notes()
    try:
        app()
    except IsthmusError as refused:
        print(f"isthmus: {refused}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("isthmus: interrupted; nothing half-written is left behind", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None


def _show_notes() -> None:
    """What the library notes while it reads, such as the shards of a folder, on standard error."""
    import logging

    class Once(logging.Handler):
        """A line each, the same line once."""

        def emit(self, record: logging.LogRecord) -> None:
            line = record.getMessage()
            if line not in seen:
                seen.add(line)
                print(line, file=sys.stderr)

    seen: set[str] = set()
    log = logging.getLogger("isthmus")
    log.handlers[:] = [Once(logging.INFO)]
    log.setLevel(logging.INFO)
    log.propagate = False
