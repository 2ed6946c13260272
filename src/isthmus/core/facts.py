"""What is found once of each array, such as its row norms, for all that ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import ref

T = TypeVar("T")


class Facts:
    """Facts of arrays, by name. An array is known by itself, so it must not change meanwhile.

    Arrays are not kept alive: what was found of one is forgotten with it.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], tuple[tuple[Any, ...], Any]] = {}

    def of(self, name: str, find: Callable[[], T], *arrays: Any) -> T:
        """The fact ``name`` of some arrays together; ``find`` finds it where it is not known."""
        key = name, *(id(array) for array in arrays)
        kept = self._found.get(key)
        if kept is None or any(
            known() is not array for known, array in zip(kept[0], arrays, strict=True)
        ):
            forget = lambda _: self._found.pop(key, None)  # noqa: E731
            kept = self._found[key] = tuple(ref(array, forget) for array in arrays), find()
        found: T = kept[1]
        return found
