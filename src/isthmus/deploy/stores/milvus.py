"""A Milvus server: ``milvus://HOST:PORT?collection=C&vector=V``.

Deployed vectors go to a collection of their own, ``COLLECTION_COLUMN``, with the items' other
fields and the same index. The mark is a property of the collection. Each batch is one upsert.
Milvus Lite is refused: it accepts every index and applies few of them, so nothing measured in it
holds for a server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from isthmus.deploy.stores.store import Mark, Store, StoreFacts

_METRICS = {"dot": "IP", "cosine": "COSINE", "euclidean": "L2"}
_SCORES = {name: score for score, name in _METRICS.items()}
_CODECS = {
    "IVF_SQ8": "int8",
    "IVF_PQ": "product quantisation",
    "SCANN": "product quantisation",
    "IVF_RABITQ": "RaBitQ",
    "HNSW_SQ": "scalar quantisation",
    "HNSW_PQ": "product quantisation",
}
_SHOWN = ("index_type", "metric_type", "field_name", "index_name", "state", "params")
_KEY = "isthmus"


class Milvus(Store):
    """A vector field of one collection."""

    scheme, extra, client = "milvus", "milvus", "pymilvus"
    name, module, container, page = "Milvus", "pymilvus", "collection", 5_000

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What pymilvus raises."""
        return (self.library.MilvusException,)

    def connect(self) -> Any:
        """Open a connection; ``token=`` and ``database=`` are the server's own."""
        parts, options = urlsplit(self.address.place), self.address.options
        if not parts.hostname:
            raise self.refusal("is not milvus://HOST:PORT", "store-unreachable")
        login = {"user": parts.username or "", "password": parts.password or ""}
        with self.opening():
            return self.library.MilvusClient(
                uri=f"http://{parts.hostname}:{parts.port or 19530}",
                token=options.get("token", ""),
                db_name=options.get("database", ""),
                **login,
            )

    def _ask(self, method: str, *values: Any, **options: Any) -> Any:
        """A method of the client on the collection; answers see everything that was written."""
        with self.answering():
            return getattr(self.connection, method)(self._name, *values, **options)

    @property
    def _name(self) -> str:
        return self.address.need("collection")

    @cached_property
    def _fields(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self._ask("describe_collection")["fields"]}

    @property
    def _id(self) -> str:
        return next(name for name, one in self._fields.items() if one.get("is_primary"))

    @property
    def _others(self) -> list[str]:
        """Fields that are no vectors."""
        kinds = self.library.DataType
        vectors = {kinds.FLOAT_VECTOR, kinds.BINARY_VECTOR}
        return [name for name, one in self._fields.items() if one["type"] not in vectors]

    @property
    def _column(self) -> str:
        column, kind = self.address.column, self.library.DataType.FLOAT_VECTOR
        held = [name for name, one in self._fields.items() if one["type"] == kind]
        if column not in held:
            raise self.no_column("field of float vectors", held)
        return column

    @property
    def _index(self) -> dict[str, Any]:
        found = self._ask("list_indexes", field_name=self._column)
        return dict(self._ask("describe_index", found[0])) if found else {}

    def describe(self) -> StoreFacts:
        """The field, and its index."""
        index, kind = self._index, self._index.get("index_type", "FLAT")
        count = self._ask("query", filter=self._filter(), output_fields=["count(*)"])
        return StoreFacts(
            rows=int(count[0]["count(*)"]),
            dim=int(self._fields[self._column]["params"]["dim"]),
            score=_SCORES.get(index.get("metric_type", ""), ""),
            index="none" if kind == "FLAT" else kind.lower(),
            codec=_CODECS.get(kind, "none"),
            multiple=int(index["m"]) if kind == "IVF_PQ" else 2 if kind == "SCANN" else 1,
        )

    def _filter(self, more: str = "") -> str:
        parts = [self.address.options.get("where", ""), more]
        if self.address.modality:
            name, value = self.address.modality
            parts.append(f"{name} == {json.dumps(value)}")
        return " and ".join(f"({part})" for part in parts if part)

    def ids(self) -> np.ndarray:
        """Primary keys by an iterator, in their own order."""
        pages = self._ask(
            "query_iterator", batch_size=self.page, filter=self._filter(), output_fields=[self._id]
        )
        found: list[Any] = []
        while page := pages.next():
            found += [one[self._id] for one in page]
        pages.close()
        return np.sort(np.array(found))

    def _get(self, ids: np.ndarray, fields: list[str]) -> list[dict[str, Any]]:
        said = f"{self._id} in {json.dumps(ids.tolist())}"
        return list(self._ask("query", filter=said, output_fields=fields))

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Vectors by a query for the ids."""
        key, column = self._id, self._column
        return ((x[key], np.asarray(x[column], np.float32)) for x in self._get(ids, [column]))

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """All queries in one call; ``nprobe=`` and ``ef=`` go to the index."""
        found = self._ask("search", np.asarray(queries, np.float32).tolist(), **self._asked(k))
        return self.answers([[one["id"] for one in answer] for answer in found])

    def _asked(self, k: int) -> dict[str, Any]:
        given = {k: int(v) for k, v in self.address.options.items() if k in ("nprobe", "ef")}
        return {
            "anns_field": self._column,
            "limit": k,
            "filter": self._filter(),
            "search_params": {"params": given},
        }

    @property
    def is_there(self) -> bool:
        """Whether there is the collection."""
        return bool(self._ask("has_collection"))

    def mark(self) -> Mark | None:
        """A property of the collection."""
        if not self.is_there:
            return None
        text = self._ask("describe_collection").get("properties", {}).get(_KEY)
        return Mark.of_text(text) if text else None

    def make(self, new: Milvus, dim: int, mark: Mark) -> None:
        """Make a collection with the mark and the index, and load it."""
        client, column = self.connection, new.address.column
        schema = client.create_schema(auto_id=False)
        for name in self._others:
            one = self._fields[name]
            schema.add_field(
                name, one["type"], is_primary=one.get("is_primary", False), **one["params"]
            )
        schema.add_field(column, self.library.DataType.FLOAT_VECTOR, dim=dim)
        index, wanted = self._index, client.prepare_index_params()
        wanted.add_index(
            column,
            index_type=index.get("index_type", "FLAT"),
            metric_type=_METRICS[mark.score],
            params={k: v for k, v in index.items() if k not in _SHOWN and not k.endswith("_rows")},
        )
        new._ask(
            "create_collection",
            schema=schema,
            index_params=wanted,
            consistency_level="Strong",
            properties={_KEY: mark.text},
        )

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One upsert."""
        place = {one: i for i, one in enumerate(ids.tolist())}
        items = self.source._get(ids, self.source._others)
        rows = np.asarray(vectors, np.float32)
        self._ask("upsert", [{**one, self._column: rows[place[one[self._id]]]} for one in items])

    def finish(self, mark: Mark) -> None:
        """Build the index, let searches use it, then the mark."""
        if self.describe().index != "none":
            self._ask("flush")
            while int((index := self._index)["indexed_rows"]) < len(self.ids()):
                if index["state"] == "Failed":
                    raise self.refusal("could not build its index")
                time.sleep(0.5)
            self._ask("release_collection")
            self._ask("load_collection")
        said = {_KEY: replace(mark, complete=True).text}
        self._ask("alter_collection_properties", said)

    def undo(self) -> None:
        """Drop the collection."""
        self.need_mark()
        self._ask("drop_collection")

    def example(self, mark: Mark) -> str:
        """A search through pymilvus."""
        parts = urlsplit(self.address.shown)
        return _EXAMPLE.format(
            uri=f"http://{parts.hostname}:{parts.port or 19530}",
            name=self._name,
            asked={k: v for k, v in self._asked(0).items() if k != "limit"},
        )


_EXAMPLE = '''
from pymilvus import MilvusClient

SERVER = MilvusClient("{uri}")  # add the token where there is one


def search(query, k=10):
    """Ids of the k first items."""
    asked = [query_vector(query).tolist()]
    return [one["id"] for one in SERVER.search("{name}", asked, limit=k, **{asked})[0]]
'''
