"""What every command shares: the two consoles, progress, JSON, encodings that lack our signs."""

from __future__ import annotations

import codecs
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.report.plain import plain_console, visible

if TYPE_CHECKING:
    from rich.console import Console

EVERY_SECONDS = 60.0
"""Seconds between two lines of progress where standard error is no terminal."""
FALLBACK = "isthmus-fallback"
PLAIN_SIGNS = {
    "→": "->",
    "▶": ">",
    "×": "x",
    "–": "-",
    "−": "-",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "‖": "|",
    "²": "2",
    "ε": "eps",
    "μ": "mu",
    "σ": "sigma",
    "Σ": "Sigma",
    "⟨": "<",
    "⟩": ">",
    "√": "sqrt",
    "✓": "+",
    "↑": "+",
}
"""Sign -> what is printed where the output's encoding lacks it; others are escaped."""


def _fall_back(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = (PLAIN_SIGNS.get(c, c.encode("ascii", "backslashreplace").decode()) for c in lacking)
    return "".join(shown), error.end


def print_in_any_encoding() -> None:
    """Let standard output and error print plain signs where their encoding lacks ours."""
    codecs.register_error(FALLBACK, _fall_back)
    for stream in (sys.stdout, sys.stderr):
        change = getattr(stream, "reconfigure", None)
        if change is not None:
            change(errors=FALLBACK)


def console(*, as_json: bool) -> Console:
    """Standard output for people; standard error when JSON has standard output to itself."""
    stream = sys.stderr if as_json else sys.stdout
    terminal = stream.isatty()
    return plain_console(file=stream, width=None if terminal else 110)


def say_where(
    screen: Console, out: Path, *, closers: bool, coded: bool = False, verbose: bool = False
) -> None:
    """Where the report is, with closers or without, and what to do next.

    Args:
        coded: a closer is recommended for rows in fewer bits, which each store does in its way.
    """
    more = " and the recommended closers" if closers else ""
    why = "" if verbose else " Reasons: --verbose."
    screen.print(f"Wrote {out}/report.html{more}.{why}", soft_wrap=True)
    if coded:
        screen.print(
            "Next, stores code differently: isthmus recommend QUERIES STORE --perturb store"
        )
    elif closers:
        screen.print("Next: the page has the commands to deploy them.")


def print_json(value: Any) -> None:
    """One JSON document on standard output, in letters that its encoding has."""
    from isthmus.report.json_text import json_text

    print(json_text(value, sys.stdout.encoding or "utf-8"))


def show(lines: Iterable[str], value: Any, *, as_json: bool) -> None:
    """Lines for people, and a value as JSON where that is asked for."""
    screen = console(as_json=as_json)
    for line in lines:
        screen.print(line)
    if as_json:
        print_json(value)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on a terminal, elsewhere a line a minute. Yields a function (what, done, all)."""
    if not sys.stderr.isatty():
        yield minute_lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=plain_console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def say(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(visible(what), total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield say


def minute_lines(
    clock: Callable[[], float] = time.monotonic, every: float = EVERY_SECONDS
) -> Callable[[str, int, int], None]:
    """Progress as lines on standard error, one in ``every`` seconds at most, none at first."""
    start = last = clock()

    def say(what: str, done: int, of: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= every:
            last = now
            passed = round(now - start)
            print(f"{visible(what)}: {done} of {of} ({passed} s)", file=sys.stderr, flush=True)

    return say
