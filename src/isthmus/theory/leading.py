"""L2 radii from the rivals that can set them: a float32 product, then float64 for few pairs.

A radius is the least over rivals of one number of each, for most the margin m_j over how fast rival
j comes nearer. That of the runner-up is a bound ρ, and whose margin is too large for ρ cannot set
the radius. A query's has r_j = ‖x_j - x_1‖: m_j <= ρ R, R the most that any r_j can be; where more
than :data:`LEADING` rivals are left, distances from a second float32 product say which of them can.
Candidates' radii grow with the margin, so the runner-up sets them; under Euclidean search with
candidate biases m_j <= ρ (ρ + ‖u_1‖ + √((‖u_1‖ + ρ)² + 2 (β_j - β_1))) (``docs/formulas.md``).
Those that are left, with room for rounding, are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.core.threads import Spare
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
WIDER = np.float32(1 + 1e-6)
"""Times a reach that is rounded to float32."""

Found = tuple[np.ndarray, np.ndarray]
"""Radii (n,), and how many rivals were listed (n,)."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The rivals of all queries of a search that may set a radius.

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

    @cached_property
    def lifted(self) -> bool:
        """Whether candidate biases part the order of candidates' radii from that of margins."""
        return self.clean.score == "euclidean" and bool(self.clean.bias.any())

    def exact(self, move: str, query: np.ndarray, rival: np.ndarray) -> np.ndarray:
        """What each of some pairs (p,) lets the radius be, in float64; inf where no move helps."""
        step = max(1, GATHERED // self.clean.queries.shape[1])
        parts = [
            self._some(move, query[start : start + step], rival[start : start + step])
            for start in range(0, len(query), step)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def _some(self, move: str, query: np.ndarray, rival: np.ndarray) -> np.ndarray:
        clean = self.clean
        q, first = clean.queries[query], clean.winner[query]
        x, theirs = clean.candidates[first], clean.candidates[rival]
        between = x - theirs
        lift = clean.bias[first] - clean.bias[rival]
        margin = np.einsum("ij,ij->i", q, between) + lift
        if clean.score == "euclidean":
            margin -= 0.5 * np.einsum("ij,ij->i", between, x + theirs)
        np.maximum(margin, 0.0, out=margin)
        if move == "candidate" and clean.score == "euclidean":
            return carried(margin, row_norms(q - x), row_norms(q - theirs), lift)
        if move == "query":
            square = np.einsum("ij,ij->i", between, between)
            both = np.einsum("ij,ij->i", x, x) + np.einsum("ij,ij->i", theirs, theirs)
            reach = np.sqrt(np.where(square > TWINS * both, square, 0.0))
        else:
            reach = 2 * row_norms(q)
        return np.divide(margin, reach, out=np.full(len(q), np.inf), where=reach > 0)


def carried(
    margin: np.ndarray, own: np.ndarray, far: np.ndarray, lift: np.ndarray | float
) -> np.ndarray:
    """How far candidates move until a rival wins under Euclidean search: m / (‖u_1‖ + ‖u_j‖).

    A rival stops at the query; what it still lacks there the winner has to lose by itself, and does
    at √(2 (β_1 - β_j)) - ‖u_1‖. ``own``, ``far``: ‖u_1‖, ‖u_j‖. ``lift``: β_1 - β_j.
    """
    reach, past = own + far, np.sqrt(np.maximum(2 * lift, 0.0)) - own
    radius = np.divide(margin, reach, out=np.zeros(reach.shape), where=reach > 0)
    return np.where(past > far, past, radius)


def leading_radii(searches: Sequence[Leading], *moves: str) -> list[list[Found]]:
    """For each search the radii of each of the ``moves``, ``query`` or ``candidate``.

    ``searches``: of one product, and of candidates that differ by one vector at most, so that
    distances between candidates are found once for all of them.
    """
    n, between = len(searches[0].clean.queries), _Between(searches[0].clean.candidates)
    found = [[(np.full(n, np.inf), np.zeros(n, np.int64)) for _ in moves] for _ in searches]
    spares = [Spare() for _ in searches]

    def work(part: slice, products: np.ndarray) -> None:
        blocks = [
            _Block(search, between, part, search.moved.scores(products, part, spare=spare))
            for search, spare in zip(searches, spares, strict=True)
        ]
        for i, move in enumerate(moves):
            reached = [block.reached(move) for block in blocks]
            if move == "query":
                _narrow(blocks, reached)
            for block, near, radii in zip(blocks, reached, found, strict=True):
                block.settle(move, near, *radii[i])

    searches[0].product.blocks(work)
    return found


class _Between:
    """How far candidates (K, d) lie apart."""

    def __init__(self, candidates: np.ndarray) -> None:
        self.candidates = candidates

    @cached_property
    def far(self) -> np.ndarray:
        """Distance of each from their mean, (K,)."""
        return np.asarray(row_norms(self.candidates - self.candidates.mean(axis=0)))

    @cached_property
    def size(self) -> float:
        """The largest norm, the unit of :meth:`squares`."""
        return float(row_norms(self.candidates).max()) or 1.0

    @cached_property
    def _extended(self) -> np.ndarray:
        """Candidates x, float32, with ‖x‖² and 1 after them: (-2 x_1, 1, ‖x_1‖²) times such a row
        is ‖x_j - x_1‖², and here it is no less."""
        x = self.candidates
        rows = np.empty((len(x), x.shape[1] + 2), np.float32)
        np.multiply(x, 1 / self.size, out=rows[:, :-2], casting="same_kind")
        rows[:, -2] = np.einsum("ij,ij->i", rows[:, :-2], rows[:, :-2]) * (1 + 2 * NEAR) + 1e-9
        rows[:, -1] = 1
        return rows

    def squares(self, first: np.ndarray) -> np.ndarray:
        """‖x_j - x_1‖² / size² or a little more, (b, K) in float32, from ``first`` (b,)."""
        asked = self._extended[first]
        asked[:, :-2] *= -2
        asked[:, -2:] = asked[:, :-3:-1]
        return np.asarray(asked @ self._extended.T)


class _Block:
    """Some queries of a search: float32 scores (b, K) of rivals, -inf of all others."""

    def __init__(self, search: Leading, between: _Between, part: slice, scores: np.ndarray) -> None:
        clean, self.search, self.between = search.clean, search, between
        self.scores = scores
        self.first, self.slack = clean.winner[part], search.slack[part]
        here = np.arange(len(scores))
        self.rows = here + part.start
        self.own = scores[here, self.first]
        if clean.items is not None:
            scores[clean.items[self.first][:, None] == clean.items] = -np.inf
        scores[here, self.first] = -np.inf
        self.runner = scores.argmax(axis=1)
        self.best = scores[here, self.runner]
        self.bound, self.listed = np.empty(0), np.empty(0, np.int64)

    def reached(self, move: str) -> np.ndarray:
        """Rivals that may set the radius by their scores alone, (b, K) bool: ``listed`` (b,) many.

        ``bound`` (b,) is what the runner-up lets a radius be that does not grow with the margin.
        """
        level = self.best
        if move == "query":
            self.bound = self.search.exact(move, self.rows, self.runner)
            reach = self.bound * (self.between.far[self.first] + self.between.far.max())
            level = self.own - reach.astype(np.float32) * WIDER
        elif self.search.lifted:
            self.bound = self.search.exact(move, self.rows, self.runner)
            everyone = np.arange(len(self.rows))
            level = self.own - self._lifted(everyone, self.search.clean.bias.max())
        low = np.maximum(level - self.slack, LOWEST)
        low[self.best == -np.inf] = np.inf  # no rivals
        near = np.asarray(self.scores >= low[:, None])
        self.listed = np.count_nonzero(near, axis=1)
        return near

    def _lifted(self, query: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
        """The largest margin (p,) at which a rival of a candidate bias sets a radius of ``bound``
        or less, Euclidean search."""
        clean, bound, first = self.search.clean, self.bound[query], self.first[query]
        own = row_norms(clean.queries[self.rows] - clean.candidates[self.first])[query]
        root = np.sqrt(np.maximum((own + bound) ** 2 + 2 * (bias - clean.bias[first]), 0.0))
        return np.asarray((bound * (bound + own + root)).astype(np.float32) * WIDER)

    def settle(self, move: str, near: np.ndarray, radius: np.ndarray, listed: np.ndarray) -> None:
        """Put the radii of these queries, set by rivals ``near``, among those of all."""
        query, rival = np.divmod(np.flatnonzero(near), near.shape[1])
        if move == "candidate" and self.search.lifted:
            most = self._lifted(query, self.search.clean.bias[rival]) + self.slack[query]
            some = self.own[query] - self.scores[query, rival] <= most
            query, rival = query[some], rival[some]
        listed[self.rows] = self.listed
        starts = np.flatnonzero(np.diff(query, prepend=-1))
        if len(query):
            each = self.search.exact(move, self.rows[query], rival)
            radius[self.rows[query[starts]]] = np.minimum.reduceat(each, starts)


def _narrow(blocks: Sequence[_Block], reached: Sequence[np.ndarray]) -> None:
    """Of long lists leave who may set the radius of a query: whose margin is at most the bound
    times the distance from the winner."""
    between = blocks[0].between
    long = [
        np.flatnonzero(
            (block.listed > LEADING)
            & (block.bound * between.size > LEAST)
            & np.isfinite(block.bound)
        )
        for block in blocks
    ]
    firsts = [block.first[some] for block, some in zip(blocks, long, strict=True)]
    winners, place = np.unique(np.concatenate(firsts), return_inverse=True)
    squares = between.squares(winners)
    places = np.split(place, np.cumsum([len(some) for some in long])[:-1])
    for block, near, some, at in zip(blocks, reached, long, places, strict=True):
        own = block.own[some] - block.slack[some]
        share = own[:, None] - block.scores[some]
        share *= (1 / (block.bound[some] * between.size)).astype(np.float32)[:, None]
        np.maximum(share, 0, out=share)
        share *= share
        near[some] = share <= squares[at]
