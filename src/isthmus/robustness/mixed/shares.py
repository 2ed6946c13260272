"""One pool of texts and images: does one modality crowd out the other?

The share of images (side a) in the top ten of each query, next to that expected of a fair pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.data.moments import Moments
from isthmus.robustness.mixed.levelling import PoolCloser

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
    pool_a, pool_b = a[:size], b[:size]
    centred_a = np.asarray(unit(pool_a - moments_a.mean))
    centred_b = np.asarray(unit(pool_b - moments_b.mean))
    shares = {}
    for key, first, second in (("before", pool_a, pool_b), ("after", centred_a, centred_b)):
        shares[key] = {
            "queries_a": _share_of_first(first, first, second),
            "queries_b": _share_of_first(second, first, second),
        }
    closer = PoolCloser.of({"a": moments_a, "b": moments_b}, normalised=False)
    shares["standardised"] = {
        "queries_a": _share_of_first(pool_a, pool_a, pool_b, closer),
        "queries_b": _share_of_first(pool_b, pool_a, pool_b, closer),
    }
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
    queries: np.ndarray, first: np.ndarray, second: np.ndarray, closer: PoolCloser | None = None
) -> float:
    """Mean share of ``first`` in the top 10 of the pool without the query's own row."""
    count = min(len(queries), QUERIES)
    parts = [queries[:count] @ first.T, queries[:count] @ second.T]
    if closer is not None:
        levels, spreads = closer.levels(queries[:count])
        parts = [(p - levels[:, [m]]) / spreads[:, [m]] for m, p in enumerate(parts)]
    scores = np.hstack(parts)
    own = np.arange(count) + (0 if queries is first else len(first))
    scores[np.arange(count), own] = -np.inf
    top = np.argpartition(-scores, AT, axis=1)[:, :AT]
    return float((top < len(first)).mean())
