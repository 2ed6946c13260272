"""Noise on queries and candidates: D13 for two candidates, Rao-Blackwell for more; and D14."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isthmus.core.seeds import stream
from isthmus.theory.candidates import dot_kept, euclidean_kept, shifted_kept
from isthmus.theory.integrals import Kept
from isthmus.theory.rows import CleanRows


def two_kept(clean: CleanRows, total: float, query_total: float) -> Kept:
    """D13, candidate biases included: two candidates, all coordinates noisy on both sides. Exact.

    Both scores flip on the sign of ⟨w, z⟩ - shift with w and z independent Gaussians, and
    polarisation turns ⟨w, z⟩ into half the difference of two independent non-central χ²_d.
    """
    n, dim = clean.queries.shape
    candidate, query = total / dim, query_total / dim
    first = clean.candidates[clean.winner]
    other = clean.candidates[1 - clean.winner]
    shift = clean.bias[clean.winner] - clean.bias[1 - clean.winner]
    w = (other - first) / np.sqrt(2 * candidate)
    if clean.score == "euclidean":  # kept: ⟨w, z⟩ < 2 shift, z = 2 y - x_1 - x_2
        scale = np.sqrt(2 * candidate + 4 * query)
        z = (2 * clean.queries - first - other) / scale
        shift = 2 * shift / (np.sqrt(2 * candidate) * scale)
    else:  # kept: ⟨w, z⟩ < shift, z = y
        z = clean.queries / np.sqrt(query)
        shift = shift / np.sqrt(2 * candidate * query)
    lam = 0.5 * np.stack([((w + z) ** 2).sum(axis=1), ((w - z) ** 2).sum(axis=1)], axis=1)
    lift = np.stack([np.zeros(n), 2 * shift], axis=1)
    value, error = shifted_kept(lam, lift, np.zeros(n, np.int64), dim)
    return Kept(np.clip(value, 0, 1), error, np.zeros(n), "D13: two candidates, both noisy")


def averaged_kept(
    clean: CleanRows, total: float, query_total: float, dims: int, draws: int, seed: int
) -> Kept:
    """Draw the query's noise, take D11 or D12 given it, average: (n,) with the standard error.

    Given e the clean winner need not be the best at y + e; the chance is that it beats the rest
    all the same. O(draws) times the cost of noise on candidates alone.
    """
    n, dim = clean.queries.shape
    rng = stream("predict.both", seed)
    given = euclidean_kept if clean.score == "euclidean" else dot_kept
    values, errors = np.empty((draws, n)), np.zeros(n)
    half = (draws + 1) // 2
    for k in range(half):
        noise = rng.standard_normal((n, dim)) * np.sqrt(query_total / dim)
        for row, sign in ((k, 1.0), (k + half, -1.0)):  # antithetic
            if row >= draws:
                continue
            kept = given(replace(clean, queries=clean.queries + sign * noise), total, dims)
            values[row] = kept.value
            errors = np.maximum(errors, kept.error_bound)
    pairs = 0.5 * (values[: draws // 2] + values[half : half + draws // 2])
    deviation = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    return Kept(values.mean(axis=0), errors, deviation, f"D11/D12 over {draws} draws of the query")


def normal_two(
    near: np.ndarray, far: np.ndarray, height: np.ndarray, dim: int, total: float
) -> np.ndarray:
    """D14: Φ((r_2² - r_1²) / (2σ√(r_1² + r_2² + 2h² + dσ²))): P[keep] of two candidates, Euclidean.

    A normal approximation for noise on candidates, to read and not to predict with.

    Args:
        near, far: in-span distances r_1, r_2 of the query. height: its distance h from the span.
        dim: noisy coordinates. total: E‖ε‖² of a candidate's noise, σ² = total / dim.
    """
    from scipy.special import ndtr

    near, far = np.asarray(near) ** 2, np.asarray(far) ** 2
    reach = 2 * np.sqrt(total / dim) * np.sqrt(near + far + 2 * np.asarray(height) ** 2 + total)
    return ndtr((far - near) / reach)
