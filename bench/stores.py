"""Candidate biases as coordinates, in single and half precision, on two files of paired rows: JSON.

    python -m bench.stores A.npy B.npy

The table of ``docs/export.md``: each closer with a candidate bias, brought into an inner-product, a
cosine and a Euclidean store, candidates kept in float32 and float16, queries and sums in float32.
``same`` is how many answers are those of plain search in float64 (A asks B, B asks A), ``error``
the largest error of a score, ``bound`` what ``rounding_bound`` promises of an inner product.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from bench.codecs import unit
from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.deploy.export import as_cosine, as_euclidean, as_inner_product, rounding_bound
from isthmus.search.scores import Ranking, top1

CLOSERS = ("center-queries", "biased-shift")
STORES = {"inner product": as_inner_product, "cosine": as_cosine, "Euclidean": as_euclidean}


def stored_and_searched(wide: Any, queries: Any, candidates: Any, dtype: str) -> Any:
    """(top-1, largest error of a score, largest bound) with candidates in ``dtype``."""
    q, c = wide.apply(queries, "query"), wide.apply(candidates, "candidate")
    length = np.linalg.norm(c, axis=1, keepdims=True) if wide.score == "cosine" else 1.0
    kept = (c / length).astype(dtype).astype(np.float32)
    asked = q.astype(np.float32)
    if wide.score == "euclidean":
        scores, exact = (
            np.stack([-0.5 * ((one - x) ** 2).sum(axis=1) for one in qs])
            for qs, x in ((asked, kept), (q, c))
        )
    else:
        scores, exact = asked @ kept.T * np.mean(length), q @ c.T
    return scores.argmax(axis=1), np.abs(scores - exact).max(), rounding_bound(q, c, dtype).max()


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b")
    given = parser.parse_args()
    a, b = (unit(np.load(name, allow_pickle=False)) for name in (given.a, given.b))
    table = []
    for name in CLOSERS:
        for store, build in STORES.items():
            for dtype in ("float32", "float16"):
                row: dict[str, Any] = {"closer": name, "store": store, "dtype": dtype, "same": []}
                row |= {"error": 0.0, "bound": 0.0}
                for q, c in ((a, b), (b, a)):
                    moments = Moments.of(q, precise=True), Moments.of(c, precise=True)
                    wide = build(fit(name, *moments), c)
                    found, error, bound = stored_and_searched(wide, q, c, dtype)
                    before = top1(Ranking.of(q, c, "dot"))
                    row["same"].append(int((found == before).sum()))
                    row["error"] = max(row["error"], float(error))
                    row["bound"] = max(row["bound"], float(bound))
                table.append(row)
    print(json.dumps(table, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
