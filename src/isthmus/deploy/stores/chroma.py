"""Chroma: ``chroma:DIR?collection=C`` on disk, ``chroma://HOST:PORT?collection=C`` at a server.

A collection holds one vector an item, so deployed vectors go to a collection of their own,
``COLLECTION_COLUMN``, with the items' metadata and documents and the graph's settings. The mark is
in the collection's metadata. Chroma has no codec, and searches a graph (HNSW).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from isthmus.deploy.stores.store import Mark, Store, StoreFacts, by_number

_SPACES = {"dot": "ip", "cosine": "cosine", "euclidean": "l2"}
_SCORES = {name: score for score, name in _SPACES.items()}
_KEY = "isthmus"
_SETTINGS = ("ef_construction", "max_neighbors", "ef_search")


class Chroma(Store):
    """One collection."""

    scheme, extra, client = "chroma", "chroma", "chromadb"
    name, module, container, page = "Chroma", "chromadb", "collection", 5_000

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What chromadb raises."""
        return (self.library.errors.ChromaError, ValueError)

    def connect(self) -> Any:
        """Open the folder or the server."""
        place = self.address.place
        if "://" not in place and not os.path.isfile(os.path.join(place, "chroma.sqlite3")):
            raise self.refusal("is no folder of Chroma", "store-unreachable")
        settings, parts = self.library.config.Settings, urlsplit(place)
        with self.opening(Exception):
            quiet = settings(anonymized_telemetry=False)
            if "://" in place:
                return self.library.HttpClient(parts.hostname, parts.port or 8000, settings=quiet)
            try:
                return self.library.PersistentClient(place, quiet)
            except ValueError:  # open in this process already, with the library's own settings
                return self.library.PersistentClient(place, settings(anonymized_telemetry=True))

    @cached_property
    def _collection(self) -> Any:
        with self.answering():
            name = self.address.need("collection")
            return self.connection.get_collection(name, embedding_function=None)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_collection"}

    def describe(self) -> StoreFacts:
        """The graph's space, and the length of the first vector."""
        graph = self._collection.configuration["hnsw"] or {}
        with self.answering():
            some = self._collection.get(limit=1, include=["embeddings"])["embeddings"]
        return StoreFacts(
            rows=len(self.ids()) if self._filter else self._collection.count(),
            dim=len(some[0]) if len(some) else 0,
            score=_SCORES.get(graph.get("space", "l2"), ""),
            index="hnsw",
        )

    @property
    def _filter(self) -> dict[str, Any]:
        parts = [self.json_filter()]
        if self.address.modality:
            name, value = self.address.modality
            parts.append({name: value})
        said = [part for part in parts if part]
        return said[0] if len(said) == 1 else {"$and": said} if said else {}

    def ids(self) -> np.ndarray:
        """Ids by pages, in natural order."""

        def pages() -> Iterator[str]:
            for at in range(0, self._collection.count(), self.page):
                page = self._collection.get(
                    where=self._filter or None, limit=self.page, offset=at, include=[]
                )
                yield from page["ids"]

        with self.answering():
            return by_number(pages())

    def _get(self, ids: np.ndarray, *included: str) -> dict[str, Any]:
        """What the collection has of these ids, in the order asked."""
        with self.answering():
            found = self._collection.get(ids=ids.tolist(), include=list(included))
        place = {one: i for i, one in enumerate(found["ids"])}
        order = [place[one] for one in ids.tolist() if one in place]
        return {name: [found[name][i] for i in order] for name in included}

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Vectors by id."""
        with self.answering():
            found = self._collection.get(ids=ids.tolist(), include=["embeddings"])
        return zip(found["ids"], found["embeddings"], strict=True)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """All queries in one call."""
        asked = np.ascontiguousarray(queries, np.float32)
        with self.answering():
            found = self._collection.query(
                query_embeddings=asked, n_results=k, where=self._filter or None, include=[]
            )
        return self.answers(found["ids"])

    @property
    def is_there(self) -> bool:
        """Whether there is the collection."""
        names = [one.name for one in self.connection.list_collections()]
        return self.address.need("collection") in names

    def mark(self) -> Mark | None:
        """The collection's metadata."""
        text = (self._collection.metadata or {}).get(_KEY) if self.is_there else None
        return Mark.of_text(text) if text else None

    def make(self, new: Chroma, dim: int, mark: Mark) -> None:
        """Make an empty collection with the mark."""
        graph = self._collection.configuration["hnsw"] or {}
        kept = {name: graph[name] for name in _SETTINGS if name in graph}
        with self.answering():
            self.connection.create_collection(
                new.address.need("collection"),
                configuration={"hnsw": {**kept, "space": _SPACES[mark.score]}},
                metadata={_KEY: mark.text},
                embedding_function=None,
            )

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One call for as many as Chroma takes at once."""
        most = self.connection.get_max_batch_size()
        for at in range(0, len(ids), most):
            some = ids[at : at + most]
            kept = self.source._get(some, "metadatas", "documents")
            kept = {k: v for k, v in kept.items() if any(one is not None for one in v)}
            with self.answering():
                self._collection.upsert(
                    ids=some.tolist(), embeddings=vectors[at : at + most], **kept
                )

    def finish(self, mark: Mark) -> None:
        """The mark; the graph grows as vectors are written."""
        self._collection.modify(metadata={_KEY: replace(mark, complete=True).text})
        self.__dict__.pop("_collection")

    def undo(self) -> None:
        """Delete the collection."""
        self.need_mark()
        self.connection.delete_collection(self.address.need("collection"))
        self.__dict__.pop("_collection", None)

    def example(self, mark: Mark) -> str:
        """A query through chromadb."""
        place = urlsplit(self.address.shown.partition("?")[0])
        opened = f'PersistentClient("{self.place}")'
        if "://" in self.address.place:
            opened = f'HttpClient("{place.hostname}", {place.port or 8000})'
        return _EXAMPLE.format(
            opened=opened, name=self.address.need("collection"), where=self._filter or None
        )


_EXAMPLE = '''
import chromadb

ITEMS = chromadb.{opened}.get_collection("{name}", embedding_function=None)


def search(query, k=10):
    """Ids of the k first items."""
    asked = query_vector(query)[None]
    return ITEMS.query(query_embeddings=asked, n_results=k, where={where}, include=[])["ids"][0]
'''
