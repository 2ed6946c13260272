"""Qdrant's own engine on disk: ``qdrant-edge:DIR?vector=V``.

A deployed vector is a second named vector of the same points; marks lie in ``DIR/isthmus.json``. It
gets the quantisation that the original vector has: the engine takes it from the shard's
configuration, so the shard is closed for a moment, and rebuilt by its own optimizer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from isthmus.core.libraries import library
from isthmus.data import write_json
from isthmus.deploy.stores.store import Mark, Store, StoreFacts

DISTANCES = {"dot": "Dot", "cosine": "Cosine", "euclidean": "Euclid"}
SCORES = {name: score for score, name in DISTANCES.items()}
CODECS = {
    "scalar": "int8",
    "binary": "binary",
    "product": "product quantisation",
    "turbo": "TurboQuant",
}


def _engine() -> Any:
    return library("qdrant_edge", "Reading Qdrant's engine", "qdrant-edge-py", "qdrant-edge")


class _Shard:
    """One open shard: the engine locks its folder, so a process opens it once."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.open = _engine().EdgeShard.load(folder)

    def again(self, change: Any) -> None:
        """Close, change the configuration, open, and let the engine rebuild what changed."""
        self.open.flush()
        self.open.close()
        path = Path(self.folder) / "edge_config.json"
        write_json(path, change(json.loads(path.read_text(encoding="utf-8"))))
        self.open = _engine().EdgeShard.load(self.folder)
        self.open.optimize()


_SHARDS: WeakValueDictionary[str, _Shard] = WeakValueDictionary()


