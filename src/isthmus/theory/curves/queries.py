"""Noise on queries, and on both sides, at every level: rivals within reach, and few shared draws.

Noise e of a query moves a rival's margin by ⟨e, Δ_j⟩, Δ_j = x_j - x_1. Those of a query's rivals
lie in a bundle, so one direction v of it, their weighted mean, is integrated exactly: with
e = t v + rest the answer stays for t in one interval, and given the rest the chance is a difference
of two normal tails. The rest is drawn, alike for all queries and levels, each draw with its
opposite. With noise on candidates too, their law (:mod:`isthmus.theory.curves.sweep`) is taken at
each q + e that was drawn.

Rivals beyond reach are left out, query by query; ``LEFT_OUT`` bounds what all of them can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.core.arrays import EPS32, row_norms
from isthmus.core.seeds import stream
from isthmus.core.threads import Spare
from isthmus.search.scores import Ranking
from isthmus.search.shared import Moved, Product
from isthmus.theory.curves.consistency import over_product
from isthmus.theory.curves.leads import best_other, count_leads, present, reached, rivalled
from isthmus.theory.curves.sweep import BINS_AND_NODES, LEFT_OUT, STEEPEST, Sweep

DRAWS = 16
"""Of the queries' noise, each with its opposite."""
SHARED_PAIRS = 2**19
"""Rivals × draws held at once."""
LEVEL = 1e-4
"""A rival that v hardly moves is taken to be moved by this share of ‖Δ_j‖."""
TWINS = 1e-5
"""Rows this near, in units of their size, are one: no noise on queries tells them apart."""


@dataclass(frozen=True, eq=False)
class Rivals:
    """Rivals within reach, query by query: ``query`` rising, ``rival``, ``margin``, Δ ``change``
    (p, d) and its length ``distance``. ``lost`` (b,): the aimed candidate has no chance."""

    query: np.ndarray
    rival: np.ndarray
    margin: np.ndarray
    change: np.ndarray
    distance: np.ndarray
    lost: np.ndarray

    def among(self, some: np.ndarray) -> Rivals:
        """Those of some rivals, a mask (p,)."""
        if some.all():
            return self
        return Rivals(
            self.query[some],
            self.rival[some],
            self.margin[some],
            self.change[some],
            self.distance[some],
            self.lost,
        )


