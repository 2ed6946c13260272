"""The console script, run in this process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from isthmus.cli import main


def run(capsys: Any, *words: object) -> tuple[int, str, str]:
    """``isthmus WORDS…``: (exit code, standard output, standard error)."""
    previous = sys.argv
    log = logging.getLogger("isthmus")
    handlers, propagate = log.handlers[:], log.propagate  # a command of its own process sets both
    sys.argv = ["isthmus", *map(str, words)]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = previous
        log.handlers[:], log.propagate = handlers, propagate
    out, err = capsys.readouterr()
    return code, out, err


def refused_in_one_sentence(capsys: Any, words: str, fact: str) -> None:
    """``isthmus WORDS`` exits with 1 and one sentence that names ``fact``, and leaves no file."""
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, *words.split())
    assert (code, out) == (1, "")
    assert err.startswith("isthmus: ")
    assert err.count("\n") == 1
    assert fact in err
    assert sorted(Path().iterdir()) == before
