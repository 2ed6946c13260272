"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, how much there is)."""


def quiet(what: str, done: int, of: int) -> None:
    """A :data:`Progress` that says nothing."""
