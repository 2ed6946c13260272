"""Addresses of vectors in a store: ``SCHEME://PLACE?OPTION=VALUE`` or ``SCHEME:PLACE?…``.

A store is a class that the entry point group ``isthmus.stores`` names by its scheme, ours
included, so that this folder knows none of them::

    [project.entry-points."isthmus.stores"]
    my-store = "my_package:MyStore"

The class takes an :class:`Address`; its ``rows()`` is a :class:`~isthmus.data.source.Rows`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from isthmus.core.registry import Registry
from isthmus.errors import OptionError

STORES: Registry[Any] = Registry("store", group="isthmus.stores")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?=.)")
_SECRET = re.compile("(?i)password|secret|token|api_?key")
"""Names of options whose values are shown nowhere."""
_OWN_OPTIONS = ("table", "column", "vector", "id", "where", "modality", "score", "codec")


@dataclass(frozen=True)
class Address:
    """An address taken apart.

    Attributes:
        scheme: name of the store, ``list(isthmus.stores)``.
        place: server or file, without our options; a password may be in it.
        options: ``table``, ``column`` (``vector`` means the same), ``id``, ``where`` (a filter in
            the store's own language), ``modality`` (``COLUMN:VALUE``: rows of one modality),
            ``score``, ``codec`` (how the store is
            asked to search, where that is part of a query), and what a store adds.
        shown: the address without passwords, tokens and keys: what messages and reports show.
    """

    scheme: str
    place: str
    options: dict[str, str] = field(default_factory=dict)
    shown: str = ""

    def changed(self, **options: str | None) -> Address:
        """The same place with these options, and without those that are None."""

        def with_options(held: dict[str, str]) -> dict[str, str]:
            return {k: v for k, v in {**held, **options}.items() if v is not None}

        head, _, query = self.shown.partition("?")
        asked = urlencode(with_options(dict(parse_qsl(query))), safe=":/")
        shown = f"{head}?{asked}" if asked else head
        return replace(self, options=with_options(self.options), shown=shown)

    def with_column(self, column: str) -> Address:
        """The address of another column of the same items."""
        return self.changed(vector=None, column=None).changed(column=column)

    def sibling(self, option: str, column: str) -> Address:
        """The address of a collection ``NAME_COLUMN`` beside the one that ``option`` names.

        For stores whose collections hold one vector an item. What ranks there and how it is coded
        are its own.
        """
        name = f"{self.need(option)}_{column}"
        return self.with_column(column).changed(score=None, codec=None, **{option: name})

    def need(self, option: str) -> str:
        """The value of an option that must be there.

        Raises:
            OptionError: it is missing.
        """
        value = self.options.get(option, "")
        if not value:
            raise OptionError(
                "address-incomplete",
                f"'{self.shown}' does not say {option}; add ?{option}=… (or &{option}=…)",
            )
        return value

    @property
    def theirs(self) -> dict[str, str]:
        """Options that are the server's own, not ours."""
        return {k: v for k, v in self.options.items() if k not in _OWN_OPTIONS}

    @property
    def theirs_shown(self) -> dict[str, str]:
        """The server's own options, less passwords, tokens and keys."""
        return {k: v for k, v in self.theirs.items() if not _SECRET.search(k)}

    @property
    def column(self) -> str:
        """The column or named vector, or an empty string."""
        return self.options.get("column", "") or self.options.get("vector", "")

    @property
    def modality(self) -> tuple[str, str] | None:
        """(column, value) that tell the rows of one modality, or None.

        Raises:
            OptionError: the value is not ``COLUMN:VALUE``.
        """
        said = self.options.get("modality", "")
        name, colon, value = said.partition(":")
        if said and not (name and colon and value):
            raise OptionError(
                "address-incomplete",
                f"modality '{said}' of '{self.shown}'; expected COLUMN:VALUE, such as kind:image",
            )
        return (name, value) if said else None


def address_of(spec: Any) -> Address | None:
    """The address that a text is, or None where it is no address of a store that is known.

    A file of that very name wins, so that ``a:b.npy`` stays a file.
    """
    if not isinstance(spec, str) or not (found := _SCHEME.match(spec)) or os.path.exists(spec):
        return None
    scheme = found[1].lower()
    if scheme not in STORES:
        return None
    head, _, query = spec.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    ours = {k: v for k, v in given.items() if k in _OWN_OPTIONS}
    theirs = {k: v for k, v in given.items() if k not in _OWN_OPTIONS}
    place = head if "://" in head else unquote(head[found.end() :])
    public = {k: v for k, v in given.items() if not _SECRET.search(k)}
    asked = urlencode(public, safe=":/,") if public != given else query
    shown = _without_password(head) + (f"?{asked}" if asked else "")
    return Address(STORES.canonical(scheme), place, {**theirs, **ours}, shown)


def open_store(address: Address | str) -> Any:
    """The store at an address; nothing is read yet.

    Raises:
        OptionError: it is no address of a known store, or lacks an option.
    """
    found = address if isinstance(address, Address) else address_of(address)
    if found is None:
        raise OptionError(
            "no-address",
            f"'{address}' is no address of a store; expected SCHEME:…, with a scheme among "
            f"{', '.join(STORES)}",
        )
    return STORES[found.scheme](found)


def _without_password(head: str) -> str:
    if "@" not in head or "://" not in head:
        return head
    parts = urlsplit(head)
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))
