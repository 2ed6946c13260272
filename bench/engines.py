"""Engines side by side in one run: sums, closed rows and the best rows of a large sharded gallery.

    python -m bench.engines images.npy captions.npy --rows 10000000

Shards of float16 are made by repeating and disturbing the rows of the first file, and removed at
the end. ``killed``: the sum again, while one worker is killed in the middle. Memory is that of all
processes, pages that several of them have counted once (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import isthmus as im
from bench.timing import say
from isthmus.data import RowWriter
from isthmus.data.summary import summarise
from isthmus.engines import Executor, ProcessExecutor, open_engine

SHARDS, BLOCK, QUERIES, K = 20, 50_000, 200, 10


def make(real: np.ndarray, rows: int, folder: Path) -> str:
    """Shards of unit rows: real ones again and again, each time with other noise."""
    rng = np.random.default_rng(0)
    spread = np.float32(0.5 / real.shape[1] ** 0.5)
    shard = -(-rows // SHARDS)
    for number, start in enumerate(range(0, rows, shard)):
        with RowWriter(folder / f"part-{number:03d}.npy", real.shape[1], "float16") as out:
            for at in range(start, min(start + shard, rows), BLOCK):
                size = min(BLOCK, min(start + shard, rows) - at)
                block = real[np.arange(at, at + size) % len(real)]
                block = block + spread * rng.standard_normal(block.shape, dtype=np.float32)
                out.write((block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16))
    return str(folder / "part-*.npy")


class Memory(threading.Thread):
    """The greatest memory of this process and all below it, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.stop = 0, threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join()

    def run(self) -> None:
        import psutil

        me = psutil.Process()
        while not self.stop.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


def killed_once(marker: str, fn: Any, item: Any) -> Any:
    """``fn(item)``; the first to come this far is killed, with what it has done."""
    found = fn(item)
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return found
    os.kill(os.getpid(), signal.SIGKILL)
    return None


class Killing:
    """An engine of which one worker is killed."""

    def __init__(self, engine: Executor, marker: str) -> None:
        self.engine, self.marker = engine, marker

    def map(self, fn: Any, items: Any) -> Any:
        return self.engine.map(partial(killed_once, self.marker, fn), items)


def run(engine: Executor, gallery: str, queries: np.ndarray, closer: Any, folder: Path) -> Any:
    """Rows a second of each job, the greatest memory, and what must be the same everywhere."""
    from bench.engines import Killing  # as workers know it: they do not run this program

    rows = im.open_rows(gallery)
    some = im.open_rows(str(folder / "part-000.npy"))
    speed: dict[str, float] = {}

    def timed(name: str, count: int, work: Any) -> Any:
        start = time.perf_counter()
        found = work()
        speed[name] = count / (time.perf_counter() - start)
        say(f"    {name}: {speed[name]:,.0f} rows/s")
        return found

    out = folder / "closed.safetensors"
    list(engine.map(abs, range(8)))  # processes are there
    with Memory() as memory:
        summed = timed("sum", rows.rows, lambda: summarise(rows, engine=engine))
        killing = Killing(engine, str(folder / "killed"))
        again = timed("killed", rows.rows, lambda: summarise(rows, engine=killing))
        found = timed(
            "top_k",
            rows.rows,
            lambda: im.search_rows(queries, rows, K, closer=closer, engine=engine),
        )
        timed(
            "apply",
            some.rows,
            lambda: im.closers.apply_to_file(closer, some, "candidate", out, engine=engine),
        )
    (folder / "killed").unlink()
    same = [summed.a.scatter.tobytes(), again.a.scatter.tobytes()]
    assert same[0] == same[1], "a worker that was killed changes nothing"
    keep = (same[0], found.rows.tobytes(), found.scores.tobytes(), out.read_bytes())
    return {"rows_per_s": speed, "peak_gb": memory.peak / 1e9}, tuple(map(hash, keep))


def main() -> None:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("captions")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engines", default="processes:2,dask://,ray://")
    parser.add_argument("--folder", default=None, help="where the shards are made for a while")
    asked = parser.parse_args()
    real, captions = (
        np.asarray(im.open_rows(file).read(), np.float32) for file in (asked.images, asked.captions)
    )
    report: dict[str, Any] = {"rows": asked.rows, "dim": real.shape[1], "engines": {}}
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="isthmus-engines-") as place:
        folder = Path(place)
        gallery = make(real, asked.rows, folder)
        say(f"  made {asked.rows:,} rows")
        closer = im.fit("center-both", captions, real)
        seen = set()
        for name in asked.engines.split(","):
            say(f"  {name}")
            engine = open_engine(name) or ProcessExecutor()
            report["engines"][name], found = run(
                engine, gallery, captions[:QUERIES], closer, folder
            )
            seen.add(found)
            close(engine)
        report["same_bytes"] = len(seen) == 1
    json.dump(report, sys.stdout, indent=2)
    print()


def close(engine: Any) -> None:
    """End a cluster, so that its memory is not the next one's."""
    if hasattr(engine, "client"):
        engine.client.cluster.close()
        engine.client.close()
    elif type(engine).__name__ == "RayExecutor":
        import ray

        ray.shutdown()


if __name__ == "__main__":
    main()
