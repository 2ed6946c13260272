"""L2 radii from the rivals that can set them: a float32 product, then float64 for few pairs.

A radius is the least of m_j / r_j over rivals, m_j the margin, r_j how fast rival j comes nearer.
Candidates' radii grow with the margin, so the runner-up sets them. A query's has r_j = ‖x_j - x_1‖:
the runner-up's m / r is a bound ρ, and a rival with m_j > ρ R cannot set the radius, R the most
that any r_j can be. Where more than :data:`LEADING` rivals are left, distances from a second
float32 product say which of them can. Those that are left, with room for rounding, are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.search.scores import Ranking
from isthmus.search.settled import NEAR, Settled
from isthmus.search.shared import Moved, Product
from isthmus.theory.rows import CleanRows

LEADING = 32
"""Rivals of a certified query, at most; others have a longer list."""
GATHERED = 2**21
"""Numbers of rows gathered at once."""
TWINS = 64 * float(np.finfo(np.float64).eps)
"""Rows that differ by less than this share of their squared norms are one."""
LOWEST, LEAST = float(np.finfo(np.float32).min), 1e-30
"""Of float32 scores, and of margins whose inverse float32 holds."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The rivals of all queries that may set a radius.

    ``product`` and ``moved`` give the scores, in float32; two of a query are known to ``slack``
    (n,).
    """

    clean: CleanRows
    product: Product
    moved: Moved
    slack: np.ndarray

    @classmethod
    def of(
        cls, clean: CleanRows, ranking: Ranking, shared: tuple[Product, Moved] | None = None
    ) -> Leading | None:
        """None where float32 does not hold such scores, or there are no rivals. ``shared``: how the
        ranking's scores come from a product of other rows."""
        if len(clean.candidates) < 2:
            return None
        host = ranking.on_host()
        if shared is None:
            product = Product.of(host.queries, host.candidates, kept=False)
            shared = product, Moved.of(product, host)
        settled = Settled.of(host, shared[1].sizes)
        return cls(clean, *shared, 2 * settled.near) if settled.fits else None

    def radii(self, *moves: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each of ``query`` and ``candidate`` moves the radii (n,), and how many rivals were
        listed (n,)."""
        n, clean = len(self.clean.queries), self.clean
        found = [(np.full(n, np.inf), np.zeros(n, np.int64)) for _ in moves]

        def work(part: slice, products: np.ndarray) -> None:
            scores, first = self.moved.scores(products, part), clean.winner[part]
            here = np.arange(len(scores))
            rows = here + part.start
            own = scores[here, first]
            if clean.items is not None:
                scores[clean.items[first][:, None] == clean.items] = -np.inf
            scores[here, first] = -np.inf
            runner = scores.argmax(axis=1)
            best = scores[here, runner]
            for move, (radius, listed) in zip(moves, found, strict=True):
                level, bound = best, None
                if move == "query":
                    bound = self._exact(move, rows, runner)
                    reach = (bound * (self._far[first] + self._far.max())).astype(np.float32)
                    level = own - reach * np.float32(1 + 1e-6)
                low = np.maximum(level - self.slack[part], LOWEST)
                low[best == -np.inf] = np.inf  # no rivals
                near = scores >= low[:, None]
                listed[part] = np.count_nonzero(near, axis=1)
                if bound is not None:
                    self._narrow(near, scores, own - self.slack[part], bound, first)
                query, rival = np.divmod(np.flatnonzero(near), scores.shape[1])
                starts = np.flatnonzero(np.diff(query, prepend=-1))
                if len(query):
                    each = self._exact(move, rows[query], rival)
                    radius[rows[query[starts]]] = np.minimum.reduceat(each, starts)

        self.product.blocks(work)
        return found

    def _narrow(
        self,
        near: np.ndarray,
        scores: np.ndarray,
        own: np.ndarray,
        bound: np.ndarray,
        first: np.ndarray,
    ) -> None:
        """Of long lists leave who may set the radius: whose margin is at most ``bound`` (b,) times
        the distance from the winner."""
        many = np.count_nonzero(near, axis=1) > LEADING
        rows, size = self._extended
        many &= (bound * size > LEAST) & np.isfinite(bound)
        some = slice(None) if many.all() else np.flatnonzero(many)
        per = (1 / (bound[some] * size)).astype(np.float32)[:, None]
        share = scores[some] * -per
        share += own[some, None] * per
        np.maximum(share, 0, out=share)
        share *= share
        asked = rows[first[some]]
        asked[:, :-2] *= -2
        asked[:, -2:] = asked[:, :-3:-1]
        near[some] = share <= asked @ rows.T

    @cached_property
    def _far(self) -> np.ndarray:
        """Distance of each candidate from their mean, (K,)."""
        return np.asarray(row_norms(self.clean.candidates - self.clean.candidates.mean(axis=0)))

    @cached_property
    def _extended(self) -> tuple[np.ndarray, float]:
        """Candidates x over the largest norm, float32, with ‖x‖² and 1 after them: (-2 x_1, 1,
        ‖x_1‖²) times such a row is ‖x_j - x_1‖², and here it is no less. And that norm."""
        x = self.clean.candidates
        size = float(np.sqrt(np.einsum("ij,ij->i", x, x).max())) or 1.0
        rows = np.empty((len(x), x.shape[1] + 2), np.float32)
        np.multiply(x, 1 / size, out=rows[:, :-2], casting="same_kind")
        rows[:, -2] = np.einsum("ij,ij->i", rows[:, :-2], rows[:, :-2]) * (1 + 2 * NEAR) + 1e-9
        rows[:, -1] = 1
        return rows, size

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
