"""The command line: parse, call one function, print. Commands are imported when they are run."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script ``isthmus``."""
    from isthmus.cli.app import app
    from isthmus.cli.output import print_in_any_encoding
    from isthmus.errors import IsthmusError

    print_in_any_encoding()
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
