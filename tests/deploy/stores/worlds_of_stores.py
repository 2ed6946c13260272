"""Rows that the tests of stores share."""

from __future__ import annotations

import numpy as np


def world() -> tuple[np.ndarray, np.ndarray]:
    """120 queries and 240 candidates of unit length, a gap between them."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(120, 24))
    queries = shared + 0.7 * rng.normal(size=shared.shape)
    candidates = np.concatenate([shared, rng.normal(size=shared.shape)])
    candidates[:, 0] += 4
    queries[:, 1] += 4
    return unit(queries), unit(candidates)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def best(queries: np.ndarray, candidates: np.ndarray, k: int = 3) -> np.ndarray:
    """Positions of the k first candidates by inner product of unit rows, in float64."""
    scores = queries.astype(np.float64) @ candidates.astype(np.float64).T
    return np.argsort(-scores, axis=1)[:, :k]
