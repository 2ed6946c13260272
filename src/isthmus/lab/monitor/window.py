"""What a monitor has seen since it was last read: moments and sums that merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.data.moments import Moments, PairMoments

AVERAGED = (
    "loss",
    "recall",
    "doubly_stochastic",
    "predicted_flips",
    "scale",
    "scale_gradient",
    "bias",
    "bias_gradient",
    "bad_rows",
)
"""Numbers that are averaged over a window, weighted by rows."""
VARIANCE_KEPT = 0.95
LARGEST = 512
"""Rows of a batch that are compared with each other; the moments take all."""
RESOLUTION = 1e-13
"""Relative size below which an eigenvalue of a float64 scatter is rounding."""
FLIP_ROWS = 48
NODES = 32


@dataclass(frozen=True, eq=False)
class Window:
    """Moments of the pairs seen; (sum of value · rows, rows) of each of ``AVERAGED``, (9, 2)."""

    pairs: PairMoments
    sums: np.ndarray

    @classmethod
    def empty(cls, dim: int = 0) -> Window:
        """Nothing seen yet."""
        return cls(PairMoments.empty(dim, dim), np.zeros((len(AVERAGED), 2)))

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray, values: dict[str, float | None]) -> Window:
        """One batch of unit rows (n, d), float64, and what was said of it."""
        sums = np.zeros((len(AVERAGED), 2))
        for place, name in enumerate(AVERAGED):
            value = values.get(name)
            if value is not None and np.isfinite(value):
                sums[place] = value * len(a), len(a)
        mean_a, mean_b = a.mean(0), b.mean(0)
        x, y = a - mean_a, b - mean_b
        return cls(
            PairMoments(
                Moments(len(a), mean_a, x.T @ x, RESOLUTION, True),
                Moments(len(b), mean_b, y.T @ y, RESOLUTION, True),
                x.T @ y,
            ),
            sums,
        )

    def merge(self, other: Window) -> Window:
        """Both together; in any order the same to rounding of float64."""
        if not self.pairs.count or not other.pairs.count:
            pairs = self.pairs if self.pairs.count else other.pairs
        else:
            pairs = self.pairs.merge(other.pairs)
        return Window(pairs, self.sums + other.sums)

    def pack(self) -> np.ndarray:
        """All of it as one float64 vector of 1 + 2d + 3d² + 18 numbers, for a collective."""
        a, b = self.pairs.a, self.pairs.b
        parts = (a.mean, b.mean, a.scatter, b.scatter, self.pairs.cross, self.sums)
        return np.concatenate([[float(a.count)], *(part.ravel() for part in parts)])

    @classmethod
    def unpack(cls, packed: np.ndarray, dim: int) -> Window:
        """The window that :meth:`pack` made a vector of."""
        sizes = [1, dim, dim, dim * dim, dim * dim, dim * dim]
        count, mean_a, mean_b, *squares, sums = np.split(packed, np.cumsum(sizes))
        scatter_a, scatter_b, cross = (part.reshape(dim, dim) for part in squares)
        a, b = (
            Moments(int(count[0]), mean, scatter, RESOLUTION, True)
            for mean, scatter in ((mean_a, scatter_a), (mean_b, scatter_b))
        )
        return cls(PairMoments(a, b, cross), sums.reshape(-1, 2))

    def numbers(self) -> dict[str, float | None]:
        """The numbers of ``docs/monitor.md``; None where nothing was said or seen. O(d³)."""
        means = {
            name: float(total / rows) if rows else None
            for name, (total, rows) in zip(AVERAGED, self.sums, strict=True)
        }
        if not self.pairs.count:
            return {"rows": 0, **means}
        a, b = self.pairs.a, self.pairs.b
        gap = b.mean - a.mean
        square = float(gap @ gap)
        along = a.variance_along(gap) + b.variance_along(gap)
        spread = a.total_variance + b.total_variance
        scale = means["scale"]
        return {
            "rows": self.pairs.count,
            "gap": float(np.sqrt(square)),
            "gap_over_tau": None if scale is None else square * scale / 2,
            "closable_share": (closable_share(a, gap) + closable_share(b, gap)) / 2,
            "matched_cosine": self.pairs.matched_dot,
            "variance_along_gap": along,
            "variance_share_along_gap": along / spread if spread else None,
            "spread_a": a.total_variance,
            "spread_b": b.total_variance,
            "effective_rank_a": a.effective_rank,
            "effective_rank_b": b.effective_rank,
            **means,
        }


def closable_share(candidates: Moments, gap: np.ndarray) -> float:
    """Share of |g|² outside the fewest principal directions that hold 95 % of the variance."""
    values, vectors = candidates.spectrum
    square = float(gap @ gap)
    if not square or not values.sum():
        return float(square > 0)
    enough = int(np.searchsorted(np.cumsum(values) / values.sum(), VARIANCE_KEPT)) + 1
    inside = vectors[:, :enough].T @ gap
    return float(1 - inside @ inside / square)


def batch_values(a: np.ndarray, b: np.ndarray, scale: float | None) -> dict[str, float | None]:
    """Recall inside the batch and how far the softmaxes are from doubly stochastic. O(n² d).

    ``recall``: share of rows that are nearest to their own partner, mean of both directions.
    ``doubly_stochastic``: root mean square of S - 1, S the column sums of the row softmax and the
    row sums of the column softmax (theory: Theorem 3.2 holds where it is 0). At the batch's scale.
    """
    a, b = a[:LARGEST], b[:LARGEST]
    cosines = a @ b.T
    mine = np.arange(len(a))
    hits = (cosines.argmax(1) == mine).mean() + (cosines.argmax(0) == mine).mean()
    if scale is None:
        return {"recall": float(hits / 2), "doubly_stochastic": None}
    grown = np.exp(scale * (cosines - 1))  # cosines are at most 1: no overflow
    floor = np.finfo(np.float64).tiny
    rows = (grown / np.maximum(grown.sum(1, keepdims=True), floor)).sum(0)
    columns = (grown / np.maximum(grown.sum(0, keepdims=True), floor)).sum(1)
    off = np.concatenate([rows, columns]) - 1
    return {"recall": float(hits / 2), "doubly_stochastic": float(np.sqrt((off**2).mean()))}


def predicted_flips(queries: np.ndarray, candidates: np.ndarray, noise: float) -> float:
    """Share of first answers that noise on the candidates will change, by D11 (dot product).

    ``noise`` is the variance of the whole vector. The first 48 rows are searched among each other,
    so it is a figure of batches of 48, comparable along a training and between trainings alone.
    """
    from scipy.special import ndtr

    queries, candidates = queries[:FLIP_ROWS], candidates[:FLIP_ROWS]
    scores = queries @ candidates.T
    best = scores.argmax(1)
    spread = np.sqrt(noise / queries.shape[1]) * np.linalg.norm(queries, axis=1)
    leads = (scores.max(1, keepdims=True) - scores) / spread[:, None]
    leads[np.arange(len(leads)), best] = np.inf
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    survive = np.prod(ndtr(nodes[:, None, None] + leads), axis=2)
    return float(1 - (weights @ survive).mean() / np.sqrt(2 * np.pi))
