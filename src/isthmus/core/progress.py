"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, how much there is)."""


def quiet(what: str, done: int, of: int) -> None:
    """A :data:`Progress` that says nothing."""


def counted(items: Sequence[T], what: str, say: Progress) -> Iterator[T]:
    """The items, each said to be next, and at the end that all are done.

    >>> list(counted("ab", "letters", print))
    letters 0 2
    letters 1 2
    letters 2 2
    ['a', 'b']
    """
    for done, item in enumerate(items):
        say(what, done, len(items))
        yield item
    say(what, len(items), len(items))
