"""One pool of texts and images: does one modality crowd out the other?

The share of images (side a) in the top ten of each query, next to that expected of a fair pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import row_norms, unit
from isthmus.data.moments import Moments
from isthmus.robustness.mixed.levelling import PoolCloser
from isthmus.search.settled import LARGEST, SMALLEST, nearness, surely_largest

POOL = 2000
QUERIES = 500
AT = 10


def mixed_share(
    a: np.ndarray, b: np.ndarray, moments_a: Moments, moments_b: Moments
) -> dict[str, Any]:
    """Share of side a in the top 10 for queries of each side, before and after closing.

    Every side gives the same number of rows to the pool, so a fair share is about one half. A
    query's own row is never in its pool. After: each row loses its modality's mean and is
    normalised again (mean centring; it changes answers on purpose, see ``docs/formulas.md``).
    ``standardised``: levelled by :class:`PoolCloser`, which changes no ranking within a modality.

    Args:
        a, b: (n, d), (m, d) rows. moments_a, moments_b: their means.

    Returns:
        ``image_share_at_10`` style keys for ``report.json``; an empty dict below 22 rows a side.
    """
    size = min(len(a), len(b), POOL)
    if size < 2 * AT + 2:
        return {}
    pool = np.vstack([a[:size], b[:size]])
    means = np.repeat([moments_a.mean, moments_b.mean], size, axis=0)
    centred = np.asarray(unit(pool - means))
    closer = PoolCloser.of({"a": moments_a, "b": moments_b}, normalised=False)
    shares: dict[str, dict[str, float]] = {"before": {}, "after": {}, "standardised": {}}
    for key, first in (("queries_a", 0), ("queries_b", size)):
        asked = first + np.arange(min(size, QUERIES))
        shares["before"][key] = _share_of_first(pool, asked)
        shares["after"][key] = _share_of_first(centred, asked)
        levels, spreads = (part[:, :, None] for part in closer.levels(pool[asked]))
        shares["standardised"][key] = _share_of_first(pool, asked, levels, spreads)
    return {
        "a_share_at_10": shares,
        "image_share_at_10": {
            "before": shares["before"]["queries_b"],
            "after": shares["after"]["queries_b"],
        },
        "expected": 0.5,
        "pool": {"a": size, "b": size},
        "closing": "each modality's mean is taken off and rows are normalised again",
        "queries": min(size, QUERIES),
    }


def _share_of_first(
    pool: np.ndarray,
    asked: np.ndarray,
    levels: np.ndarray | float = 0.0,
    spreads: np.ndarray | float = 1.0,
) -> float:
    """Mean share of the first half of the pool (K, d) in the top 10 of its rows ``asked`` (n,), by
    inner products less ``levels`` over ``spreads`` ((n, 2, 1), of either half), without their own.

    In float32; scores that are near the tenth best in float64.
    """
    norms = row_norms(pool)
    levels, spreads = (np.broadcast_to(part, (len(asked), 2, 1)) for part in (levels, spreads))
    sizes = norms[asked] * norms.max() + np.abs(levels).max(axis=(1, 2))
    near = nearness(sizes / spreads.min(axis=(1, 2)), pool.shape[1])

    def scores(some: np.ndarray, kind: type) -> np.ndarray:
        rows: np.ndarray = pool.astype(kind, copy=False)
        found = (rows[asked[some]] @ rows.T).reshape(len(some), 2, -1)
        found -= levels[some].astype(kind)
        found /= spreads[some].astype(kind)
        found = found.reshape(len(some), -1)
        found[np.arange(len(some)), asked[some]] = -np.inf
        return found

    every = np.arange(len(asked))
    kind = np.float32 if sizes.min() > SMALLEST and sizes.max() < LARGEST else np.float64
    best = surely_largest(scores(every, kind), AT, near, lambda some: scores(some, np.float64))
    return float((best < len(pool) // 2).mean())
