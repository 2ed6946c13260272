"""A few queries and candidates in the coordinates that decide their answers, for a page to shake.

Inner products with the sampled queries, and with the queries' mean, depend only on the span of
these and of the gap. In an orthonormal basis of that span a row has some forty coordinates instead
of hundreds, scores are the same numbers, and noise of equal variance in all directions of the
whole space is noise of that variance in these coordinates. A page can therefore draw noise, move
the queries and search anew, exactly, from a few kilobytes.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from isthmus.core.seeds import stream

QUERIES, CANDIDATES = 40, 80


def live_sample(
    queries: np.ndarray,
    candidates: np.ndarray,
    right: np.ndarray,
    mean_query: np.ndarray,
    mean_candidate: np.ndarray,
    *,
    seed: int,
) -> dict[str, Any]:
    """Coordinates of at most 40 queries and 80 candidates.

    Args:
        queries, candidates: (n, d) and (K, d) rows as they are searched.
        right: (n,) a candidate of each query that must be there, its right or first answer; -1:
            none.
        mean_query, mean_candidate: (d,) means of all rows of each side.
        seed: of the sample.

    Returns:
        ``query_rows`` and ``candidate_rows``: their places; ``dim``: d; ``rank``: coordinates r;
        ``queries`` (n', r), ``candidates`` (K', r) and ``mean`` (r,) of the queries, each as
        base64 of little-endian float32; coordinate 0 lies along the gap, coordinate 1 is the
        widest of the sampled rows across it.

    Cost: O(40² d).
    """
    rng = stream("page.live", seed)
    asked = np.sort(rng.permutation(len(queries))[:QUERIES])
    needed = np.unique(right[asked])
    needed = needed[needed >= 0]
    others = np.setdiff1d(rng.permutation(len(candidates)), needed, assume_unique=True)
    more = rng.permutation(others)[: max(0, CANDIDATES - len(needed))]
    stored = np.sort(np.concatenate([needed, more]))
    q, x = queries[asked].astype(np.float64), candidates[stored].astype(np.float64)
    basis = _basis(q, np.asarray(mean_query, np.float64), mean_candidate - mean_query)
    return {
        "query_rows": asked.tolist(),
        "candidate_rows": stored.tolist(),
        "dim": int(queries.shape[1]),
        "rank": len(basis),
        "queries": _packed(q @ basis.T),
        "candidates": _packed(x @ basis.T),
        "mean": _packed(basis @ mean_query),
    }


def _basis(queries: np.ndarray, mean: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Orthonormal rows (r, d): the gap's direction first, then the widest of the queries."""
    length = float(np.linalg.norm(gap))
    first = gap[None, :] / length if length > 0 else np.empty((0, len(gap)))
    centred = queries - queries.mean(axis=0)
    rest = np.vstack([centred, mean, queries.mean(axis=0)])
    rest = rest - rest @ first.T @ first
    _, wide, across = np.linalg.svd(rest[: len(centred)], full_matrices=False)
    across = across[wide > 1e-9 * max(1.0, float(wide.max(initial=0)))]
    for vector in rest[len(centred) :]:
        left = vector - across.T @ (across @ vector)
        left = left - across.T @ (across @ left)
        if np.linalg.norm(left) > 1e-9 * max(1.0, float(np.linalg.norm(vector))):
            across = np.vstack([across, left / np.linalg.norm(left)])
    return np.vstack([first, across])


def _packed(rows: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode("ascii")
