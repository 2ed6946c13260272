"""L2 radii from the rivals that can set them: a float32 product, then float64 for few pairs.

A radius is the least of m_j / r_j over rivals, m_j the margin, r_j how fast rival j comes nearer.
Candidates' radii grow with the margin, so the runner-up sets them. A query's has r_j = ‖x_j - x_1‖:
the runner-up's m / r is a bound ρ, and a rival with m_j > ρ R cannot set the radius, R the most
that any r_j can be. Where more than :data:`LEADING` rivals are left, distances from a second
float32 product say which of them can. Those that are left, with room for rounding, are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.search.scores import Ranking
from isthmus.search.settled import NEAR, Settled
from isthmus.theory.rows import CleanRows

LEADING = 32
"""Rivals of a certified query, at most; others have a longer list."""
GATHERED = 2**21
"""Numbers of rows gathered at once."""
TWINS = 64 * float(np.finfo(np.float64).eps)
"""Rows that differ by less than this share of their squared norms are one."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The rivals of all queries that may set a radius."""

    clean: CleanRows
    ranking: Ranking
    slack: np.ndarray

    @classmethod
    def of(cls, clean: CleanRows, ranking: Ranking) -> Leading | None:
        """None where float32 does not hold such scores, or there are no rivals."""
        host = ranking.on_host()
        settled = Settled.of(host)
        if not settled.fits or len(clean.candidates) < 2:
            return None
        return cls(clean, host.single(), 2.0 * settled.near.astype(np.float64))

    def radii(self, moved: str) -> tuple[np.ndarray, np.ndarray]:
        """Radii of ``query`` or ``candidate`` moves (n,), and how many rivals were listed (n,)."""
        clean, n = self.clean, len(self.clean.queries)
        radius, listed = np.full(n, np.inf), np.zeros(n, np.int64)
        centre = clean.candidates.mean(axis=0)
        far = np.linalg.norm(clean.candidates - centre, axis=1)
        for start, scores in self.ranking.score_blocks():
            rows, here = np.arange(start, start + len(scores)), np.arange(len(scores))
            first = clean.winner[rows]
            own = scores[here, first].astype(np.float64)
            if clean.items is not None:
                scores = np.where(clean.items[first][:, None] == clean.items, -np.inf, scores)
            scores[here, first] = -np.inf
            runner = scores.argmax(axis=1)
            level = scores[here, runner].astype(np.float64)
            some = np.isfinite(level)
            if moved == "query":
                bound = self._exact(moved, rows, runner)
                with np.errstate(invalid="ignore"):
                    level = own - bound * (far[first] + far.max()) * (1 + 1e-6)
            near = scores >= (level - self.slack[rows])[:, None]
            near &= scores > -np.inf
            listed[rows] = near.sum(axis=1)
            many = np.flatnonzero(listed[rows] > LEADING)
            if moved == "query" and len(many):
                margin = own[many, None] - scores[many] - self.slack[rows[many], None]
                near[many] &= margin <= bound[many, None] * self._farthest(first[many])
            query, rival = np.nonzero(near)
            np.minimum.at(radius, rows[query], self._exact(moved, rows[query], rival))
            radius[rows[~some]] = np.inf
        return radius, listed

    def _farthest(self, first: np.ndarray) -> np.ndarray:
        """What ‖x_j - x_1‖ is at most by float32 products, (b, K)."""
        x = self.ranking.candidates
        if self.ranking.scale is not None:
            x = x * self.ranking.scale[:, None]
        squares = np.einsum("ij,ij->i", x, x)
        both = squares[first][:, None] + squares
        return np.asarray(np.sqrt(np.maximum(both - 2 * x[first] @ x.T, 0) + 2 * NEAR * both))

    def _exact(self, moved: str, query: np.ndarray, rival: np.ndarray) -> np.ndarray:
        """m_j / r_j of pairs (p,) in float64; inf where no move helps."""
        step = max(1, GATHERED // self.clean.queries.shape[1])
        parts = [
            self._some(moved, query[start : start + step], rival[start : start + step])
            for start in range(0, len(query), step)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def _some(self, moved: str, query: np.ndarray, rival: np.ndarray) -> np.ndarray:
        clean = self.clean
        q, first = clean.queries[query], clean.winner[query]
        x, theirs = clean.candidates[first], clean.candidates[rival]
        between = x - theirs
        margin = np.einsum("ij,ij->i", q, between) + clean.bias[first] - clean.bias[rival]
        if clean.score == "euclidean":
            margin -= 0.5 * np.einsum("ij,ij->i", between, x + theirs)
        if moved == "query":
            square = np.einsum("ij,ij->i", between, between)
            both = np.einsum("ij,ij->i", x, x) + np.einsum("ij,ij->i", theirs, theirs)
            reach = np.sqrt(np.where(square > TWINS * both, square, 0.0))
        elif clean.score == "dot":
            reach = 2 * np.linalg.norm(q, axis=1)
        else:
            reach = np.linalg.norm(q - x, axis=1) + np.linalg.norm(q - theirs, axis=1)
        none = np.full(len(q), np.inf)
        return np.divide(np.maximum(margin, 0.0), reach, out=none, where=reach > 0)
