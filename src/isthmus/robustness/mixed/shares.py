"""One pool of texts and images: does one modality crowd out the other?

The share of images (side a) in the top ten of each query, next to that expected of a fair pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
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
        levels, spreads = closer.levels(pool[asked])
        flat = np.zeros_like(levels), np.ones_like(spreads)
        plain, standardised = _shares_of_first(pool, asked, [flat, (levels, spreads)])
        shares["before"][key], shares["standardised"][key] = plain, standardised
        shares["after"][key] = _shares_of_first(centred, asked, [flat])[0]
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


def _shares_of_first(
    pool: np.ndarray, asked: np.ndarray, levelled: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[float]:
    """Mean share of the first half of the pool (K, d) in the top 10 of its rows ``asked`` (n,), by
    inner products, without their own row.

    In float32; scores that are near the tenth best in float64.

    Args:
        levelled: what is taken off the scores of either half, and what they are divided by, (n, 2)
            each: a share for each of these.
    """
    norms = row_norms(pool)

    @cache
    def light() -> np.ndarray:
        rows = pool.astype(np.float32)
        return np.asarray(rows[asked] @ rows.T)

    def share(levels: np.ndarray, spreads: np.ndarray) -> float:
        sizes = norms[asked] * norms.max() + np.abs(levels).max(axis=1)

        def scores(some: np.ndarray, kind: type) -> np.ndarray:
            found = light()[some] if kind is np.float32 else pool[asked[some]] @ pool.T
            found = found.reshape(len(some), 2, -1)
            found -= levels[some, :, None].astype(kind)
            found /= spreads[some, :, None].astype(kind)
            found = found.reshape(len(some), -1)
            found[np.arange(len(some)), asked[some]] = -np.inf
            return found

        every = np.arange(len(asked))
        kind = np.float32 if sizes.min() > SMALLEST and sizes.max() < LARGEST else np.float64
        near = nearness(sizes / spreads.min(axis=1), pool.shape[1])
        best = surely_largest(scores(every, kind), AT, near, lambda some: scores(some, np.float64))
        return float((best < len(pool) // 2).mean())

    return [share(*one) for one in levelled]
