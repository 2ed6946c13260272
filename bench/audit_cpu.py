"""Processor time of the audit and of advice, in products of their own size: one BLAS thread."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.rows import MADE_UP, pairs
from bench.timing import result, say

DIM = 512
BUSY = "while True: pass"


def measure(quick: bool) -> dict[str, Any]:
    """Arrays in this process for the ratios, the whole command for the seconds."""
    from threadpoolctl import threadpool_limits

    from isthmus.workflows.audits import audit

    audit(*pairs(64, DIM))  # loads what is loaded once: libraries that came later had no limit
    with threadpool_limits(1, user_api="blas"):
        entries = {
            "audit_vs_sgemm": _audit_ratio(1_000 if quick else 5_000),
            "recommend_vs_sgemm": _recommend_ratio(*((200, 500) if quick else (1_000, 4_000))),
        }
    return entries | _commands(200 if quick else 500)


def _audit_ratio(rows: int) -> dict[str, Any]:
    from isthmus.workflows.audits import audit

    a, b = pairs(rows, DIM)
    before = _product(min(rows, 2_000), rows)
    taken = _cpu(lambda: audit(a, b))
    product = median([before, _product(min(rows, 2_000), rows)])
    return result(
        taken / (2 * product),
        "processor time of the audit / of its two products of queries and candidates",
        at_most=70,
        what="isthmus.audit(a, b) on arrays, default options, over a float32 product of the scored "
        "queries and the candidates for each direction",
        audit_seconds=taken,
        product_seconds=product,
        shape=[rows, DIM],
        rows=MADE_UP,
    )


def _recommend_ratio(queries: int, candidates: int) -> dict[str, Any]:
    import isthmus as im

    a, b = pairs(candidates, DIM)
    im.recommend(*pairs(64, DIM), paired=False)
    before = _product(queries // 2, candidates)
    advice: list[Any] = []
    labels = np.arange(queries)

    def work() -> None:
        advice.append(im.recommend(a[:queries], b, labels=labels))

    taken = _cpu(work)
    product = median([before, _product(queries // 2, candidates)])
    tried = sum(row.tried for row in advice[0].closers)
    return result(
        taken / (tried * product),
        "processor time of the advice / of a product of half the queries for each setting tried",
        at_most=5,
        what="isthmus.recommend with all closers and settings, Gaussian noise at three levels",
        recommend_seconds=taken,
        product_seconds=product,
        settings=tried,
        shape=[queries, candidates, DIM],
        rows=MADE_UP,
    )


def _commands(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name, side in zip(("a", "b"), pairs(rows, DIM), strict=True):
            np.save(Path(folder) / f"{name}.npy", side)
        say("  isthmus audit, one thread")
        _command(folder, 1)  # compiles, as an install does once
        alone = median([_command(folder, 1) for _ in range(3)])
        busy = subprocess.Popen([sys.executable, "-c", BUSY])
        try:
            say("  isthmus audit, two threads beside a busy process, and one")
            turns = [(_command(folder, 2), _command(folder, 1)) for _ in range(3)]
        finally:
            busy.kill()
            busy.wait()
    shared = {"shape": [rows, DIM], "rows": MADE_UP}
    return {
        "audit_cpu_seconds": result(
            alone, "s", at_most=3, what="isthmus audit a.npy b.npy, the whole command", **shared
        ),
        "audit_two_threads": result(
            median([two / one for two, one in turns]),
            "processor time with two BLAS threads allowed / with one, beside a busy process",
            at_most=1.3,
            what="isthmus audit a.npy b.npy",
            seconds={"two": median([t for t, _ in turns]), "one": median([o for _, o in turns])},
            **shared,
        ),
    }


def _command(folder: str, threads: int) -> float:
    """Processor seconds of the whole command, its processes included."""
    named = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    env = os.environ | dict.fromkeys(named, str(threads)) | {"PYTHONPYCACHEPREFIX": folder}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = "from isthmus.cli import main; main()"
    words = [sys.executable, "-c", program, "audit", "a.npy", "b.npy", "--out", "report"]
    subprocess.run(words, cwd=folder, env=env, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _product(queries: int, candidates: int) -> float:
    a, b = (np.random.default_rng(0).random((n, DIM), np.float32) for n in (queries, candidates))
    a @ b.T
    return median([_cpu(lambda: a @ b.T) for _ in range(7)])


def _cpu(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
