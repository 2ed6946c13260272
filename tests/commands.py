"""The console script, run in this process."""

from __future__ import annotations

import sys
from typing import Any

from isthmus.cli import main


def run(capsys: Any, *words: object) -> tuple[int, str, str]:
    """``isthmus WORDS…``: (exit code, standard output, standard error)."""
    previous = sys.argv
    sys.argv = ["isthmus", *map(str, words)]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = previous
    out, err = capsys.readouterr()
    return code, out, err
