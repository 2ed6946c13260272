"""Noise on queries alone: D10. Two candidates: Φ. More: a Gaussian polyhedron, radius exact.

e = ρ·u with u uniform on the sphere of the candidates' affine hull (rank r) and ρ ~ σχ_r: the
answer survives while ρ < min_j m_j / ⟨u, Δ_j⟩, so given u the chance is one χ_r tail. Directions
are scrambled Sobol points; the standard error is that of independent scrambles (Deák's method;
Genz and Bretz 2009, section 4.1.1).
"""

from __future__ import annotations

import numpy as np

from isthmus.core.seeds import stream
from isthmus.theory.integrals import Kept
from isthmus.theory.rows import CleanRows

SCRAMBLES = 16
CHUNK = 2**22


def query_kept(clean: CleanRows, total: float, directions: int, seed: int) -> Kept:
    """D10 over every query. O(directions · n · K) beyond the clean search."""
    from scipy.special import ndtr

    n, count = len(clean.queries), len(clean.candidates)
    sigma = np.sqrt(total / clean.queries.shape[1])
    value, spread = np.empty(n), np.zeros(n)
    if count == 2:
        reach = sigma * np.linalg.norm(clean.candidates[1] - clean.candidates[0])
        for part, margins, _ in clean.blocks():
            far = margins.max(axis=1)
            value[part] = ndtr(far / reach) if reach > 0 else 1.0
        return Kept(value, np.zeros(n), spread, "D10: closed form for two candidates")
    axes, rank = _hull(clean.candidates)
    if rank == 0:
        return Kept(np.ones(n), np.zeros(n), spread, "D10: all candidates are one point")
    each = max(2, directions // (2 * SCRAMBLES))
    for part, margins, first in clean.blocks():
        means = np.empty((SCRAMBLES, len(first)))
        for k in range(SCRAMBLES):
            along = _sphere(rank, each, seed, k) @ axes.T
            means[k] = _given(along, margins, first, sigma, rank)
        value[part] = means.mean(axis=0)
        spread[part] = means.std(axis=0, ddof=1) / np.sqrt(SCRAMBLES)
    return Kept(value, np.zeros(n), spread, f"D10: {2 * each * SCRAMBLES} directions, exact radius")


def _hull(candidates: np.ndarray) -> tuple[np.ndarray, int]:
    """Candidates in an orthonormal basis of their affine hull's directions, and its rank."""
    centred = candidates - candidates.mean(axis=0)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    size = np.linalg.norm(candidates, axis=1).max()
    kept = lengths > 1e-12 * max(size, 1e-300) * np.sqrt(len(candidates))
    return left[:, kept] * lengths[kept], int(kept.sum())


def _sphere(rank: int, count: int, seed: int, scramble: int) -> np.ndarray:
    """Directions and their opposites, (2 count, rank)."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    power = int(np.ceil(np.log2(count)))
    rng = stream("predict.queries", seed, scramble)
    points = qmc.Sobol(rank, rng=rng).random_base2(power)[:count]
    half = ndtri(np.clip(points, 1e-12, 1 - 1e-12))
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    return np.concatenate([half, -half])


def _given(
    along: np.ndarray, margins: np.ndarray, first: np.ndarray, sigma: float, rank: int
) -> np.ndarray:
    """Mean over directions ``along`` (p, K) of P[keep | direction], (n,)."""
    from scipy.special import chdtr

    out = np.empty(len(margins))
    step = max(1, CHUNK // along.size)
    for start in range(0, len(margins), step):
        part = slice(start, start + step)
        speed = along[:, None, :] - along[:, first[part]][:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(speed > 0, margins[None, part] / speed, np.inf)
        radius = reach.min(axis=2) / sigma
        out[part] = chdtr(rank, np.minimum(radius, 1e150) ** 2).mean(axis=0)
    return out
