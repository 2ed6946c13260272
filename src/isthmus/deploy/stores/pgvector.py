"""PostgreSQL with pgvector: ``postgresql://USER@HOST/DB?table=T&column=C``.

A deployed column lies in the same table, its candidate bias in a second one (``C_bias``, double
precision). Its comment is the mark. Each batch is one transaction, so a killed run goes on with the
items that have no vector yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from isthmus.deploy.stores.store import SAMPLE, Mark, Store, StoreFacts
from isthmus.search.scores import check_score

OPERATORS = {"dot": "<#>", "cosine": "<=>", "euclidean": "<->"}
_CODECS = {
    "none": ("{column}", "%(q)s"),
    "halfvec": ("{column}::halfvec(DIM)", "%(q)s::halfvec(DIM)"),
    "binary": ("binary_quantize({column})::bit(DIM)", "binary_quantize(%(q)s::vector)"),
}
"""Name -> (the column, the query) as PostgreSQL is asked to compare them."""
_CLASSES = {"ip": "dot", "cosine": "cosine", "l2": "euclidean"}
_MARK = "isthmus:"


class Pgvector(Store):
    """A column of type ``vector`` or ``halfvec`` of one table."""

    scheme, extra, client = "postgresql", "pgvector", "psycopg"
    name, module = "PostgreSQL", "psycopg"

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What psycopg raises."""
        return (self.library.Error,)

    def connect(self) -> Any:
        """Open a connection; every statement commits by itself unless a block says otherwise."""
        with self.opening():
            server = self.address.place + _asked(self.address.theirs)
            return self.library.connect(server, autocommit=True)

    @property
    def _sql(self) -> Any:
        return self.library.sql

    def _named(self, text: str, **names: str) -> Any:
        """A statement whose {names} are quoted as identifiers."""
        sql = self._sql
        table = sql.Identifier(*self.address.need("table").split("."))
        given = {k: sql.Identifier(v) for k, v in names.items()}
        known = {
            "table": table,
            "column": sql.Identifier(self.address.need("column")),
            "bias": sql.Identifier(self.address.need("column") + "_bias"),
            "id": sql.Identifier(self.address.options.get("id", "id")),
        }
        return sql.SQL(text).format(**{**known, **given}, where=self._where())

    def _where(self) -> Any:
        """The filter: items of one modality, and the user's own condition."""
        sql, parts = self._sql, []
        if self.address.modality:
            column, value = self.address.modality
            parts.append(sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value)))
        if self.address.options.get("where"):
            parts.append(sql.SQL(f"({self.address.options['where']})"))
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")

    def _run(
        self, text: str, values: Any = None, *, binary: bool = False, **names: str
    ) -> list[tuple[Any, ...]]:
        with self.answering():
            done = self.connection.execute(self._named(text, **names), values, binary=binary)
            return done.fetchall() if done.description else []

    def describe(self) -> StoreFacts:
        """Type and dimension of the column, and the first vector index on it."""
        column = self.address.need("column")
        found = self._run(
            "SELECT format_type(atttypid, atttypmod), attname FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            [self._named("{table}").as_string()],
        )
        types = {name: kind for kind, name in found}
        base, _, size = types.get(column, "").partition("(")
        if base not in ("vector", "halfvec"):
            held = (n for n, t in types.items() if t.startswith(("vector", "halfvec")))
            raise self.no_column("column of type vector or halfvec", held)
        dim = int(size[:-1]) if size else 0
        rows, first = self._run(
            "SELECT count(*), max(vector_dims({column})) FROM {table} "
            "WHERE {column} IS NOT NULL AND {where}"
        )[0]
        index, operators, *_ = self._index or ("none", "vector", "", "")
        kind, _, measure = operators.removesuffix("_ops").partition("_")
        codec = {"bit": "binary", "halfvec": "float16"}.get(kind, "none")
        return StoreFacts(
            rows=int(rows),
            dim=dim or int(first or 0),
            dtype="float16" if base == "halfvec" else "float32",
            score=self.address.options.get("score", "") or _CLASSES.get(measure, ""),
            index=index,
            codec=self.codec if self.codec != "none" else codec,
            expression=self.codec != "binary",
        )

    @property
    def _index(self) -> tuple[str, str, str, str] | None:
        """Kind, operators, what is indexed, and how, of the first index that names the column."""
        found = self._run(
            "SELECT am.amname, o.opcname, pg_get_indexdef(i.indexrelid) FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam "
            "JOIN pg_opclass o ON o.oid = i.indclass[0] "
            "WHERE i.indrelid = %s::regclass AND am.amname IN ('hnsw', 'ivfflat')",
            [self._named("{table}").as_string()],
        )
        for kind, operators, text in found:
            rest = text.partition(" USING ")[2]
            end = re.search("(?= WITH | WHERE |$)", rest)
            assert end is not None
            what, how = rest[: end.start()], rest[end.start() :]
            if self._in_index.search(what):
                return kind, operators, what, how
        return None

    @cached_property
    def _in_index(self) -> re.Pattern[str]:
        """The column as PostgreSQL writes it into a definition."""
        column = self.address.need("column")
        ((written,),) = self.connection.execute("SELECT quote_ident(%s)", [column]).fetchall()
        return re.compile(rf"(?<![\w\".]){re.escape(written)}(?![\w\".])")

    def ids(self) -> np.ndarray:
        """Ids of items with a vector, in their own order, by a server-side cursor."""
        statement = self._named(
            "SELECT {id} FROM {table} WHERE {column} IS NOT NULL AND {where} ORDER BY {id}"
        )
        found: list[Any] = []
        with self._transaction(), self.connection.cursor(name="isthmus_ids") as cursor:
            cursor.itersize = 50_000
            cursor.execute(statement)
            found = [row[0] for row in cursor]
        return np.array(found)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.answering(), self.connection.transaction():
            yield

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Vectors in pgvector's binary form: 4 bytes of header, then big-endian floats."""
        asked = "SELECT {id}::text, {column} FROM {table} WHERE {id} = ANY(%s)"
        found = self._run(asked, [ids.tolist()], binary=True)
        kind = np.dtype(">f2" if self._half else ">f4")
        return ((one, np.frombuffer(raw, kind, offset=4)) for one, raw in found)

    @cached_property
    def _half(self) -> bool:
        """Whether vectors are stored as float16."""
        return str(self._attribute("format_type(atttypid, atttypmod)")).startswith("halfvec")

    def _attribute(self, what: str) -> Any:
        """What PostgreSQL says of the column; None where there is none."""
        found = self._run(
            f"SELECT {what} FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped",
            [self._named("{table}").as_string(), self.address.column],
        )
        return found[0][0] if found else None

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """One statement a query, all in one transaction."""
        statement = self._named(self._order(check_score(score), mark))
        found = []
        with self._transaction():
            for query in queries:
                text = "[" + ",".join(map(repr, map(float, query))) + "]"
                rows = self.connection.execute(statement, {"q": text, "k": k}).fetchall()
                found.append([row[0] for row in rows])
        return self.answers(found)

    def _order(self, score: str, mark: Mark | None) -> str:
        # pgvector answers <#> with the negative product, and the other two with distances
        column, asked = _CODECS[self.codec]
        operator = "<~>" if self.codec == "binary" else OPERATORS[score]
        measure = f"({column} {operator} {asked})".replace("DIM", str(self._dim))
        if mark is not None and mark.bias:
            if score == "euclidean":
                measure = f"{measure} * {measure} / 2"
            measure += " - {bias}"
        # codes tie often, and rows that were written again lie elsewhere; no index sorts by ids too
        original = self if mark is None else self.at(mark.source)
        tie = ", {id}" if original._index is None else ""
        return (
            "SELECT {id} FROM {table} WHERE {column} IS NOT NULL AND {where} "
            f"ORDER BY {measure}{tie} LIMIT %(k)s"
        )

    @property
    def codec(self) -> str:
        """How vectors are compared: as they are, as halves, or as their signs."""
        return self.asked_codec(_CODECS)

    @cached_property
    def _dim(self) -> int:
        return self.describe().dim

    def mark(self) -> Mark | None:
        """The comment of the column."""
        text = self._attribute("col_description(attrelid, attnum)") or ""
        return Mark.of_text(text[len(_MARK) :]) if text.startswith(_MARK) else None

    @property
    def is_there(self) -> bool:
        """Whether the table has the column."""
        return bool(self._attribute("attname"))

    def make(self, new: Pgvector, dim: int, mark: Mark) -> None:
        """Add the column (and that of its bias) with the mark, in one transaction."""
        with self._transaction():
            new._run(f"ALTER TABLE {{table}} ADD COLUMN {{column}} vector({dim})")
            if mark.bias:
                new._run("ALTER TABLE {table} ADD COLUMN {bias} double precision")
            new._write_mark(mark)

    def _write_mark(self, mark: Mark) -> None:
        text = self._sql.Literal(_MARK + mark.text)
        self.connection.execute(
            self._named("COMMENT ON COLUMN {table}.{column} IS ") + self._sql.SQL("{}").format(text)
        )

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One UPDATE from arrays, one transaction."""
        texts = [
            "[" + ",".join(map(repr, row.tolist())) + "]" for row in vectors.astype(np.float32)
        ]
        values: list[Any] = [ids.tolist(), texts]
        if bias is None:
            statement = (
                "UPDATE {table} SET {column} = new.v::vector FROM "
                "unnest(%s, %s::text[]) AS new(id, v) WHERE {table}.{id} = new.id"
            )
        else:
            values.append(bias.tolist())
            statement = (
                "UPDATE {table} SET {column} = new.v::vector, {bias} = new.n FROM "
                "unnest(%s, %s::text[], %s::float8[]) AS new(id, v, n) WHERE {table}.{id} = new.id"
            )
        self._run(statement, values)

    def finish(self, mark: Mark) -> None:
        """An index like the original column's, with its settings and condition; then the mark."""
        source = self.at(mark.source)
        found, table = source._index, self.address.need("table").rpartition(".")[2]
        if found is not None:
            _, _, what, how = found
            measure = {score: name for name, score in _CLASSES.items()}[mark.score]
            what = re.sub("(vector|halfvec)_[a-z0-9]+_ops", rf"\1_{measure}_ops", what)
            if "::halfvec" not in what:  # deployed columns are of type vector
                what = what.replace("halfvec_", "vector_")
            what = re.sub(r"::(halfvec|bit)\(\d+\)", rf"::\1({self._dim})", what)
            column = self._sql.Identifier(self.address.column).as_string()
            new = source._in_index.sub(lambda _: column, what) + how
            name = f"{table}_{self.address.column}_isthmus"[-63:]  # PostgreSQL's longest name
            self._make_index(new, name)
        self._write_mark(replace(mark, complete=True))

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[Pgvector, np.ndarray]:
        """A temporary table, which goes with the connection, with the same index.

        Where it is smaller than the user's, its index is used all the same.
        """
        made = self._other(self.address.changed(table=SAMPLE, where=None, modality=None))
        take = "CREATE TEMPORARY TABLE {new} AS SELECT {id}, {column} FROM {table} WHERE {id} = ANY"
        self._run(f"{take}(%s)", [ids.tolist()], new=SAMPLE)
        if self._index is not None:
            _, _, what, how = self._index
            made._make_index(what + how.partition(" WHERE ")[0])
            if len(ids) < self.describe().rows:
                self._run("SET enable_seqscan = off")
        self._run("ANALYZE {new}", new=SAMPLE)
        return made, ids

    def remove_sample(self) -> list[str]:
        """Drop the temporary table; none is left by another connection."""
        self._run("DROP TABLE IF EXISTS pg_temp.{new}", new=SAMPLE)
        self._run("RESET enable_seqscan")
        return []

    def _make_index(self, using: str, name: str = "") -> None:
        """An index by what follows USING in a definition, under a name unless it is there."""
        self._run(
            f"CREATE INDEX {'IF NOT EXISTS {index} ' if name else ''}ON {{table}} USING "
            + using.replace("{", "{{").replace("}", "}}"),
            index=name,
        )

    def undo(self) -> None:
        """Drop the column and its bias."""
        self.need_mark()
        self._run("ALTER TABLE {table} DROP COLUMN {column}, DROP COLUMN IF EXISTS {bias}")

    def example(self, mark: Mark) -> str:
        """The statement through psycopg."""
        statement = self._named(self._order(mark.score, mark)).as_string()
        return _EXAMPLE.format(place=self._shown_place(), statement=statement)

    def _shown_place(self) -> str:
        return self.address.shown.partition("?")[0] + _asked(self.address.theirs_shown)


def _asked(options: dict[str, str]) -> str:
    return f"?{urlencode(options)}" if options else ""


_EXAMPLE = '''
import psycopg

SERVER = "{place}"  # add the password, or set PGPASSWORD
SQL = """{statement}"""


def search(query, k=10):
    """Ids of the k first items."""
    q = "[" + ",".join(map(repr, query_vector(query).tolist())) + "]"
    with psycopg.connect(SERVER) as connection:
        return [row[0] for row in connection.execute(SQL, {{"q": q, "k": k}})]
'''
