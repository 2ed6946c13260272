"""What every command shares: the two consoles, progress bars, JSON on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from isthmus.core.progress import quiet

if TYPE_CHECKING:
    from rich.console import Console


def console(*, as_json: bool) -> Console:
    """Standard output for people; standard error when JSON has standard output to itself."""
    from rich.console import Console

    stream = sys.stderr if as_json else sys.stdout
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, width=None if terminal else 110)


def print_json(value: Any) -> None:
    """One JSON document on standard output; what is no number is null."""
    from isthmus.data.atomic import plain

    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on a terminal, silence in a pipe. Yields a function (what, done, all)."""
    if not sys.stderr.isatty():
        yield quiet
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def say(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield say
