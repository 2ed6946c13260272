"""Redis: vector sets ``redis://HOST:PORT/DB?key=K``; RediSearch ``redis://…?index=I&column=C``.

A vector set knows cosine alone. Deployed vectors go to a set of their own, ``KEY_COLUMN``, with the
elements' attributes, the set's quantisation and its M. RediSearch reads a field of hashes
(``redisearch.py``). Each batch is one MULTI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.data.addresses import Address
from isthmus.deploy.stores.redis_connection import Redis
from isthmus.deploy.stores.redisearch import RediSearch
from isthmus.deploy.stores.store import Mark, StoreFacts, by_number

_CODECS = {"f32": "none", "int8": "int8", "bin": "binary"}
_ASKED = {"none": "NOQUANT", "int8": "Q8", "binary": "BIN"}
_HOUR = 3600


def open_redis(address: Address) -> Redis:
    """A vector set, or an index of RediSearch where the address names one."""
    return (RediSearch if "index" in address.options else VectorSet)(address)


class VectorSet(Redis):
    """One vector set."""

    container = "key"

    @property
    def _name(self) -> str:
        return self.address.need("key")

    @cached_property
    def _info(self) -> dict[str, Any]:
        found = self._ask("VINFO", self._name)
        if found is None:
            raise self.refusal(f"has no vector set '{self._name}'")
        return {k.decode(): v for k, v in zip(found[::2], found[1::2], strict=True)}

    @property
    def codec(self) -> str:
        """The set's quantisation, or the one that is asked for."""
        own = self._info["quant-type"].decode()
        return self.asked_codec(_ASKED, _CODECS.get(own, own))

    def describe(self) -> StoreFacts:
        """From VINFO."""
        return StoreFacts(
            rows=len(self.ids()),
            dim=int(self._info["vector-dim"]),
            score="cosine",
            index="hnsw",
            codec=self.codec,
        )

    @property
    def _filter(self) -> list[str]:
        parts = [self.address.options.get("where", "")]
        if self.address.modality:
            name, value = self.address.modality
            parts.append(f".{name} == {json.dumps(value)}")
        said = " and ".join(f"({part})" for part in parts if part)
        return ["FILTER", said] if said else []

    def ids(self) -> np.ndarray:
        """Elements in natural order."""
        count = self._ask("VCARD", self._name)
        if self._filter:  # a search that reads every element and leaves out what does not fit
            anything = np.ones(int(self._info["vector-dim"]), np.float32).tobytes()
            asked: list[Any] = ["VSIM", self._name, "FP32", anything, "COUNT", count, "TRUTH"]
            return by_number(self._ask(*asked, *self._filter))
        return by_number(self._ask("VRANDMEMBER", self._name, count) if count else [])

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """VEMB: decoded where the set is quantised."""
        found = self._ask_all(("VEMB", self._name, one) for one in ids.tolist())
        for one, numbers in zip(ids.tolist(), found, strict=True):
            if numbers is not None:
                yield one, np.array(numbers, np.float64).astype(np.float32)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """VSIM, all queries together; ``ef=`` says how far the graph is followed."""
        ef = self.address.options.get("ef")
        more = [*self._filter, *(["EF", ef] if ef else [])]
        rows = np.ascontiguousarray(queries, np.float32)
        key = self._coded
        found = self._ask_all(
            ("VSIM", key, "FP32", row.tobytes(), "COUNT", k, *more) for row in rows
        )
        return self.answers([[one.decode() for one in answer] for answer in found])

    @cached_property
    def _coded(self) -> str:
        """The set that is searched; one of another codec than it has is made for an hour."""
        if self.codec == _CODECS.get(self._info["quant-type"].decode()):
            return self._name
        ids, key = self.ids(), f"{self._name}:isthmus-{self.codec}"
        self._ask("DEL", key)
        self._ask_all(self._adding(self, key, ids, self.fetch(ids)), atomic=True)
        self._ask("EXPIRE", key, _HOUR)
        return key

    def _adding(
        self, source: VectorSet, key: str, ids: np.ndarray, vectors: np.ndarray
    ) -> list[list[Any]]:
        """Commands that add elements with the attributes that they have in ``source``."""
        held = self._ask_all(("VGETATTR", source._name, one) for one in ids.tolist())
        how = [_ASKED[source.codec], "M", int(source._info["hnsw-m"])]
        rows = np.ascontiguousarray(vectors, np.float32)
        return [
            ["VADD", key, "FP32", row.tobytes(), one, *how, *(["SETATTR", said] if said else [])]
            for one, row, said in zip(ids.tolist(), rows, held, strict=True)
        ]

    @property
    def is_there(self) -> bool:
        """Whether there is the set, or its mark."""
        return self.mark() is not None or bool(self._ask("EXISTS", self._name))

    def make(self, new: VectorSet, dim: int, mark: Mark) -> None:
        """Write the mark; the set comes with its first elements."""
        self._ask(*new._marking(mark))

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One MULTI."""
        self._ask_all(self._adding(self.source, self._name, ids, vectors), atomic=True)

    def undo(self) -> None:
        """Delete the set and the mark."""
        self.need_mark()
        self._ask("DEL", self._name, self._mark_key)

    def example(self, mark: Mark) -> str:
        """VSIM through redis-py."""
        return _EXAMPLE.format(
            place=self.address.shown.partition("?")[0], key=self._name, more=self._filter
        )


_EXAMPLE = '''
import redis

SERVER = redis.Redis.from_url("{place}", protocol=2)  # add the password where there is one


def search(query, k=10):
    """Ids of the k first elements."""
    asked = ["VSIM", "{key}", "FP32", query_vector(query).tobytes(), "COUNT", k]
    return [one.decode() for one in SERVER.execute_command(*asked, *{more})]
'''
