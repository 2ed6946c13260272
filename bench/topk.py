"""The ten best of 200,000 rows against FAISS's flat index, on the same threads."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from bench.rows import MADE_UP, array
from bench.timing import interleaved, ratio, result

K, DIM = 10, 512

CHILD = """
import json, resource, sys, time
import numpy as np
from bench.rows import array
from isthmus.search.scores import Ranking, top_k
unit = 1 if sys.platform == "darwin" else 1024
rows, queries = int(sys.argv[1]), int(sys.argv[2])
x, q = array(rows, 512), array(queries, 512, seed=5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
top_k(Ranking.of(q, x, "dot"), 10)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"before": before, "peak": peak}))
"""


def measure(quick: bool) -> dict[str, Any]:
    """Wall time of ``top_k``, tie widths included, over ``IndexFlatIP.search`` on added rows."""
    import faiss

    from isthmus.search.scores import Ranking, top_k

    rows, queries = (100_000, 1000) if quick else (200_000, 10_000)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(rows), str(queries)],
        check=True,
        capture_output=True,
        text=True,
    )
    memory = json.loads(child.stdout)
    x, q = array(rows, DIM), array(queries, DIM, seed=5)
    index = faiss.IndexFlatIP(DIM)
    index.add(x)
    taken = interleaved(
        {"top_k": lambda: top_k(Ranking.of(q, x, "dot"), K), "faiss": lambda: index.search(q, K)},
        repeats=3,
        warm=quick,
    )
    by_turn = ratio(taken, "top_k", "faiss")
    some = slice(0, 500)
    ours, theirs = top_k(Ranking.of(q[some], x, "dot"), K), index.search(q[some], K)
    return {
        "topk_vs_faiss": result(
            by_turn.pop("value"),
            "time of top_k / time of IndexFlatIP.search",
            at_most=1.2,
            what="exact 10 best by dot, ties in order and counted, over faiss-cpu's flat index, "
            "whose rows were added before",
            **by_turn,
            threads=faiss.omp_get_max_threads(),
            peak_mb=memory["peak"] / 1e6,
            after_rows_mb=memory["before"] / 1e6,
            same_rows=float((ours.rows == theirs[1]).mean()),
            score_difference=float(np.abs(ours.scores - theirs[0]).max() / ours.scores.max()),
            shape=[queries, rows, DIM],
            dtype="float32",
            rows=MADE_UP,
        )
    }
