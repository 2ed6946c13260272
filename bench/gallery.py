"""A gallery too large to hold: the pass over it against its product, its memory, and its error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import MADE_UP, blocks
from bench.timing import result, say

LEVELS = (0.005, 0.022, 0.04)
MB = 1e6

CHILD = """
import json, resource, sys, time
import numpy as np
from threadpoolctl import threadpool_limits
from isthmus.data import open_rows
from isthmus.search.gallery import ready, search_gallery
from isthmus.search.scores import Ranking
from isthmus.theory.curves.gallery import HeldRows, gallery_curve
path, queries, levels = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
unit = 1 if sys.platform == "darwin" else 1024
source = open_rows(path)
with threadpool_limits(1, user_api="blas"):
    asked = ready(source.take(np.linspace(0, source.rows - 1, queries).astype(int)), True)
    noise = np.random.default_rng(1).standard_normal(asked.shape, dtype=np.float32)
    asked = ready(asked + noise * np.float32(3 / asked.shape[1] ** 0.5), True)  # cosine .3
    start = time.process_time()
    found = search_gallery(source, [lambda x: Ranking.of(asked, x, "dot")], normalised=True)
    searched = time.process_time() - start
    head = found.heads[0]
    held = HeldRows(found.count, head.rows, head.scores, found.random_rows)
    curve = gallery_curve(Ranking.of(asked, found.random, "dot"), levels, held)
    taken = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    block = ready(next(source.blocks(8192)), True)
    out = np.empty((1024, len(block)), np.float32)
    for turn in range(4):
        start = time.process_time() if turn == 1 else start  # the first turn touches the memory
        for at in range(0, len(asked), 1024):
            some = asked[at : at + 1024]
            np.matmul(some, block.T, out=out[: len(some)])
    product = (time.process_time() - start) / 3 * source.rows / len(block)
print(json.dumps({"searched": searched, "taken": taken, "product": product, "peak": peak,
    "value": curve.value.tolist(), "error": curve.error.tolist(), "rows": source.rows}))
"""


def measure(quick: bool) -> dict[str, Any]:
    """Write float16 rows, search and predict in a fresh process, remove them."""
    rows, queries, dim = (50_000, 1000, 512) if quick else (1_000_000, 10_000, 512)
    size = rows * dim * 2
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        if shutil.disk_usage(folder).free < 2 * size:
            reason = f"less than {2 * size / 1e9:.1f} GB free"
            return {
                "gallery_vs_gemm": result(None, "ratio", at_most=1.8, skipped=reason),
                "gallery_mb": result(None, "MB", at_most=400, skipped=reason),
            }
        path = Path(folder) / "rows.npy"
        _write(path, rows, dim)
        say(f"  {size / 1e9:.1f} GB written; searching")
        command = [sys.executable, "-c", CHILD, str(path), str(queries), json.dumps(LEVELS)]
        child = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = json.loads(child.stdout)
    about = {"shape": [rows, dim], "queries": queries, "dtype": "float16", "rows": MADE_UP}
    return {
        "gallery_vs_gemm": result(
            seen["taken"] / seen["product"],
            "CPU time of pass and law / CPU time of the product",
            at_most=1.8,
            what="isthmus.search.gallery.search_gallery (100 best, 10,000 random rows) and the law "
            "at three levels, against the float32 product of all queries and rows in blocks of "
            "8,192; one BLAS thread",
            seconds={name: seen[name] for name in ("searched", "taken", "product")},
            consistency=dict(zip(map(str, LEVELS), seen["value"])),
            error=dict(zip(map(str, LEVELS), seen["error"])),
            **about,
        ),
        "gallery_mb": result(
            seen["peak"] / MB,
            "MB (10^6 bytes)",
            at_most=400,
            what="greatest resident memory (getrusage) of that process, which reads the file block "
            "by block; imports and queries included",
            **about,
        ),
    }


def _write(path: Path, rows: int, dim: int) -> None:
    from isthmus.data import RowWriter

    with RowWriter(path, dim, "float16", rows=rows) as writer:
        for block in blocks(rows, dim):
            writer.write((block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16))
