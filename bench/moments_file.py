"""Row statistics and moments of a file against the one product that they need."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.rows import MADE_UP, array
from bench.timing import interleaved, ratio, result, say, seconds

BOUNDS = {"float32": 1.8, "float16": 2.5}


def measure(quick: bool) -> dict[str, Any]:
    """CPU time of ``summarise`` over a .npy file / CPU time of the float32 X.T @ X of its rows."""
    from isthmus.data import open_rows
    from isthmus.data.summary import summarise

    rows, dim = (65_536 if quick else 300_000), 512
    x = array(rows, dim)
    works: dict[str, Any] = {"symmetric_product": partial(_product, x)}
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
        for dtype in BOUNDS:
            path = Path(folder) / f"{dtype}.npy"
            np.save(path, x.astype(dtype))
            works[dtype] = partial(summarise, open_rows(path), precise=False)
        with threadpool_limits(1, user_api="blas"):
            taken = interleaved(works, 2 if quick else 3, clock=time.process_time)
        del works["symmetric_product"]
        wall = {name: seconds(work) for name, work in works.items()}
        say(f"  wall time on the threads there are: {wall}")
    found = {}
    for dtype, bound in BOUNDS.items():
        figures = ratio(taken, dtype, "symmetric_product")
        size = rows * dim * np.dtype(dtype).itemsize
        found[f"moments_file_{dtype}"] = result(
            figures.pop("value"),
            "CPU time of summary / CPU time of product",
            at_most=bound,
            what=f"isthmus.data.summary.summarise over a {dtype} .npy file (row statistics, "
            "duplicates, moments of normalised rows) against NumPy's float32 X.T @ X (BLAS syrk) "
            "of the same rows in memory; one BLAS thread",
            **figures,
            wall_seconds=wall[dtype],
            wall_gb_per_second=size / 1e9 / wall[dtype],
            shape=[rows, dim],
            dtype=dtype,
            rows=MADE_UP,
        )
    return found


def _product(x: np.ndarray) -> np.ndarray:
    return x.T @ x