class QdrantEdge(Store):
    """A named vector of one shard."""

    scheme, extra, client = "qdrant-edge", "qdrant-edge", "qdrant-edge-py"
    page = 1000

    def connect(self) -> _Shard:
        """Open the shard, or take the one that is open in this process."""
        folder = os.path.realpath(self.address.place)
        if not os.path.isfile(os.path.join(folder, "edge_config.json")):
            raise self.refusal("is no folder of a Qdrant shard", "store-unreachable")
        shard = _SHARDS.get(folder)
        if shard is None:
            with self.answering(Exception, said="does not open"):
                shard = _SHARDS[folder] = _Shard(folder)
        return shard

    @property
    def _config(self) -> dict[str, Any]:
        path = Path(self.connection.folder) / "edge_config.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))["vectors"])

    def describe(self) -> StoreFacts:
        """The vector's size, distance and quantisation."""
        engine, vectors = _engine(), self._config
        column = self.address.need("vector" if "vector" in self.address.options else "column")
        if column not in vectors:
            raise self.no_column("vector", sorted(vectors))
        found = vectors[column]
        kind = next(iter(found.get("quantization_config") or {}), "")
        count = engine.CountRequest(filter=self._filter())
        return StoreFacts(
            rows=self.connection.open.count(count),
            dim=int(found["size"]),
            dtype="float16" if str(found.get("datatype", "")).lower() == "float16" else "float32",
            score=SCORES.get(found["distance"], ""),
            index="hnsw",
            codec=CODECS.get(kind, kind or "none"),
        )

    def _filter(self) -> Any:
        if "where" in self.address.options:
            raise self.no_filter("takes no filter as where=", "use modality=NAME:VALUE")
        engine = _engine()
        must = [engine.HasVectorCondition(self.address.column)]
        if self.address.modality:
            key, value = self.address.modality
            must.append(engine.FieldCondition(key=key, match=engine.MatchValue(value)))
        return engine.Filter(must=must)

    def ids(self) -> np.ndarray:
        """Ids by pages, in the engine's order, which is their own."""
        engine, found, offset = _engine(), [], None
        while True:
            asked = engine.ScrollRequest(
                offset=offset, limit=10_000, filter=self._filter(), with_payload=False
            )
            page, offset = self.connection.open.scroll(asked)
            found += [point.id for point in page]
            if offset is None:
                return np.array([one if isinstance(one, int) else str(one) for one in found])

    def read_page(self, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Vectors of the points that have one of this name."""
        name = self.address.column
        for point in self.connection.open.retrieve(ids.tolist(), False, [name]):
            if name in (point.vector or {}):
                yield point.id, np.array(point.vector[name], np.float32)

    def search(
        self, queries: np.ndarray, k: int, *, score: str, mark: Mark | None = None
    ) -> np.ndarray:
        """One query a call, through the quantised vectors and without rescoring."""
        engine, found = _engine(), []
        params = engine.SearchParams(quantization=engine.QuantizationSearchParams(rescore=False))
        for query in queries:
            asked = engine.Query.Nearest(query.tolist(), using=self.address.column)
            request = engine.QueryRequest(
                limit=k, query=asked, filter=self._filter(), params=params
            )
            points = self.connection.open.query(request)
            found.append([p.id if isinstance(p.id, int) else str(p.id) for p in points])
        return self.answers(found)

    @property
    def _marks(self) -> Path:
        return Path(self.connection.folder) / "isthmus.json"

    def _read_marks(self) -> dict[str, Any]:
        return json.loads(self._marks.read_text(encoding="utf-8")) if self._marks.is_file() else {}

    def mark(self) -> Mark | None:
        """From the file of marks, where the vector is there."""
        found = self._read_marks().get(self.address.column)
        return Mark(**found) if found and self.is_there else None

    def _write_mark(self, mark: Mark | None) -> None:
        marks = {k: v for k, v in self._read_marks().items() if k != self.address.column}
        if mark is not None:
            marks[self.address.column] = asdict(mark)
        write_json(self._marks, marks)

    @property
    def is_there(self) -> bool:
        """Whether there is a vector of this name."""
        return self.address.column in self._config

    def make(self, new: QdrantEdge, dim: int, mark: Mark) -> None:
        """Make a named vector. The mark comes first: a vector without it would not be ours."""
        engine, column = _engine(), new.address.column
        new._write_mark(mark)
        distance = getattr(engine.Distance, DISTANCES[mark.score])
        self._update(engine.UpdateOperation.create_dense_vector(column, dim, distance))

    def _update(self, operation: Any) -> None:
        """Done, and on the disk."""
        self.connection.open.update(operation)
        self.connection.open.flush()

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One update, flushed."""
        engine, name = _engine(), self.address.column
        points = [
            engine.PointVectors(one, {name: row})
            for one, row in zip(ids.tolist(), vectors.tolist(), strict=True)
        ]
        self._update(engine.UpdateOperation.update_vectors(points))

    def finish(self, mark: Mark) -> None:
        """The original vector's quantisation, and the mark."""
        keep = ("size", "distance")
        source = {k: v for k, v in self._config[mark.source].items() if k not in keep}
        if (
            source
            and {**self._config[self.address.column], **source}
            != (self._config[self.address.column])
        ):

            def change(config: dict[str, Any]) -> dict[str, Any]:
                config["vectors"][self.address.column].update(source)
                return config

            self.connection.again(change)
        self._write_mark(replace(mark, complete=True))

    def sample(self, ids: np.ndarray, folder: Path) -> tuple[QdrantEdge, np.ndarray]:
        """A shard of its own in the folder, with this one's configuration."""
        engine, name, place = _engine(), self.address.column, folder / "shard"
        place.mkdir()
        facts, path = self.describe(), Path(self.connection.folder) / "edge_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["vectors"] = {name: config["vectors"][name]}
        if self.connection.open.info().indexed_vectors_count:  # a few vectors are left uncoded
            config["optimizers"] = {**config.get("optimizers", {}), "indexing_threshold": 1}
        distance = getattr(engine.Distance, DISTANCES[facts.score])
        vectors = {name: engine.EdgeVectorParams(facts.dim, distance)}
        engine.EdgeShard.create(str(place), engine.EdgeConfig(vectors=vectors)).close()
        made = QdrantEdge(replace(self.address.changed(modality=None), place=str(place)))
        rows = zip(ids.tolist(), self.fetch(ids).tolist(), strict=True)
        points = [engine.Point(one, {name: row}) for one, row in rows]
        made.connection.open.update(engine.UpdateOperation.upsert_points(points))
        made.connection.again(lambda _: config)
        return made, ids

    def remove_sample(self) -> list[str]:
        """The folder goes by itself."""
        return []

    def undo(self) -> None:
        """Remove the named vector from every point."""
        self.need_mark()
        self._update(_engine().UpdateOperation.delete_vector_name(self.address.column))
        self._write_mark(None)

    def example(self, mark: Mark) -> str:
        """A query through the engine."""
        return _EXAMPLE.format(folder=self.place, vector=self.address.column)


_EXAMPLE = '''
from qdrant_edge import EdgeShard, Filter, HasVectorCondition, Query, QueryRequest


def search(query, k=10, folder="{folder}"):
    """Ids of the k first points. The engine locks its folder: keep one shard open in real use."""
    shard = EdgeShard.load(folder)
    asked = Query.Nearest(query_vector(query).tolist(), using="{vector}")
    only = Filter(must=[HasVectorCondition("{vector}")])
    found = [point.id for point in shard.query(QueryRequest(limit=k, query=asked, filter=only))]
    shard.close()
    return found
'''
