"""One pool of texts and images: does one modality crowd out the other?

The share of images (side a) in the top ten of each query, next to that expected of a fair pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.data.moments import Moments
from isthmus.robustness.mixed.levelling import PoolCloser
from isthmus.search.settled import largest

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
        some = slice(first, first + min(size, QUERIES))
        scores = pool[some] @ pool.T
        levels, spreads = (np.repeat(part, size, axis=1) for part in closer.levels(pool[some]))
        levelled = (scores - levels) / spreads
        shares["before"][key] = _share_of_first(scores, first)
        shares["after"][key] = _share_of_first(centred[some] @ centred.T, first)
        shares["standardised"][key] = _share_of_first(levelled, first)
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


def _share_of_first(scores: np.ndarray, first: int) -> float:
    """Mean share of the first half of the candidates in the top 10 without the query's own row,
    that of the first query being ``first``."""
    asked = np.arange(len(scores))
    scores[asked, first + asked] = -np.inf
    return float((largest(scores, AT) < scores.shape[1] // 2).mean())
