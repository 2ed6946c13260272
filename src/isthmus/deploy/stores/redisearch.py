"""RediSearch: a vector field of hashes, ``redis://HOST:PORT/DB?index=I&column=C``.

A deployed vector is a second field of the same hashes, with an index of its own, ``INDEX_COLUMN``:
no field can be taken out of an index again, but an index can be dropped. It has the same algorithm
and settings, and the other fields of the first. Ids are the keys of the hashes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.deploy.stores.owners import owner
from isthmus.deploy.stores.redis_connection import Redis
from isthmus.deploy.stores.store import SAMPLE, Mark, StoreFacts, by_number
from isthmus.errors import FileError

_METRICS = {"dot": "IP", "cosine": "COSINE", "euclidean": "L2"}
_SCORES = {name: score for score, name in _METRICS.items()}
_TYPES = {"FLOAT16": "<f2", "FLOAT32": "<f4", "FLOAT64": "<f8"}


class RediSearch(Redis):
    """A vector field of one index."""

    container, page = "index", 1000

    @property
    def _name(self) -> str:
        return self.address.need("index")

    @property
    def _info(self) -> dict[str, Any]:
        return _pairs(self._ask("FT.INFO", self._name))

    @property
    def _fields(self) -> dict[str, dict[str, Any]]:
        """Name in queries -> what FT.INFO says of the field."""
        return {field["attribute"]: field for field in map(_pairs, self._info["attributes"])}

    @property
    def _vector(self) -> dict[str, Any]:
        column, fields = self.address.need("column"), self._fields
        held = [name for name, one in fields.items() if one["type"] == "VECTOR"]
        if column not in held:
            raise self.no_column("vector field", held)
        if _pairs(self._info["index_definition"])["key_type"] != "HASH":
            raise FileError(
                "no-vectors", f"index '{self._name}' is of JSON documents; only hashes are read"
            )
        return fields[column]

    def describe(self) -> StoreFacts:
        """From FT.INFO."""
        field = self._vector
        return StoreFacts(
            rows=len(self.ids()),
            dim=int(field["dim"]),
            dtype=field["data_type"].lower(),
            score=_SCORES[field["distance_metric"]],
            index="none" if field["algorithm"] == "FLAT" else field["algorithm"].lower(),
        )

    @property
    def _filter(self) -> str:
        parts = [self.address.options.get("where", "")]
        if self.address.modality:
            name, value = self.address.modality
            parts.append(f"@{name}:{{{value}}}")
        return " ".join(f"({part})" for part in parts if part) or "*"

    def ids(self) -> np.ndarray:
        """Keys by a cursor, in natural order, once the index has seen every hash."""
        while int(self._info["indexing"]):
            time.sleep(0.05)
        how = ("LOAD", 1, "@__key", "WITHCURSOR", "COUNT", self.page, "DIALECT", 2)
        page, cursor = self._ask("FT.AGGREGATE", self._name, self._filter, *how)
        keys = [row[1] for row in page[1:]]
        while cursor:
            page, cursor = self._ask("FT.CURSOR", "READ", self._name, cursor)
            keys += [row[1] for row in page[1:]]
        field = self._vector["identifier"]
        sizes = self._ask_all(("HSTRLEN", key, field) for key in keys)
        return by_number(key for key, size in zip(keys, sizes, strict=True) if size)

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """HGET of each key."""
        field = self._vector
        found = self._ask_all(("HGET", key, field["identifier"]) for key in ids.tolist())
        for key, raw in zip(ids.tolist(), found, strict=True):
            if raw is not None:
                yield key, np.frombuffer(raw, _TYPES[field["data_type"]])

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """KNN, all queries together."""
        kind = _TYPES[self._vector["data_type"]]
        found = self._ask_all(self._asked(row.astype(kind).tobytes(), k) for row in queries)
        return self.answers([[key.decode() for key in answer[1:]] for answer in found])

    def _asked(self, query: Any, k: Any) -> list[Any]:
        near = f"{self._filter}=>[KNN $k @{self.address.need('column')} $q AS isthmus_d]"
        return [
            *("FT.SEARCH", self._name, near, "PARAMS", 4, "k", k, "q", query),
            *("SORTBY", "isthmus_d", "NOCONTENT", "LIMIT", 0, k, "DIALECT", 2),
        ]

    def prepare(self, column: str, dim: int, mark: Mark) -> RediSearch:
        """Make what a run that was killed between the two had not made, too."""
        new = super().prepare(column, dim, mark)
        if not new._is_index:
            self.make(new, dim, mark)
        return new

    @property
    def _is_index(self) -> bool:
        return self._name.encode() in self._ask("FT._LIST")

    @property
    def is_there(self) -> bool:
        """Whether there is the index, or its mark."""
        return self._is_index or self.mark() is not None

    def make(self, new: RediSearch, dim: int, mark: Mark) -> None:
        """Write the mark, then make the index."""
        self._ask(*new._marking(mark))
        prefixes = _pairs(self._info["index_definition"])["prefixes"]
        self._ask(*self._making(new, dim, mark, prefixes))

    def _making(self, new: RediSearch, dim: int, mark: Mark, prefixes: list[Any]) -> list[Any]:
        field = self._vector
        settings = {"TYPE": "FLOAT32", "DIM": dim, "DISTANCE_METRIC": _METRICS[mark.score]}
        for name in ("M", "ef_construction", "ef_runtime"):
            if name in field:
                settings[name.upper()] = field[name]
        schema = [
            word
            for one in self._fields.values()
            if one["type"] != "VECTOR"
            for word in (one["identifier"], "AS", one["attribute"], one["type"])
        ]
        flat = [word for pair in settings.items() for word in pair]
        vector = [new.address.column, "VECTOR", field["algorithm"], len(flat), *flat]
        kept = ["PREFIX", len(prefixes), *prefixes]
        return ["FT.CREATE", new._name, "ON", "HASH", *kept, "SCHEMA", *schema, *vector]

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One MULTI."""
        rows = np.ascontiguousarray(vectors, np.float32)
        self._ask_all(
            (
                ("HSET", key, self.address.column, row.tobytes())
                for key, row in zip(ids.tolist(), rows, strict=True)
            ),
            atomic=True,
        )

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[RediSearch, np.ndarray]:
        """Hashes of their own, which no other index has a vector field of, and an index of them."""
        facts, rows = self.describe(), self.fetch(ids)
        mark = Mark("none", SAMPLE, facts.score, source=self.address.column, more=owner())
        new = self.at(SAMPLE)
        new.address = new.address.changed(where=None, modality=None)
        start = f"{SAMPLE}:{new._name}:"
        self._ask(*new._marking(mark))
        self._ask(*self._making(new, facts.dim, mark, [start]))
        keys = np.array([f"{start}{one}" for one in ids.tolist()])
        new.put(keys, rows, None)
        return new, keys

    def undo(self) -> None:
        """Drop the index, then the fields and the mark."""
        self.need_mark()
        if self._is_index:
            ids, field = self.ids(), self._vector["identifier"]
            self._ask_all(("HDEL", key, field) for key in ids.tolist())
            self._ask("FT.DROPINDEX", self._name)
        self._ask("DEL", self._mark_key)

    def example(self, mark: Mark) -> str:
        """The search through redis-py."""
        place = self.address.shown.partition("?")[0]
        words = ", ".join(
            {"q?": "query_vector(query).tobytes()", "k?": "k"}.get(str(word), repr(word))
            for word in self._asked("q?", "k?")
        )
        return _EXAMPLE.format(place=place, words=words)


def _pairs(flat: list[Any]) -> dict[str, Any]:
    """A flat list of names and values as a dict, texts decoded."""

    def text(one: Any) -> Any:
        return one.decode() if isinstance(one, bytes) else one

    return {text(k): text(v) for k, v in zip(flat[::2], flat[1::2], strict=False)}


_EXAMPLE = '''
import redis

SERVER = redis.Redis.from_url("{place}", protocol=2)  # add the password where there is one


def search(query, k=10):
    """Keys of the k first hashes."""
    return [key.decode() for key in SERVER.execute_command({words})[1:]]
'''
