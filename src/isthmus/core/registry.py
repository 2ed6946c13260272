"""Names and what they stand for: one ordered table each for closers, codecs, encoders and the like.

A third party adds an entry by an entry point of the table's group, in its ``pyproject.toml``::

    [project.entry-points."isthmus.closers"]
    my-shift = "my_package:my_shift"

Entry points are read once, when the table is listed or asked for a name that is not ours, so that
``import isthmus`` and a search for a known name cost nothing.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from types import ModuleType
from typing import Any, Generic, TypeVar

from isthmus.core.checks import meant
from isthmus.errors import OptionError

E = TypeVar("E")


class UnknownName(OptionError, KeyError):
    """A table has no entry of this name. Also a ``KeyError``, as of any mapping."""


class Registry(Mapping[str, E], Generic[E]):
    """An ordered mapping of canonical names to entries.

    Args:
        what: what one entry is called in messages; an unknown name has the code ``unknown-<what>``.
        group: entry point group of third parties, or None.
        kind: the type that a third party's entry must have, or None.

    >>> colours = Registry[int]("colour")
    >>> colours.register("grey", 5, aliases=["gray"])
    5
    >>> colours["gray"], list(colours), "blue" in colours
    (5, ['grey'], False)
    """

    def __init__(self, what: str, *, group: str | None = None, kind: type[E] | None = None) -> None:
        self.what, self.group, self.kind = what, group, kind
        self._entries: dict[str, E] = {}
        self._aliases: dict[str, str] = {}
        self._loaded = group is None

    def register(self, name: str, entry: E, *, aliases: Iterable[str] = ()) -> E:
        """Add an entry at the end; ``aliases`` are other spellings that are understood.

        Raises:
            OptionError: the name, or an alias, is taken.
        """
        spellings = [name, *aliases]
        taken = [s for s in spellings if s in self._entries or s in self._aliases]
        if taken:
            raise OptionError(
                f"taken-{self.what}", f"{self.what} '{taken[0]}' is registered; choose another name"
            )
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(spellings[1:], name))
        return entry

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other spelling -> the name that it stands for."""
        return self._aliases

    def canonical(self, name: str) -> str:
        """The name that an entry is listed under, from the name or an alias.

        Raises:
            UnknownName: there is no such entry; the message lists the names.
        """
        found = self._known(name)
        if found is None and not self._loaded:
            self._load()
            found = self._known(name)
        if found is None:
            raise UnknownName(
                f"unknown-{self.what}",
                f"{self.what} '{name}' is unknown{meant(name, self)}; choose one of "
                f"{', '.join(self)}",
            )
        return found

    def _known(self, name: str) -> str | None:
        name = self._aliases.get(name, name)
        return name if name in self._entries else None

    def __getitem__(self, name: str) -> E:
        return self._entries[self.canonical(name)]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        """Third parties' entries, once. One that cannot be loaded is left out with a warning."""
        if self._loaded:
            return
        self._loaded = True
        from importlib.metadata import entry_points

        for point in entry_points(group=str(self.group)):
            try:
                entry = point.load()
                if self.kind is not None and not isinstance(entry, self.kind):
                    raise TypeError(f"{point.value} is a {type(entry).__name__}")
                self.register(point.name, entry)
            except Exception as why:  # whatever a foreign package does must not stop ours
                warnings.warn(
                    f"{self.what} '{point.name}' of {point.value} is left out: {why}",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def words(self) -> dict[str, str]:
        """Name -> what it is, in a line."""
        return {name: str(getattr(entry, "words", "")) for name, entry in self.items()}

    def __repr__(self) -> str:
        wide = max(map(len, self), default=0)
        return "\n".join(f"{name:{wide}}  {said}".rstrip() for name, said in self.words().items())

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(said)}</td></tr>"
            for name, said in self.words().items()
        )
        return (
            f"<table><thead><tr><th>{escape(self.what)}</th><th></th></tr></thead>{lines}</table>"
        )


class RegistryModule(ModuleType):
    """A package that is also the mapping of a registry: ``list(isthmus.closers)``."""

    _registry: Callable[[], Mapping[str, Any]]

    def __getitem__(self, name: str) -> Any:
        return self._registry()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry())

    def __len__(self) -> int:
        return len(self._registry())

    def __contains__(self, name: object) -> bool:
        return name in self._registry()

    def __repr__(self) -> str:
        return f"<module {self.__name__!r}>\n{self._registry()!r}"

    def _repr_html_(self) -> str:
        return str(self._registry()._repr_html_())  # type: ignore[attr-defined]


def module_is_registry(module: str, registry: Callable[[], Mapping[str, Any]]) -> None:
    """Let the package of this name act as the mapping of its registry.

    Args:
        module: ``__name__`` of the package. registry: returns the registry; called when used.
    """
    found = sys.modules[module]
    found.__class__ = RegistryModule
    found._registry = registry  # type: ignore[attr-defined]
