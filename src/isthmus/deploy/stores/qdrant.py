"""Qdrant: ``qdrant://HOST:PORT/COLLECTION?vector=V``, or its client's folder
``qdrant:DIR?collection=C&vector=V``.

Deployed vectors go to a collection of their own, ``COLLECTION_V``, with the points' payloads and
the first one's quantisation and graph. The mark is in the collection's metadata (Qdrant 1.16 and
later). The client's folder is searched exactly, whatever it is told of quantisation: no codec acts
there, and none is reported. Tests run on such a folder; no server could be had for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import numpy as np

from isthmus.data.addresses import Address
from isthmus.deploy.stores.qdrant_edge import CODECS, DISTANCES, SCORES
from isthmus.deploy.stores.store import SAMPLE, Mark, Store, StoreFacts, pages

_KEY = "isthmus"
_FOLDERS: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Open folders: the client locks one, so a process opens it once."""


class Qdrant(Store):
    """A named vector, or the only one, of a collection."""

    scheme, extra, client = "qdrant", "qdrant", "qdrant-client"
    name, module, container, page = "Qdrant", "qdrant_client", "collection", 1000

    def __init__(self, address: Address) -> None:
        path = urlsplit(address.place).path.strip("/") if "://" in address.place else ""
        if path and "collection" not in address.options:
            address = replace(address, options={**address.options, "collection": path})
        super().__init__(address)

    @property
    def _is_folder(self) -> bool:
        return "://" not in self.address.place

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What qdrant-client raises."""
        return (self.library.http.exceptions.ApiException, ValueError)

    def connect(self) -> Any:
        """Open the folder, or a client of the server (``api_key=`` is the server's own)."""
        if not self._is_folder:
            parts = urlsplit(self.address.place)
            return self.library.QdrantClient(
                host=parts.hostname,
                port=parts.port or 6333,
                https=self.address.options.get("https") == "1",
                api_key=self.address.options.get("api_key"),
            )
        folder = os.path.realpath(self.address.place)
        if not os.path.isfile(os.path.join(folder, "meta.json")):
            raise self.refusal("is no folder of Qdrant's client", "store-unreachable")
        client = _FOLDERS.get(folder)
        if client is None:
            with self.opening(RuntimeError):
                client = _FOLDERS[folder] = self.library.QdrantClient(path=folder)
        return client

    @property
    def _name(self) -> str:
        return self.address.need("collection")

    def _ask(self, method: str, **options: Any) -> Any:
        with self.answering():
            return getattr(self.connection, method)(self._name, **options)

    @property
    def _config(self) -> Any:
        return self._ask("get_collection").config

    @property
    def _params(self) -> Any:
        """What the server says of the vector."""
        found, column = self._config.params.vectors, self.address.column
        held = found if isinstance(found, dict) else {"": found}
        if column not in held:
            raise self.no_column("vector", held)
        return held[column]

    def describe(self) -> StoreFacts:
        """Size, distance and quantisation; of the client's folder none."""
        params, models = self._params, self.library.models
        said = params.quantization_config or self._config.quantization_config
        kind = next(iter(said.model_dump()), "") if said and not self._is_folder else ""
        half = params.datatype == models.Datatype.FLOAT16
        return StoreFacts(
            rows=int(self._ask("count", count_filter=self._filter, exact=True).count),
            dim=int(params.size),
            dtype="float16" if half else "float32",
            score=SCORES.get(params.distance.value, ""),
            index="none" if self._is_folder else "hnsw",
            codec=CODECS.get(kind, kind or "none"),
        )

    @property
    def _filter(self) -> Any:
        models, column = self.library.models, self.address.column
        must: list[Any] = [models.HasVectorCondition(has_vector=column)] if column else []
        if given := self.json_filter():
            with self.answering(ValueError, TypeError, said="takes no such filter as where="):
                must.append(models.Filter(**given))
        if self.address.modality:
            key, value = self.address.modality
            must.append(models.FieldCondition(key=key, match=models.MatchValue(value=value)))
        return models.Filter(must=must)

    def ids(self) -> np.ndarray:
        """Ids by pages, in the server's order, which is their own."""
        asked = {"scroll_filter": self._filter, "limit": self.page, "with_payload": False}
        points, offset = self._ask("scroll", **asked)
        while offset is not None:
            page, offset = self._ask("scroll", offset=offset, **asked)
            points += page
        return np.array([one.id for one in points])

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Vectors by id."""
        column = self.address.column
        wanted = {"with_vectors": [column] if column else True, "with_payload": False}
        for one in self._ask("retrieve", ids=ids.tolist(), **wanted):
            yield one.id, np.array(one.vector[column] if column else one.vector, np.float32)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """Batches of queries, through the quantised vectors and without rescoring."""
        models, found = self.library.models, []
        how = models.QuantizationSearchParams(rescore=False)
        params = None if self._is_folder else models.SearchParams(quantization=how)
        for at in range(0, len(queries), 100):
            asked = [
                models.QueryRequest(
                    query=row.tolist(),
                    using=self.address.column or None,
                    limit=k,
                    filter=self._filter,
                    params=params,
                )
                for row in queries[at : at + 100]
            ]
            answers = self._ask("query_batch_points", requests=asked)
            found += [[point.id for point in one.points] for one in answers]
        return self.answers(found)

    def at(self, column: str) -> Qdrant:
        """The collection ``COLLECTION_COLUMN``."""
        address = self.address.sibling("collection", column)
        options = {k: v for k, v in address.options.items() if k != "vector"}
        place = address.place
        if not self._is_folder:
            place = urlsplit(place)._replace(path="/" + options["collection"]).geturl()
        return self._other(replace(address, place=place, options=options))

    @property
    def is_there(self) -> bool:
        """Whether there is the collection."""
        return bool(self._ask("collection_exists"))

    def mark(self) -> Mark | None:
        """The collection's metadata."""
        text = (self._config.metadata or {}).get(_KEY) if self.is_there else None
        return Mark.of_text(text) if text else None

    def make(self, new: Qdrant, dim: int, mark: Mark) -> None:
        """Make an empty collection with the mark."""
        models, source, config = self.library.models, self._params, self._config
        vector = models.VectorParams(
            size=dim,
            distance=models.Distance(DISTANCES[mark.score]),
            hnsw_config=source.hnsw_config,
            quantization_config=source.quantization_config or config.quantization_config,
            on_disk=source.on_disk,
        )
        how = {}
        if mark.form == SAMPLE and self._ask("get_collection").indexed_vectors_count:
            few = models.OptimizersConfigDiff(indexing_threshold=1)  # they would be left uncoded
            how["optimizers_config"] = few
        made = {"vectors_config": {new.address.column: vector}, "metadata": {_KEY: mark.text}}
        new._ask("create_collection", **made, **how)

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One upsert, which waits until it is written."""
        models, column = self.library.models, self.address.column
        kept = {
            one.id: one.payload
            for some in pages(ids, self.page)
            for one in self.source._ask("retrieve", ids=some.tolist(), with_payload=True)
        }
        points = [
            models.PointStruct(id=one, vector={column: row}, payload=kept[one])
            for one, row in zip(ids.tolist(), vectors.astype(np.float32).tolist(), strict=True)
        ]
        self._ask("upsert", points=points, wait=True)

    def finish(self, mark: Mark) -> None:
        """The mark; the server builds its index by itself, which a sample waits for."""
        while mark.form == SAMPLE and self._ask("get_collection").status.value == "yellow":
            time.sleep(0.2)
        self._ask("update_collection", metadata={_KEY: replace(mark, complete=True).text})

    def undo(self) -> None:
        """Delete the collection."""
        self.need_mark()
        self._ask("delete_collection")

    def example(self, mark: Mark) -> str:
        """A query through qdrant-client."""
        parts = urlsplit(self.address.place)
        opened = f'path="{self.place}"'
        if not self._is_folder:
            opened = f'host="{parts.hostname}", port={parts.port or 6333}'
        return _EXAMPLE.format(opened=opened, name=self._name, vector=self.address.column)


_EXAMPLE = '''
from qdrant_client import QdrantClient


def search(query, k=10):
    """Ids of the k first points; keep one client open in real use."""
    client = QdrantClient({opened})
    asked = query_vector(query).tolist()
    found = client.query_points("{name}", query=asked, using="{vector}", limit=k)
    client.close()
    return [point.id for point in found.points]
'''
