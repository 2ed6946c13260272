"""Qdrant's own engine on disk: ``qdrant-edge:DIR?vector=V``.

A deployed vector is a second named vector of the same points; marks lie in ``DIR/isthmus.json``. It
gets the quantisation that the original vector has: the engine takes it from the shard's
configuration, so the shard is closed for a moment, and rebuilt by its own optimizer.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from isthmus.data import write_json
from isthmus.deploy.stores.store import Mark, Store, StoreFacts, in_order
from isthmus.encoders.libraries import first_line, library
from isthmus.errors import FileError, OptionError

DISTANCES = {"dot": "Dot", "cosine": "Cosine", "euclidean": "Euclid"}
_SCORES = {name: score for score, name in DISTANCES.items()}
_CODECS = {
    "scalar": "int8",
    "binary": "binary",
    "product": "product quantisation",
    "turbo": "TurboQuant",
}
_PAGE = 1000


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

    def connect(self) -> _Shard:
        """Open the shard, or take the one that is open in this process."""
        folder = os.path.realpath(self.address.place)
        if not os.path.isfile(os.path.join(folder, "edge_config.json")):
            raise FileError(
                "store-unreachable", f"'{self.address.place}' is no folder of a Qdrant shard"
            )
        if folder in _SHARDS:
            return _SHARDS[folder]
        try:
            shard = _Shard(folder)
        except Exception as why:
            raise FileError(
                "store-refused", f"'{self.address.shown}' does not open: {first_line(why)}"
            ) from why
        _SHARDS[folder] = shard
        return shard

    @property
    def _config(self) -> dict[str, Any]:
        path = Path(self.connection.folder) / "edge_config.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))["vectors"])

    def describe(self) -> StoreFacts:
        """The vector's size, distance and quantisation."""
        engine, vectors = _engine(), self._config
        if self.address.need("vector" if "vector" in self.address.options else "column") not in (
            vectors
        ):
            raise OptionError(
                "unknown-column",
                f"'{self.address.shown}' has no vector '{self.address.column}'; it has "
                f"{', '.join(sorted(vectors)) or 'none'}",
            )
        found = vectors[self.address.column]
        kind = next(iter(found.get("quantization_config") or {}), "")
        count = engine.CountRequest(filter=self._filter())
        return StoreFacts(
            rows=self.connection.open.count(count),
            dim=int(found["size"]),
            dtype="float16" if str(found.get("datatype", "")).lower() == "float16" else "float32",
            score=_SCORES.get(found["distance"], ""),
            index="hnsw",
            codec=_CODECS.get(kind, kind or "none"),
        )

    def _filter(self) -> Any:
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

    def fetch(self, ids: np.ndarray) -> np.ndarray:
        """Vectors of a thousand ids a call."""
        parts, name = [], self.address.column
        for at in range(0, len(ids), _PAGE):
            some = ids[at : at + _PAGE]
            page = self.connection.open.retrieve(some.tolist(), False, [name])
            page = [point for point in page if name in (point.vector or {})]
            vectors = np.array([point.vector[name] for point in page], np.float32)
            parts.append(in_order(some, [point.id for point in page], vectors))
        return np.concatenate(parts)

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
        return Mark(**found) if found and self.address.column in self._config else None

    def _write_mark(self, mark: Mark | None) -> None:
        marks = {k: v for k, v in self._read_marks().items() if k != self.address.column}
        if mark is not None:
            marks[self.address.column] = asdict(mark)
        write_json(self._marks, marks)

    def prepare(self, column: str, dim: int, mark: Mark) -> QdrantEdge:
        """Make a named vector. The mark comes first: a vector without it would not be ours."""
        engine, new = _engine(), self.at(column)
        if column in self._config:
            new.same_mark(mark)
            return new
        new._write_mark(mark)
        distance = getattr(engine.Distance, DISTANCES[mark.score])
        make = engine.UpdateOperation.create_dense_vector(column, dim, distance)
        self.connection.open.update(make)
        self.connection.open.flush()
        return new

    def put(self, ids: np.ndarray, vectors: np.ndarray, bias: np.ndarray | None) -> None:
        """One update, flushed."""
        engine, name = _engine(), self.address.column
        points = [
            engine.PointVectors(one, {name: row})
            for one, row in zip(ids.tolist(), vectors.tolist(), strict=True)
        ]
        self.connection.open.update(engine.UpdateOperation.update_vectors(points))
        self.connection.open.flush()

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
        engine = _engine()
        self.connection.open.update(engine.UpdateOperation.delete_vector_name(self.address.column))
        self.connection.open.flush()
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
