"""LanceDB: ``lancedb:DIR?table=T&column=C``.

Deployed vectors go to a table of their own, with the items' other fields: a merge into the original
table would rewrite its rows, which leaves them out of its index. The mark is in the metadata of the
column's field. Each batch is one version of the new table. Where the original column has an index,
the new one gets one of the same kind with the same settings; ``partitions=`` says into how many
lists it is cut, where that is not to be as many as the original's.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.deploy.stores.store import Mark, Store, StoreFacts

METRICS = {"dot": "dot", "cosine": "cosine", "euclidean": "l2"}
_SCORES = {name: score for score, name in METRICS.items()}
_CODECS = {"sq": "int8", "pq": "product quantisation", "rq": "RaBitQ"}
_SETTINGS = {
    "num_bits": "num_bits",
    "num_sub_vectors": "num_sub_vectors",
    "max_connections": "m",
    "construction_ef": "ef_construction",
    "lance.ivf.sample_rate": "sample_rate",
    "lance.ivf.max_iters": "max_iterations",
    "target_partition_size": "target_partition_size",
}
"""What an index says of itself -> what its maker is told; an index of int8 takes no bits."""
_EVERY_LIST = 1_000_000
_KEY = "isthmus"


class LanceDB(Store):
    """A column of fixed-size lists of one table."""

    scheme, extra, client = "lancedb", "lancedb", "lancedb"
    name, module, container, page = "LanceDB", "lancedb", "table", 1000

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What lancedb raises."""
        return (ValueError, RuntimeError, OSError)

    @cached_property
    def _database(self) -> Any:
        if "://" not in self.address.place and not os.path.isdir(self.address.place):
            raise self.refusal("is no folder of LanceDB", "store-unreachable")
        return self.library.connect(self.address.place)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_database"}

    def connect(self) -> Any:
        """Open the table."""
        name = self.address.need("table")
        with self.answering(ValueError, FileNotFoundError, said=f"has no table '{name}'"):
            return self._database.open_table(name)

    @property
    def _field(self) -> Any:
        column, schema = self.address.need("column"), self.connection.schema
        lists = [f.name for f in schema if str(f.type).startswith("fixed_size_list")]
        if column not in lists:
            raise self.no_column("column of fixed-size lists", lists)
        return schema.field(column)

    @cached_property
    def _indexed(self) -> Any:
        found = self.connection.list_indices()
        return next((i for i in found if i.columns == [self.address.column]), None)

    @property
    def _settings(self) -> dict[str, int]:
        """The index's own, as its maker is told them; how many lists it has only a search says."""
        details = self._indexed.index_details or {}
        said = dict(details)
        for part in ("compression", "hnsw", "runtime_hints"):
            said |= details.get(part) or {}
        settings = {name: int(said[key]) for key, name in _SETTINGS.items() if key in said}
        row = np.ones(self._field.type.list_size, np.float32)
        asked = self.connection.search(row, vector_column_name=self.address.column).limit(1)
        lists = re.search(r"partitions_ranked=(\d+)", asked.nprobes(_EVERY_LIST).analyze_plan())
        return {**settings, **({"num_partitions": int(lists[1])} if lists else {})}

    def describe(self) -> StoreFacts:
        """Length and type of the lists, and the index."""
        kind = self._field.type
        codec, multiple, score, index = "none", 1, "", "none"
        if self._indexed is not None:
            details = self._indexed.index_details or {}
            compression = details.get("compression") or {}
            form = compression.get("type", "")
            codec, bits = _CODECS.get(form, "none"), compression.get("num_bits", 1)
            codec += f" of {bits} bits" * (form == "rq" and bits > 1)
            index = str(self._indexed.index_type)
            score = _SCORES.get(str(details.get("metric_type", "")).lower(), "")
            multiple = {"rq": 8, "pq": int(compression.get("num_sub_vectors", 1) or 1)}.get(form, 1)
        kinds = {"float": "float32", "halffloat": "float16", "double": "float64"}
        with self.answering():
            rows = self.connection.count_rows(self._filter())
        return StoreFacts(
            rows=rows,
            dim=kind.list_size,
            dtype=kinds.get(str(kind.value_type), "float32"),
            score=self.address.options.get("score", "") or score,
            index=index,
            codec=codec,
            multiple=multiple,
        )

    @property
    def _id(self) -> str:
        return self.address.options.get("id", "id")

    def _filter(self, more: str = "") -> str:
        parts = [f"{self.address.column} IS NOT NULL", self.address.options.get("where", ""), more]
        if self.address.modality:
            column, value = self.address.modality
            parts.append(f"{column} = '{value.replace(chr(39), chr(39) * 2)}'")
        return " AND ".join(f"({part})" for part in parts if part)

    def _read(self, columns: list[str], more: str = "") -> Any:
        with self.answering():
            found = self.connection.search().where(self._filter(more)).select(columns)
            return found.limit(max(1, self.connection.count_rows())).to_arrow()

    def ids(self) -> np.ndarray:
        """Ids in their own order."""
        return np.sort(self._read([self._id])[self._id].to_numpy(zero_copy_only=False))

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Vectors by a filter of the ids."""
        listed = ", ".join(_literal(one) for one in ids)
        found = self._read([self._id, self.address.column], f"{self._id} IN ({listed})")
        flat = found[self.address.column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return zip(found[self._id].to_pylist(), np.split(flat, found.num_rows or 1), strict=False)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """One search a query, through the index where there is one."""
        with self.answering():
            return self.answers([self._search(query, k, METRICS[score]) for query in queries])

    def _search(self, query: np.ndarray, k: int, metric: str) -> list[Any]:
        asked = self.connection.search(query, vector_column_name=self.address.column)
        asked = asked.distance_type(metric).where(self._filter(), prefilter=True)
        found = asked.select([self._id, "_distance"]).limit(k).to_arrow()
        return list(found[self._id].to_pylist())

    def at(self, column: str) -> LanceDB:
        """The table of deployed vectors: ``TABLE_COLUMN``."""
        other = super().at(column)
        other._connection = None  # a connection is one table
        return other

    def mark(self) -> Mark | None:
        """The metadata of the column's field."""
        if not self.is_there:
            return None
        schema = self.connection.schema
        if self.address.column not in schema.names:
            return None
        text = (schema.field(self.address.column).metadata or {}).get(_KEY.encode())
        return Mark.of_text(text) if text else None

    @property
    def is_there(self) -> bool:
        """Whether there is the table."""
        return self.address.need("table") in self._database.list_tables(limit=None).tables

    def make(self, new: LanceDB, dim: int, mark: Mark) -> None:
        """Make an empty table with the items' other fields and a column of lists."""
        import pyarrow as pa

        lists = pa.list_(pa.float32(), dim)
        field = pa.field(new.address.column, lists, metadata=_metadata(mark))
        kept = [self.connection.schema.field(one) for one in self._others]
        self._database.create_table(new.address.need("table"), schema=pa.schema([*kept, field]))

    @property
    def _others(self) -> list[str]:
        """Fields that are no vectors."""
        schema = self.connection.schema
        return [f.name for f in schema if not str(f.type).startswith("fixed_size_list")]

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """Append: one version of the table."""
        import pyarrow as pa

        source = self.source
        listed = ", ".join(_literal(one) for one in ids)
        fields = source._read(source._others, f"{self._id} IN ({listed})")
        place = {str(one): i for i, one in enumerate(ids)}
        order = [place[str(one)] for one in fields[self._id].to_pylist()]
        flat = pa.array(np.ascontiguousarray(vectors[order], np.float32).reshape(-1))
        lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.connection.add(fields.append_column(self.address.column, lists))

    def finish(self, mark: Mark) -> None:
        """The same kind of index as the original column has, and the mark."""
        found = self.source._indexed
        if found is not None and self._indexed is None:
            maker = getattr(self.library.index, str(found.index_type))
            taken = inspect.signature(maker).parameters
            options = {k: v for k, v in self.source._settings.items() if k in taken}
            if "partitions" in self.address.options:
                options["num_partitions"] = int(self.address.options["partitions"])
            config = maker(**{**options, "distance_type": METRICS[mark.score]})
            self.connection.create_index(self.address.column, config=config)
        said = {"path": self.address.column, "metadata": _metadata(replace(mark, complete=True))}
        self.connection.update_field_metadata(said)
        self.__dict__.pop("_indexed", None)

    def undo(self) -> None:
        """Drop the table."""
        self.need_mark()
        self._database.drop_table(self.address.need("table"))

    def example(self, mark: Mark) -> str:
        """A search through lancedb."""
        return _EXAMPLE.format(
            place=self.place,
            table=self.address.need("table"),
            column=self.address.column,
            metric=METRICS[mark.score],
            where=self._filter(),
            id=self._id,
        )


def _metadata(mark: Mark) -> dict[str, str]:
    return {_KEY: mark.text}


def _literal(value: Any) -> str:
    text = str(value)
    return text if isinstance(value, int | np.integer) else "'" + text.replace("'", "''") + "'"


_EXAMPLE = '''
import lancedb

TABLE = lancedb.connect("{place}").open_table("{table}")


def search(query, k=10):
    """Ids of the k first items."""
    asked = TABLE.search(query_vector(query), vector_column_name="{column}")
    asked = asked.distance_type("{metric}").where("{where}", prefilter=True)
    return asked.select(["{id}", "_distance"]).limit(k).to_arrow()["{id}"].to_pylist()
'''