@dataclass(frozen=True, eq=False)
class AskedNoise:
    """Noise of the queries of one search, as its candidates meet it.

    ``rows`` (K, d): candidates, back through the query's map, over their norms under cosine.
    ``draws`` (T, d) of unit variance, ``columns`` (K, T) their products with the rows. ``along``
    (n, T), ``squares`` (n,), ``sizes`` (T,): ⟨q, e⟩, ‖q‖² and ‖e‖² of the searched queries over
    the coordinates that hold candidates' noise. ``sigmas`` (L,): of a coordinate. ``rounding``
    (n,) of scores. ``stored``: how many coordinates those are.
    """

    rows: np.ndarray
    far: np.ndarray
    draws: np.ndarray
    columns: np.ndarray
    along: np.ndarray
    squares: np.ndarray
    sizes: np.ndarray
    sigmas: np.ndarray
    rounding: np.ndarray
    stored: int

    @classmethod
    def of(
        cls,
        ranking: Ranking,
        sigmas: np.ndarray,
        *,
        matrix: np.ndarray | None = None,
        stored: int | None = None,
        rounding: np.ndarray | None = None,
        seed: int = 0,
        draws: int = DRAWS,
    ) -> AskedNoise:
        """``ranking``: as searched, float32. ``matrix`` (d', d): what noise goes through before it
        reaches the searched query. ``stored``: coordinates of candidates that hold noise."""
        queries, searched = ranking.queries, ranking.candidates
        if ranking.scale is not None:
            searched = searched * ranking.scale[:, None]
        rows = searched if matrix is None else searched @ matrix.astype(np.float32)

        def far() -> np.ndarray:
            return row_norms(rows - rows.mean(axis=0))

        size = draws, rows.shape[1]
        noise = stream("laws.queries", seed).standard_normal(size, np.float32)
        mapped = (noise if matrix is None else noise @ matrix.T.astype(np.float32))[:, :stored]
        asked = queries[:, :stored]
        if rounding is None:
            rounding = (
                EPS32 * np.linalg.norm(queries, axis=1) * np.linalg.norm(searched, axis=1).max()
            )
        return cls(
            rows,
            far() if rows is not ranking.candidates else ranking.facts.of("far", far, rows),
            noise,
            rows @ noise.T,
            asked @ mapped.T,
            np.einsum("ij,ij->i", asked, asked),
            np.einsum("ij,ij->i", mapped, mapped),
            np.asarray(sigmas, np.float64),
            rounding,
            mapped.shape[1],
        )

    @property
    def reach(self) -> float:
        """Standard deviations beyond which all rivals together win with chance ``LEFT_OUT``."""
        from scipy.special import ndtri

        return -float(ndtri(LEFT_OUT / max(len(self.rows) - 1, 1)))

    def error(self, part: np.ndarray, aimed: np.ndarray) -> np.ndarray:
        """(L, b): what the chances of some queries are known to, draws apart."""
        spread = self.sigmas[:, None] * np.maximum(self.far[aimed], 1e-30)
        return LEFT_OUT + STEEPEST * self.rounding[part] / np.maximum(spread, 1e-30)

    def rivals(
        self,
        scores: np.ndarray,
        aimed: np.ndarray,
        ahead: np.ndarray,
        sigma: float,
        stored_reach: np.ndarray | None = None,
    ) -> Rivals:
        """Those of ``aimed`` (b,) within reach at a level, from scores (b, K), of which ``ahead``
        (b,) are the best of other candidates. Queries without any have no entry.

        ``stored_reach`` (b,): the reach of the candidates' own noise, as a margin; then ‖Δ_j‖ is
        bounded by what it can be, ``change`` is empty, and the aimed candidate is its own rival.
        """
        asked = self.reach * sigma
        own = scores[np.arange(len(scores)), aimed]
        most = asked * (self.far[aimed] + self.far.max())
        if stored_reach is not None:
            most = np.hypot(most, stored_reach)
        most = most.astype(scores.dtype)
        lost = own + most < ahead
        query, rival, values = reached(scores, np.where(lost, np.inf, own - most), ahead)
        margin = own[query] - values
        if stored_reach is not None:
            distance = self.far[rival] + self.far[aimed][query]
            near = margin <= np.hypot(asked * distance, stored_reach[query])
            nothing = np.empty((len(query), 0), np.float32)
            return Rivals(query, rival, margin, nothing, distance, lost).among(near)
        change = self.rows[rival]
        change -= self.rows[aimed[query]]
        distance = np.sqrt(np.einsum("pd,pd->p", change, change))
        near = margin <= asked * distance
        near &= distance > TWINS * self.far[rival]
        return Rivals(query, rival, margin, change, distance, lost).among(near)

    def kept(self, scores: np.ndarray, aimed: np.ndarray) -> np.ndarray:
        """P[the candidate ``aimed`` (b,) is the answer] under noise on queries alone, from scores
        (b, K): (L, T, b), for each level and draw with its opposite."""
        ahead = best_other(scores, aimed)
        found = self.rivals(scores, aimed, ahead, float(self.sigmas.max()))
        out = np.ones((len(self.sigmas), len(self.draws), len(scores)), np.float32)
        for level in np.argsort(-self.sigmas, kind="stable"):  # less noise, fewer rivals
            sigma = float(self.sigmas[level])
            found = found.among(found.margin <= self.reach * sigma * found.distance)
            if len(found.query):
                asked, chance = self._tails(found, aimed, sigma)
                out[level][:, asked] = chance.T
        out[:, :, found.lost] = 0.0
        return out

    def _tails(
        self, rivals: Rivals, aimed: np.ndarray, sigma: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The queries that have rivals (m,), and their chances (m, T)."""
        from scipy.special import ndtr

        asked, place = present(rivals.query, len(aimed))
        starts = np.searchsorted(place, np.arange(len(asked)))
        square = (rivals.margin / (sigma * rivals.distance)) ** 2
        square -= np.minimum.reduceat(square, starts)[place]
        weight = (np.exp(-0.5 * square) / rivals.distance).astype(np.float32)
        v = np.add.reduceat(weight[:, None] * rivals.change, starts)
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30)
        c = np.einsum("pd,pd->p", rivals.change, v[place])
        least = LEVEL * rivals.distance
        c = np.where(np.abs(c) < least, np.copysign(least, c), c)
        moved = self.columns[rivals.rival] - self.columns[aimed[rivals.query]]
        moved -= (v @ self.draws.T)[place] * c[:, None]
        moved /= c[:, None]
        level = (rivals.margin / (np.float32(sigma) * c))[:, None]
        down = np.flatnonzero(c < 0)
        total = np.zeros((len(starts), len(self.draws)), np.float32)
        for ends in (level - moved, level + moved):
            low = np.float32(0.0)
            if len(down):
                lows = np.full_like(ends, -np.inf)
                lows[down], ends[down] = ends[down], np.inf
                low = ndtr(np.maximum.reduceat(lows, starts))
            total += np.maximum(ndtr(np.minimum.reduceat(ends, starts)) - low, 0.0)
        return asked, 0.5 * total


def kept_by_both(
    noise: AskedNoise,
    sweeps: Sequence[Sweep],
    scores: np.ndarray,
    part: np.ndarray,
    aimed: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The same under noise on both sides, and what each is known to, draws apart, (L, b).

    ``sweeps``: one a level, of the candidates' noise. ``part`` (b,): the queries.
    """
    out = np.empty((len(sweeps), len(noise.draws), len(scores)), np.float32)
    error = noise.error(part, aimed)
    own, ahead = scores[np.arange(len(scores)), aimed], best_other(scores, aimed)
    for level, (sweep, sigma) in enumerate(zip(sweeps, noise.sigmas, strict=True)):
        loud = noise.squares[part] + sigma**2 * noise.sizes.mean()
        bias = sweep.bias
        own_bias = None if bias is None else bias[aimed]
        alone = sweep.noise(0, own, part, own_bias, loud, noise.stored)
        found = noise.rivals(scores, aimed, ahead, sigma, alone.margins(sweep.reach))
        theirs = None if bias is None else bias[found.rival]
        leads = alone.leads(found.margin, found.query, theirs)
        error[level] += alone.error + BINS_AND_NODES + sweep.bent(found.query, leads, len(own))
        out[level] = np.where(found.lost, 0.0, 1.0)
        found = found.among(rivalled(found.query))  # who has no rivals keeps the answer
        asked, place = present(found.query, len(own))
        if not len(asked):
            continue
        found, mine = replace(found, query=place), (own[asked], part[asked], aimed[asked])
        out[level][:, asked] = 0.0
        step = max(1, SHARED_PAIRS // len(place))
        for start in range(0, len(noise.draws), step):
            some = slice(start, min(start + step, len(noise.draws)))
            for sign in (sigma, -sigma):
                given = _Given(noise, sign, some).kept(sweep, found, *mine)
                out[level][some, asked] += 0.5 * given
    return out, error


@dataclass(frozen=True, eq=False)
class _Given:
    """Some draws of the queries' noise, times ``sigma``: then only candidates' noise is left."""

    noise: AskedNoise
    sigma: float
    draws: slice

    def kept(
        self, sweep: Sweep, found: Rivals, own: np.ndarray, part: np.ndarray, aimed: np.ndarray
    ) -> np.ndarray:
        """(t, b); a query and a draw are taken for one query more."""
        sigma, columns = np.float32(self.sigma), self.noise.columns[:, self.draws]
        mine = columns[aimed]
        turns = mine.shape[1]
        margin = found.margin[:, None] + sigma * (mine[found.query] - columns[found.rival])
        squares = self.noise.squares[part, None] + self.sigma**2 * self.noise.sizes[self.draws]
        squares = squares + 2 * self.sigma * self.noise.along[part, self.draws]
        query = (found.query[:, None] * turns + np.arange(turns)).ravel()
        own_bias = bias = None
        if sweep.bias is not None:
            own_bias, bias = (np.repeat(sweep.bias[rows], turns) for rows in (aimed, found.rival))
        score = (own[:, None] + sigma * mine).ravel()
        model = sweep.noise(
            0, score, np.repeat(part, turns), own_bias, squares.ravel(), self.noise.stored
        )
        (group,) = sweep.grouped(behind=True)
        leads = model.leads(margin.ravel(), query, bias)
        near = leads.lead <= group.reach
        counted = count_leads(query[near], leads.among(near), len(score), group)
        chance = np.exp(model.logs(counted, group, np.arange(len(score)))) @ sweep.weights
        return np.asarray(np.clip(chance.reshape(len(own), turns).T, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Asked:
    """A search under noise on queries, on both sides where there are ``sweeps``; ``moved`` where
    its scores come from a product of other rows. ``aims``: (n,) candidates, the clean answers
    first; -1: none."""

    noise: AskedNoise
    aims: Sequence[np.ndarray]
    score: str
    moved: Moved | None = None
    sweeps: Sequence[Sweep] = ()

    def block(self, scores: np.ndarray, part: slice, aim: int) -> tuple[np.ndarray, np.ndarray]:
        """Chances (L, T, b) of an aim, and what they are known to, (L, b)."""
        aimed, rows = self.aims[aim][part], np.arange(part.start, part.stop)
        some = aimed >= 0 if not aim else (aimed >= 0) & (aimed != self.aims[0][part])
        levels, draws = len(self.noise.sigmas), len(self.noise.draws)
        out, error = np.zeros((levels, draws, len(rows))), np.zeros((levels, len(rows)))
        if some.any():
            mine = (scores if some.all() else scores[some]), aimed[some]
            if self.sweeps:
                found, error[:, some] = kept_by_both(
                    self.noise, self.sweeps, mine[0], rows[some], mine[1]
                )
            else:
                found = self.noise.kept(*mine)
                error[:, some] = self.noise.error(rows[some], mine[1])
            out[:, :, some] = found
        return out, error


def asked_chances(
    searches: Sequence[Asked], product: Product | Ranking
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each search the chances (aims, L, T, n) and what their means are known to, draws apart,
    (L,). ``product``: of the rows that the searches move; of one that moves none, its ranking."""
    n, spare = len(product.queries), Spare()
    found = []
    for search in searches:
        shape = len(search.noise.sigmas), len(search.noise.draws), n
        chances = np.zeros((len(search.aims), *shape), np.float32)
        found.append((chances, np.zeros((shape[0], n))))

    def work(part: slice, products: np.ndarray) -> None:
        for search, (chances, error) in zip(searches, found, strict=True):
            moved = search.moved
            scores = products if moved is None else moved.scores(products, part, spare=spare)
            for aim, aimed in enumerate(search.aims):
                chances[aim, :, :, part], known = search.block(scores, part, aim)
                if not aim:
                    error[:, part] = known
                    continue
                same = np.flatnonzero(aimed[part] == search.aims[0][part]) + part.start
                chances[aim][:, :, same] = chances[0][:, :, same]

    over_product(product, work)
    return [(chances, error.mean(axis=1)) for chances, error in found]
