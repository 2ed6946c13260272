"""Results that know how to become a dict, a table, a data frame, a notebook card and a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from pathlib import Path
from typing import Any

from isthmus.core.libraries import library
from isthmus.data.atomic import atomic_path, plain, write_json
from isthmus.errors import OptionError

CARD_ROWS = 12
"""Rows of a table that a notebook shows; the rest is named by its count."""

MOST_LETTERS = 300
"""Of what a record prints of itself."""


class Record:
    """Base of every result of the facade.

    A subclass is a frozen dataclass. It may override :meth:`to_dict` (plain JSON), :meth:`rows`
    (the lines of its table), :meth:`card` (what a notebook shows) and :meth:`_save_page`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = Record.__repr__  # type: ignore[method-assign]  # not a dataclass's own

    def __repr__(self) -> str:
        """One short line: what a notebook's card is headed with, or the first plain values."""
        title, rows = self.card()
        if title == type(self).__name__ and rows:
            title = ", ".join(f"{k}={v}" for k, v in list(rows[0].items())[:8])
        line = " ".join(title.split())
        cut = line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]}…"
        return f"<{type(self).__name__}: {cut}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings, numbers, booleans and None; NaN is None."""
        assert is_dataclass(self)
        found = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        return {name: plain(_inside(value)) for name, value in found.items()}

    def rows(self) -> list[dict[str, Any]]:
        """The lines of its table, each a flat dict. By default one line of its plain values."""
        flat = {k: v for k, v in self.to_dict().items() if not isinstance(v, (dict, list))}
        return [flat]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """What a notebook shows: one line of text, and a table."""
        return type(self).__name__, self.rows()

    def to_arrow(self) -> Any:
        """Its table as a ``pyarrow.Table``."""
        return arrow_table(self.rows())

    def to_frame(self) -> Any:
        """Its table as a pandas data frame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return library("pandas", "to_frame", "pandas", "pandas").DataFrame(self.rows())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it under another name and rename it, in the format of the suffix.

        ``.json`` is :meth:`to_dict`, ``.parquet`` the table; records that have a page also take
        ``.html``.

        Raises:
            OptionError: another suffix. FileError: the file cannot be written.
        """
        out = Path(path)
        suffix = out.suffix.lower()
        if suffix == ".json":
            write_json(out, self.to_dict())
        elif suffix == ".parquet":
            write_parquet(out, self.rows())
        elif suffix == ".html" and type(self)._save_page is not Record._save_page:
            self._save_page(out)
        else:
            page = " or .html" * (type(self)._save_page is not Record._save_page)
            raise OptionError(
                "unknown-suffix",
                f"'{out.name}' does not say how to save a {type(self).__name__}; "
                f"name it .json, .parquet{page}",
            )
        return out

    def _save_page(self, path: Path) -> None:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        title, rows = self.card()
        return html_table(title, rows)


def _inside(value: Any) -> Any:
    """Records and dataclasses inside a record, as dicts."""
    if isinstance(value, Record):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _inside(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {k: _inside(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_inside(v) for v in value]
    return value


def arrow_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Lines with the same or different keys as a ``pyarrow.Table``; a missing value is null."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def write_parquet(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Lines as a Parquet file, renamed into place."""
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary, temporary.open("wb") as file:  # any name has a handle
        pq.write_table(arrow_table(rows), file)


def html_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A title and a small table as HTML; all text is escaped."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(row.get(name)))}</td>" for name in names) + "</tr>"
        for row in rows[:CARD_ROWS]
    )
    more = f"<p>and {len(rows) - CARD_ROWS:,} more rows</p>" if len(rows) > CARD_ROWS else ""
    return (
        f"<div><strong>{escape(title)}</strong><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}</div>"
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
