"""SQLite: ``sqlite:FILE?table=T&column=C``, vectors as BLOBs of float32, compared by sqlite-vec.

In an ordinary table a deployed column lies beside the original, its candidate bias in ``C_bias``. A
``vec0`` table takes no new columns, so its items get a second one, ``T_COLUMN``, with the same
other columns. Marks lie in a table of ours, ``isthmus_marks``. Each batch is one transaction.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.deploy.stores.store import SAMPLE, Mark, Store, StoreFacts
from isthmus.errors import FileError
from isthmus.search.scores import check_score

_CODECS = {
    "none": "{}",
    "int8": "vec_quantize_int8({}, 'unit')",
    "binary": "vec_quantize_binary({})",
}
"""Name -> what sqlite-vec compares in the place of a vector."""
_METRICS = {"cosine": "cosine", "l2": "euclidean"}
_VECTOR = re.compile(r"(\w+)\s+float\[", re.I)
_MARKS = "isthmus_marks"


class SQLite(Store):
    """A column of BLOBs, or a vector column of a ``vec0`` table."""

    scheme, extra, client = "sqlite", "sqlite", "apsw and sqlite-vec"
    name, module = "SQLite", "apsw"
    # Python's own sqlite3 is often built without extensions, which sqlite-vec is one of

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What apsw raises."""
        return (self.library.Error,)

    def connect(self) -> Any:
        """Open the file and load sqlite-vec."""
        apsw, vec = self.library, library("sqlite_vec", "Reading SQLite", "sqlite-vec", self.extra)
        if not os.path.isfile(self.address.place):
            raise self.refusal("is no file of SQLite", "store-unreachable")
        with self.answering():
            base = apsw.Connection(self.address.place, flags=apsw.SQLITE_OPEN_READWRITE)
            base.set_busy_timeout(10_000)
            base.enable_load_extension(True)
            base.load_extension(vec.loadable_path())
            base.enable_load_extension(False)
            return base

    def _named(self, text: str, **names: str) -> str:
        given = {**self._names, "id": self._id, **names}
        return text.format(**{k: _quoted(v) for k, v in given.items()}, where=self._where)

    @property
    def _names(self) -> dict[str, str]:
        column = self.address.need("column")
        return {"table": self.address.need("table"), "column": column, "bias": f"{column}_bias"}

    def _run(self, text: str, values: Any = (), **names: str) -> list[tuple[Any, ...]]:
        with self.answering():
            return list(self.connection.execute(self._named(text, **names), values))

    def _run_all(self, *steps: tuple[str, Iterable[Any]]) -> None:
        """Statements with their values, in one transaction."""
        with self.answering(), self.connection:
            for text, values in steps:
                self.connection.executemany(self._named(text), values)

    @property
    def _where(self) -> str:
        parts = ["true", self.address.options.get("where", "")]
        if self.address.modality:
            column, value = self.address.modality
            parts.append(f"{_quoted(column)} = '{value.replace(chr(39), chr(39) * 2)}'")
        return " AND ".join(f"({part})" for part in parts if part)

    @cached_property
    def _columns(self) -> dict[str, str]:
        """Name -> declared type."""
        with self.answering():
            table = _quoted(self.address.need("table"))
            found = list(self.connection.execute(f"PRAGMA table_xinfo({table})"))
        if not found:
            raise self._no_table()
        return {row[1]: row[2] for row in found if row[6] != 1}  # 1: hidden, as vec0's distance

    def _no_table(self) -> FileError:
        """A shadow table is one of those that ``vec0`` keeps its own numbers in."""
        found = self.connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type != 'shadow' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name != ? ORDER BY name",
            (_MARKS,),
        )
        held = ", ".join(name for (name,) in found) or "none"
        return self.refusal(f"has no table '{self.address.need('table')}'; it has {held}")

    @cached_property
    def _id(self) -> str:
        return self.address.options.get("id") or ("id" if "id" in self._columns else "rowid")

    @cached_property
    def _vec0(self) -> list[str]:
        """The arguments of a ``vec0`` table; empty for an ordinary one."""
        found = self.connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (self.address.need("table"),)
        )
        said = next(iter(found), None)
        if said is None:
            raise self._no_table()
        made = re.search(r"USING\s+vec0\s*\((.*)\)", said[0], re.I | re.S)
        return [part.strip() for part in made[1].split(",")] if made else []

    @cached_property
    def _metrics(self) -> dict[str, str]:
        """Vector columns of a ``vec0`` table and what their own search ranks by."""
        found = {}
        for part in self._vec0:
            if name := _VECTOR.match(part):
                said = re.search(r"distance_metric\s*=\s*(\w+)", part, re.I)
                found[name[1]] = _METRICS.get(said[1].lower() if said else "l2", "")
        return found

    def describe(self) -> StoreFacts:
        """Rows, length of the BLOBs, and the distance of a ``vec0`` table."""
        column, held = self.address.need("column"), self._metrics
        if column not in (held if self._vec0 else self._columns):
            blobs = held or [name for name, kind in self._columns.items() if "BLOB" in kind.upper()]
            raise self.no_column("column of float vectors", blobs)
        found = self._run(
            "SELECT count(*), min(length({column})), max(length({column})) FROM {table} "
            "WHERE {column} IS NOT NULL AND {where}"
        )
        rows, shortest, longest = found[0]
        if rows and (shortest != longest or shortest % 4):
            raise FileError(
                "no-vectors",
                f"column '{column}' of '{self.address.shown}' holds BLOBs of {shortest} to "
                f"{longest} bytes; expected float32 vectors of one length",
            )
        return StoreFacts(
            rows=rows,
            dim=(longest or 0) // 4,
            score=self.address.options.get("score", "") or held.get(column, ""),
            index="vec0, which reads all rows" if held else "none",
            codec=self.codec,
            expression=self.codec == "none",
        )

    @property
    def codec(self) -> str:
        """What sqlite-vec is asked to compare: vectors, int8 over [-1, 1], or signs."""
        return self.asked_codec(_CODECS)

    def ids(self) -> np.ndarray:
        """Ids in their own order."""
        found = self._run(
            "SELECT {id} FROM {table} WHERE {column} IS NOT NULL AND {where} ORDER BY {id}"
        )
        return np.array([one for (one,) in found])

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """BLOBs of these ids in one statement."""
        found = self._run(
            "SELECT {id}, {column} FROM {table} WHERE {id} IN (SELECT value FROM json_each(?))",
            (json.dumps(ids.tolist()),),
        )
        return ((one, np.frombuffer(raw, "<f4")) for one, raw in found)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """One statement a query."""
        statement = self._order(check_score(score), mark)
        asked = np.ascontiguousarray(queries, np.float32)
        return self.answers(
            [[i for (i,) in self._run(statement, {"q": q.tobytes(), "k": k})] for q in asked]
        )

    def _order(self, score: str, mark: Mark | None) -> str:
        if self.codec == "none" and score == self._metrics.get(self.address.column):
            return (
                "SELECT {id} FROM {table} WHERE {column} MATCH :q AND k = :k AND {where} "
                "ORDER BY distance"
            )
        row, query = (_CODECS[self.codec].format(one) for one in ("{column}", ":q"))
        measure = f"vec_distance_L2({row}, {query})"
        if self.codec == "binary":
            measure = f"vec_distance_hamming({row}, {query})"
        elif score == "cosine":
            measure = f"vec_distance_cosine({row}, {query})"
        elif score == "dot":  # sqlite-vec has no inner product: -2<v, q> = |v - q|² - |v|² - |q|²
            zero = _CODECS[self.codec].format("zeroblob(length(:q))")
            measure = f"(pow({measure}, 2) - pow(vec_distance_L2({row}, {zero}), 2)) / 2"
        if mark is not None and mark.bias:
            measure = f"pow({measure}, 2) / 2" if score == "euclidean" else measure
            measure += " - {bias}"
        return (
            "SELECT {id} FROM {table} WHERE {column} IS NOT NULL AND {where} "
            f"ORDER BY {measure} LIMIT :k"
        )

    def at(self, column: str) -> SQLite:
        """The same table, or for ``vec0`` the table ``TABLE_COLUMN``."""
        table = self.address.sibling("table", column)
        return self._other(table if self._vec0 else self.address.with_column(column))

    @property
    def _key(self) -> str:
        return f"{self.address.need('table')}.{self.address.need('column')}"

    def mark(self) -> Mark | None:
        """The row of the table of marks."""
        if not self._has(_MARKS) or not self.is_there:
            return None
        found = self._run("SELECT mark FROM {marks} WHERE name = ?", (self._key,), marks=_MARKS)
        return Mark.of_text(found[0][0]) if found else None

    @property
    def is_there(self) -> bool:
        """Whether there is the table, and the column in it."""
        return self._has(self.address.need("table")) and self.address.column in self._columns

    def _has(self, table: str) -> bool:
        asked = "SELECT 1 FROM sqlite_master WHERE name = ?"
        return bool(list(self.connection.execute(asked, (table,))))

    def _marking(self, mark: Mark) -> tuple[str, list[Any]]:
        return f"INSERT OR REPLACE INTO {_MARKS} VALUES (?, ?)", [(self._key, mark.text)]

    def make(self, new: SQLite, dim: int, mark: Mark) -> None:
        """Add the column, or make the ``vec0`` table, with the mark in one transaction."""
        steps = [f"CREATE TABLE IF NOT EXISTS {_MARKS} (name TEXT PRIMARY KEY, mark TEXT)"]
        if self._vec0:
            metric = "cosine" if mark.score == "cosine" else "l2"
            vector = f"{new.address.column} float[{dim}] distance_metric={metric}"
            kept = [part for part in self._vec0 if not re.match(r"\w+\s+(float|int8|bit)\[", part)]
            parts = ", ".join([*kept, vector]).replace("{", "{{").replace("}", "}}")
            steps.append(f"CREATE VIRTUAL TABLE {{table}} USING vec0({parts})")
        else:
            steps.append("ALTER TABLE {table} ADD COLUMN {column} BLOB")
            steps += ["ALTER TABLE {table} ADD COLUMN {bias} REAL"] * mark.bias
        named = [self._named(step, **new._names) for step in steps]
        with self.answering(), self.connection:
            for step in named:
                self.connection.execute(step)
            self.connection.executemany(*new._marking(mark))
        new.__dict__.pop("_columns", None)

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One transaction."""
        rows = [row.tobytes() for row in np.ascontiguousarray(vectors, np.float32)]
        given: list[Any] = [rows, ids.tolist()]
        if self._vec0:
            kept = [c for c in self._columns if c not in (self._id, self.address.column)]
            names = "".join(f", {_quoted(one)}" for one in kept)
            source = _quoted(self.source.address.need("table"))
            text = (
                f"INSERT INTO {{table}} ({{column}}, {{id}}{names}) "
                f"SELECT ?, {{id}}{names} FROM {source} WHERE {{id}} = ?"
            )
        elif bias is None:
            text = "UPDATE {table} SET {column} = ? WHERE {id} = ?"
        else:
            given.insert(1, bias.tolist())
            text = "UPDATE {table} SET {column} = ?, {bias} = ? WHERE {id} = ?"
        self._run_all((text, zip(*given, strict=True)))

    def finish(self, mark: Mark) -> None:
        """The mark; nothing is indexed."""
        self._run_all(self._marking(replace(mark, complete=True)))

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[SQLite, np.ndarray]:
        """A file of its own in the folder, with a table of the same kind."""
        place, column = folder / "sample.sqlite", self.address.need("column")
        self.library.Connection(str(place)).close()
        address = self.address.changed(table=SAMPLE, id=self._id, where=None, modality=None)
        made = SQLite(replace(address, place=str(place)))
        parts = [part for part in self._vec0 if re.match(rf"({self._id}|{column})\b", part)]
        plain = "TABLE {table} ({id} PRIMARY KEY, {column})"
        virtual = f"VIRTUAL TABLE {{table}} USING vec0({', '.join(parts)})"
        made._run(f"CREATE {virtual if self._vec0 else plain}")
        rows = np.ascontiguousarray(self.fetch(ids), np.float32)
        items = zip(ids.tolist(), (row.tobytes() for row in rows), strict=True)
        made._run_all(("INSERT INTO {table} ({id}, {column}) VALUES (?, ?)", items))
        return made, ids

    def remove_sample(self) -> list[str]:
        """The folder goes by itself."""
        return []

    def undo(self) -> None:
        """Drop the column and its bias, or the ``vec0`` table, and the mark and its empty table."""
        bias = self.need_mark().bias
        drops = ["ALTER TABLE {table} DROP COLUMN {column}"]
        drops += ["ALTER TABLE {table} DROP COLUMN {bias}"] * bias
        gone = ["DROP TABLE {table}"] if self._vec0 else drops
        unmark = (f"DELETE FROM {_MARKS} WHERE name = ?", [(self._key,)])
        self._run_all(*((text, [()]) for text in gone), unmark)
        with self.answering(), self.connection:
            if not list(self.connection.execute(f"SELECT 1 FROM {_MARKS} LIMIT 1")):
                self.connection.execute(f"DROP TABLE {_MARKS}")
        self.__dict__.pop("_columns", None)

    def example(self, mark: Mark) -> str:
        """The statement through apsw."""
        statement = self._named(self._order(mark.score, mark))
        return _EXAMPLE.format(file=self.place, statement=statement)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_EXAMPLE = '''
import apsw
import sqlite_vec

SQL = """{statement}"""


def search(query, k=10, file="{file}"):
    """Ids of the k first items."""
    base = apsw.Connection(file, flags=apsw.SQLITE_OPEN_READONLY)
    base.enable_load_extension(True)
    base.load_extension(sqlite_vec.loadable_path())
    return [row[0] for row in base.execute(SQL, {{"q": query_vector(query).tobytes(), "k": k}})]
'''
