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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.deploy.stores import kinds

import isthmus as im
from isthmus.deploy import stores

Filling = Callable[[np.ndarray, Path], Iterator[tuple[str, str]]]
"""Candidates and a folder -> (codec, address) of each way that a store compares them."""

DIRECTIONS = ("image to text", "text to image")
CLOSERS = ("orthogonal-shift", "center-queries", "center-both")


@cache
def server(kind: str) -> Callable[..., str]:
    """One store of a kind for the whole run."""
    return kinds.KINDS[kind](Path(tempfile.mkdtemp(prefix="isthmus-bench-")))


def asked(kind: str, codecs: Sequence[str], more: str = "") -> Filling:
    """A store whose codec is part of the address."""

    def filled(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
        address = server(kind)(rows, "cosine" if kind == "redis" else "dot")
        for codec in codecs:
            yield codec, f"{address}{'&' if '?' in address else '?'}codec={codec}{more}"

    return filled


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


def milvus(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """A server that codes collections of any size, with indexes of one list."""
    for kind, settings in {
        "FLAT": {},
        "IVF_SQ8": {"nlist": 1},
        "IVF_PQ": {"nlist": 1, "m": 32, "nbits": 8},
        "SCANN": {"nlist": 1},
        "HNSW": {"M": 16, "efConstruction": 200},
    }.items():
        yield kind, server("milvus")(rows, "dot", kind, **settings) + "&ef=500"


STORES: dict[str, Filling] = {
    "pgvector": asked("postgresql", ("halfvec", "binary")),
    "LanceDB": lancedb,
    "Qdrant engine": qdrant_edge,
    "Chroma": asked("chroma", ("none",)),
    "FAISS": asked(
        "faiss", ("SQ8", "SQ4", "RaBitQ", "PQ32x8np", "LSH", "HNSW32,SQ8"), "&score=dot"
    ),
    "Milvus": milvus,
    "Redis vector sets": asked("redis", ("none", "int8", "binary"), "&ef=500"),
    "RediSearch": asked("redisearch", ("none",)),
    "sqlite-vec": asked("sqlite", ("none", "int8", "binary")),
}


def rows_of_table(
    images: np.ndarray, captions: np.ndarray, only: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """One line for each store (all, or ``only`` these), codec, direction and closer."""
    directions = dict(zip(DIRECTIONS, ((images, captions), (captions, images))))
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


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines of one store as a Markdown table, a codec a row."""
    ways = [f"{way}: now | {' | '.join(f'`{c}`' for c in CLOSERS)}" for way in DIRECTIONS]
    out = [f"| codec | {' | '.join(ways)} |", "|---" * (1 + len(DIRECTIONS) * 4) + "|"]
    for codec in dict.fromkeys(line["codec"] for line in lines):
        found = {(x["direction"], x["closer"]): x for x in lines if x["codec"] == codec}
        counts = []
        for way in DIRECTIONS:
            lines_of = [found.get((way, closer)) for closer in CLOSERS]
            first = next((x["before"] for x in lines_of if x), "–")
            counts += [first, *(x["after"] if x else "–" for x in lines_of)]
        out.append(f"| {codec} | {' | '.join(map(str, counts))} |")
    return "\n".join(out)


def write(page: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Put each store's table between its marks."""
    text = page.read_text(encoding="utf-8")
    for store in dict.fromkeys(line["store"] for line in lines):
        begin, end = f"<!-- codecs: {store} -->\n", f"<!-- end: {store} -->"
        head, found, rest = text.partition(begin)
        assert found, store
        made = table([line for line in lines if line["store"] == store])
        text = head + begin + made + "\n" + end + rest.partition(end)[2]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("captions")
    parser.add_argument("--only", nargs="*", default=(), choices=STORES, metavar="STORE")
    parser.add_argument("--page", type=Path, help="also write the tables into docs/stores.md")
    given = parser.parse_args()
    every = []
    for line in rows_of_table(unit(given.images), unit(given.captions), given.only):
        every.append(line)
        print(json.dumps(line), flush=True)
    if given.page:
        write(given.page, every)
