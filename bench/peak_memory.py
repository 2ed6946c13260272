"""Peak memory of the moments of a file larger than a small machine's memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.rows import MADE_UP, blocks
from bench.timing import result, say

SPARE = 2_000_000_000
MB = 1e6

CHILD = """
import json, resource, sys, time
from isthmus.engines.local import SerialExecutor
from isthmus.data import open_rows
from isthmus.data.summary import summarise
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
start = time.perf_counter()
summary = summarise(open_rows(sys.argv[1]), engine=SerialExecutor())
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"count": summary.a.count, "seconds": seconds, "before": before, "peak": peak}))
"""


def measure(quick: bool) -> dict[str, Any]:
    """Write a .npy file by blocks, summarise it in a fresh process, read its peak, remove it."""
    rows, dim = (200_000 if quick else 2_000_000), 512
    size = rows * dim * 4
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        free = shutil.disk_usage(folder).free
        if free < size + SPARE:
            reason = f"{free / 1e9:.1f} GB free for a file of {size / 1e9:.1f} GB and 2 GB to spare"
            return {"peak_rss_mb": result(None, "MB", at_most=600, skipped=reason)}
        path = Path(folder) / "rows.npy"
        _write(path, rows, dim)
        say(f"  {size / 1e9:.1f} GB written; summarising")
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], check=True, capture_output=True, text=True
        )
    seen = json.loads(child.stdout)
    assert seen["count"] == rows
    return {
        "peak_rss_mb": result(
            seen["peak"] / MB,
            "MB (10^6 bytes)",
            at_most=600,
            what="greatest resident memory (getrusage) of a process that runs "
            "isthmus.data.summary.summarise over the file with SerialExecutor: stats, moments of "
            "normalised rows",
            file_gb=size / 1e9,
            shape=[rows, dim],
            dtype="float32",
            rows=MADE_UP,
            after_imports_mb=seen["before"] / MB,
            seconds=seen["seconds"],
            gb_per_second=size / 1e9 / seen["seconds"],
        )
    }


def _write(path: Path, rows: int, dim: int) -> None:
    from isthmus.data import RowWriter

    with RowWriter(path, dim, "float32", rows=rows) as writer:
        for block in blocks(rows, dim):
            writer.write(block)
