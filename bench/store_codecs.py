"""Stores' own codecs before and after closing: ``python -m bench.store_codecs IMAGES CAPTIONS``.

Each store is started here, filled with the candidates, indexed with one of its codecs and asked
without rescoring. It prints a line of JSON for each store, codec, direction and closer: of how
many queries the first answer is that of exact search of the original vectors (or ties with it),
before and after. ``--emoji`` does the same with the rows of ``isthmus demo`` after those of the
files; ``--docs docs`` writes the tables into the pages.
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
from isthmus.core.progress import quiet
from isthmus.deploy import stores
from isthmus.workflows.demo.rows import embed_world

Filling = Callable[[np.ndarray, Path], Iterator[tuple[str, str]]]
"""Candidates and a folder -> (codec, address) of each way that a store compares them."""

DIRECTIONS = ("image to text", "text to image")
CLOSERS = ("orthogonal-shift", "center-queries", "center-both")
COCO, EMOJI = "COCO", "emoji"
PAGES = {COCO: "stores.md", EMOJI: "store-codecs.md"}
AS_THEY_ARE = ("none", "Flat", "FLAT")
"""Codecs that keep vectors as they are."""


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
        "none": None,
        "sq": index.IvfSq(**one),
        "rq": index.IvfRq(**one),
        "pq32": index.IvfPq(num_sub_vectors=32, **one),
        "hnsw_sq": index.HnswSq(distance_type="dot"),
    }.items():
        table = database.create_table(name, pa.table({"id": range(len(rows)), "v": lists}))
        if config is not None:
            table.create_index("v", config=config)
        yield name, f"lancedb:{folder}?table={name}&column=v&score=dot&partitions=1"


def qdrant_edge(rows: np.ndarray, folder: Path) -> Iterator[tuple[str, str]]:
    """Its quantisations, in the index."""
    import qdrant_edge as engine

    turbo = engine.TurboQuantQuantizationConfig
    for name, config in {
        "none": None,
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
    "pgvector": asked("postgresql", ("none", "halfvec", "binary")),
    "LanceDB": lancedb,
    "Qdrant engine": qdrant_edge,
    "Chroma": asked("chroma", ("none",)),
    "FAISS": asked(
        "faiss", ("Flat", "SQ8", "SQ4", "RaBitQ", "PQ32x8np", "LSH", "HNSW32,SQ8"), "&score=dot"
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
                told = {"store": store, "codec": codec, "direction": direction}
                for name in CLOSERS:
                    closer = im.fit(name, queries, candidates, score="dot")
                    yield {**told, "closer": name, **deployed(closer, address, queries)}
            shutil.rmtree(folder, ignore_errors=True)


def deployed(closer: im.Closer, address: str, queries: np.ndarray) -> dict[str, Any]:
    """Deploy, check with every query, undo: the form and counts of queries."""
    with tempfile.TemporaryDirectory() as out:
        made = stores.deploy(closer, address, column="closed", out=out)
        check = stores.check_deployment(
            closer, address, queries, column="closed", out=out, max_queries=10**9
        )
        if made.column:
            stores.undo(closer, address, column="closed", out=out)
    shares = {"before": check.before, "after": check.after, "exact": check.exact}
    counts = {name: round(share * check.queries) for name, share in shares.items()}
    return {"form": made.form, "queries": check.queries, **counts}


def emoji() -> tuple[np.ndarray, np.ndarray]:
    """The drawings that the built-in model never saw, and the names: (1906, 128) unit rows each."""
    made = embed_world("emoji", quiet)
    return made.unseen.astype(np.float32), made.names.astype(np.float32)


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


def exact_table(lines: Sequence[dict[str, Any]]) -> str:
    """Vectors as they are: of how many queries every closer keeps the answer, a store a row."""
    sets = dict.fromkeys((line["rows"], line["direction"]) for line in lines)
    heads = [f"{rows}, {way}, of {queries_of(lines, rows)}" for rows, way in sets]
    out = [f"| store | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for store in dict.fromkeys(line["store"] for line in lines):
        kept = {at: [] for at in sets}
        for line in lines:
            if line["store"] == store and line["codec"] in AS_THEY_ARE:
                kept[line["rows"], line["direction"]].append(line["after"])
        counts = (str(min(found)) if found else "–" for found in kept.values())
        out.append(f"| {store} | {' | '.join(counts)} |")
    return "\n".join(out)


def queries_of(lines: Sequence[dict[str, Any]], rows: str) -> int:
    """How many queries a set of rows has."""
    return next(int(line["queries"]) for line in lines if line["rows"] == rows)


def write(docs: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Put each table between its marks: that of exact forms, and for each set those of stores."""
    put(docs / PAGES[COCO], "exact forms", exact_table(lines))
    for rows in dict.fromkeys(line["rows"] for line in lines):
        for store in dict.fromkeys(line["store"] for line in lines):
            found = [x for x in lines if (x["rows"], x["store"]) == (rows, store)]
            put(docs / PAGES[rows], store, table(found))


def put(page: Path, name: str, made: str) -> None:
    """A table into a page."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- codecs: {name} -->\n", f"<!-- end: {name} -->"
    head, found, rest = text.partition(begin)
    assert found, name
    page.write_text(head + begin + made + "\n" + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?")
    parser.add_argument("captions", nargs="?")
    parser.add_argument("--emoji", action="store_true", help="also the rows of isthmus demo")
    parser.add_argument("--only", nargs="*", default=(), choices=STORES, metavar="STORE")
    parser.add_argument("--lines", type=Path, help="lines that were printed, instead of a run")
    parser.add_argument("--docs", type=Path, help="also write the tables into the pages there")
    given = parser.parse_args()
    every: list[dict[str, Any]] = []
    if given.lines:
        every = [json.loads(line) for line in given.lines.read_text().splitlines()]
    else:
        sets = {COCO: (unit(given.images), unit(given.captions))} if given.captions else {}
        for rows, sides in (sets | ({EMOJI: emoji()} if given.emoji else {})).items():
            for line in rows_of_table(*sides, given.only):
                every.append({"rows": rows, **line})
                print(json.dumps(every[-1]), flush=True)
    if given.docs:
        write(given.docs, every)
