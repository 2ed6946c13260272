"""Consistency at every noise level at once, from one clean search (``docs/formulas.md``).

Noise on candidates leaves a query's rivals independent, so the chance that its answer survives is

    P[keep] = ∫ φ(t) ∏_{j≠1} Φ(-w_j(t)) dt

over the winner's noise t. Under dot w_j(t) = -t - u_j with the *lead* u_j, the margin in units of
the noise (D11). Under Euclidean search it is nearly that, and a function of the lead and of the
winner's distance alone (D12, by roots of χ'²). Only rivals within a reach of about 8.5 matter. They
are counted in cells of the lead, with the first two moments inside each cell, so the logarithm of
the product at all nodes t is a small matrix product, and a level costs next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from isthmus._arrays import to_numpy
from isthmus.errors import OptionError, ShapeError
from isthmus.maps import AffineMap, Closer
from isthmus.predict import keep_probability
from isthmus.scores import TIE_ULPS, Ranking, check_score

CELL = 1 / 6
STEP, LAST = 0.25, 5.0
MANY = 10_000  # from so many rivals on the product is steeper in t, and the step .2
BLOCK_ELEMENTS, BLOCK_ROWS = 2**20, 1024  # scores a thread holds: 4 MB of float32
THREADS = 4  # at most: beside the threads of the matrix product
LEFT_OUT = 1e-5
"""Chance that any rival beyond reach beats the winner: at most this."""
TOGETHER = 16.0
"""Levels within this factor share their cells under dot, where only the unit of a lead changes."""
LEAST_DIMENSIONS = 64
CELLS_AND_NODES = 1e-5
"""What cells and nodes change in a probability, at most: found by halving them (in the tests)."""

STEEPEST = 0.4
"""A probability changes by at most φ(0) = .4 per unit that all leads change by."""
SHAPE = 0.06
"""Times 1/μ: error of the expansion for Euclidean search, as found against the exact integral."""
ALIKE = 1e-5
"""Change of a lead, from one winner's distance to another, that is let pass."""

Table = np.ndarray
"""log Φ(-w) in each cell, then its first and half its second derivative in the lead: (3, cells,
nodes), as (3 · cells, nodes)."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted consistency at each level of noise on the candidates.

    ``totals`` (L,): E‖ε‖² of a candidate's noise. ``value`` (L,): mean over queries of ``kept``
    (L, n), the chance that the answer survives. ``error`` (L,): what the mean is known to; NaN
    where the levels were taken one by one by ``predict``. ``method``: one line.
    """

    totals: np.ndarray
    value: np.ndarray
    kept: np.ndarray
    error: np.ndarray
    method: str


def consistency_curve(
    ranking: Ranking, score: str, totals: Sequence[float], *, spreads: np.ndarray | None = None
) -> Curve | None:
    """Share of answers that survive Gaussian noise on the candidates, at every level at once.

    Args:
        ranking: clean queries (n, d) and candidates (K, d) as they are searched (after a closer's
            maps), stored numbers included.
        score: dot or euclidean; cosine has no closed form.
        totals: (L,) levels E‖ε‖², each at least 0.
        spreads: (n,), dot alone: √(qᵀΣq) of each query, for noise of covariance total · Σ that is
            not isotropic. Isotropic noise has ‖q‖/√d, the default.

    Returns:
        :class:`Curve`; None for cosine and for fewer than 2 candidates. Below 64 dimensions, and
        with stored numbers, Euclidean levels are taken one by one by ``predict``.

    Raises:
        OptionError: an unknown score, a level that is no variance, spreads under Euclidean search.
        ShapeError: spreads that do not fit the queries.

    Source: D11 and D12 of ``docs/formulas.md``. Cost: one clean search, then a few passes a level
    over the rivals within reach. Memory: a block of scores, and 16 bytes a rival within reach.
    """
    check_score(score)
    levels = np.asarray(totals, np.float64)
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels >= 0)).all():
        raise OptionError(f"totals {totals} are no list of variances; expected numbers >= 0")
    n, dim = (int(size) for size in ranking.queries.shape)
    if spreads is not None:
        if score != "dot":
            raise OptionError(f"spreads were given under {score}; they are for dot alone")
        spreads = np.asarray(spreads, np.float64)
        if spreads.shape != (n,):
            raise ShapeError(f"spreads have shape {spreads.shape}; expected one a query, ({n},)")
    if score == "cosine" or int(ranking.candidates.shape[0]) < 2:
        return None
    ranking = Ranking(*(None if part is None else to_numpy(part) for part in (
        ranking.queries, ranking.candidates, ranking.scale, ranking.offset)))  # fmt: skip
    if score == "euclidean" and (dim < LEAST_DIMENSIONS or _has_bias(ranking)):
        kept = np.stack([_one_by_one(ranking, score, float(level)) for level in levels])
        unknown = np.full(len(levels), np.nan)
        return Curve(levels, kept.mean(axis=1), kept, unknown, "level by level")
    return _curves([_Search(ranking, score, levels, spreads)], ranking)[0]


def consistency_curves(
    queries: np.ndarray, candidates: np.ndarray, closers: Sequence[Closer], totals: Sequence[float]
) -> list[Curve | None]:
    """:func:`consistency_curve` of many closers on the same rows: one product for all of them.

    A translation of either side with stored numbers changes the score of a pair by a number of the
    query and a number of the candidate, ⟨q + a, x + b⟩ + ⟨w, x⟩ = ⟨q, x⟩ + ⟨a + w, x⟩ + ⟨q + a, b⟩,
    so the inner products are taken once. Closers of other kinds are mapped and searched one by one.

    Args:
        queries, candidates: (n, d), (K, d) rows before the closers' maps.
        closers: fitted, each with its own score and strength. totals: as above.

    Returns:
        A curve (or None) per closer, in their order.

    Raises:
        OptionError: levels that are no variances. ShapeError: rows of another model.
    """
    out: list[Curve | None] = [None] * len(closers)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, closer in enumerate(closers):
        if _translates(closer) and int(queries.shape[1]) >= LEAST_DIMENSIONS:
            groups.setdefault((closer.score, closer.query.unit_in), []).append(i)
        else:
            bias = None if closer.bias is None else closer.bias_of(candidates)
            mapped = to_numpy(closer.query(queries)), to_numpy(closer.candidate(candidates))
            out[i] = consistency_curve(
                Ranking.of(*mapped, closer.score, bias), closer.score, totals
            )
    levels = np.asarray(totals, np.float64)
    for (score, unit_in), mine in groups.items():
        plain = AffineMap(int(queries.shape[1]), unit_in=unit_in)
        rows = Ranking.of(to_numpy(plain(queries)), to_numpy(plain(candidates)), "dot")
        searches: list[_Search] = []
        for i in mine:
            like = searches[0] if searches else None
            searches.append(_translated(rows, closers[i], score, levels, like))
        for i, curve in zip(mine, _curves(searches, rows), strict=True):
            out[i] = curve
    return out


def _translates(closer: Closer) -> bool:
    """Whether both maps only move rows, and the search is one the cells are for."""
    steps = (*closer.query.steps, *closer.candidate.steps)
    moves = len(steps) == 2 and not any(s.unit_out or s.matrix is not None for s in steps)
    same = closer.query.unit_in == closer.candidate.unit_in
    numbers = closer.score == "euclidean" and closer.bias is not None
    return moves and same and not closer.memo and closer.score != "cosine" and not numbers


def _translated(
    rows: Ranking, closer: Closer, score: str, levels: np.ndarray, like: _Search | None
) -> _Search:
    """A search of moved rows whose scores are those of ``rows`` and two sums."""
    zero = np.zeros(int(rows.queries.shape[1]))
    a, b = (step.offset if step.offset is not None else zero
            for step in (*closer.query.steps, *closer.candidate.steps))  # fmt: skip
    dtype = rows.queries.dtype
    queries = rows.queries if not a.any() else rows.queries + a.astype(dtype)
    candidates = rows.candidates if not b.any() else rows.candidates + b.astype(dtype)
    weights = a if closer.bias is None else a + closer.bias
    column = rows.candidates @ weights.astype(dtype)
    bias = None if closer.bias is None else rows.candidates @ closer.bias
    ranking = Ranking.of(queries, candidates, score, bias)
    search = _Search(ranking, score, levels, None, like)
    if score == "euclidean":
        column = column - 0.5 * np.einsum("ij,ij->i", candidates, candidates)
    search.column, search.row = column.astype(dtype), queries @ b.astype(dtype)
    return search


def _curves(searches: Sequence[_Search], rows: Ranking) -> list[Curve]:
    """Every search through the blocks of one product."""
    n, count = int(rows.queries.shape[0]), len(rows.candidates)
    levels = searches[0].levels
    kept = np.empty((len(searches), len(levels), n))
    error = np.empty_like(kept)
    step = min(BLOCK_ROWS, max(1, BLOCK_ELEMENTS // count))

    def work(start: int) -> None:
        part = slice(start, min(start + step, n))
        some = Ranking(rows.queries[part], rows.candidates, rows.scale, rows.offset)
        scores = next(some.score_blocks(step))[1]
        for i, search in enumerate(searches):
            own = scores
            if search.column is not None:
                own = scores + search.column
                own += search.row[part, None]
            kept[i, :, part], error[i, :, part] = search.block(own, part)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(work, range(0, n, step)))
    return [
        Curve(levels, k.mean(axis=1), k, e.mean(axis=1), f"cells of leads, {search.score}")
        for search, k, e in zip(searches, kept, error, strict=True)
    ]


def _one_by_one(ranking: Ranking, score: str, level: float) -> np.ndarray:
    kept = keep_probability(ranking, score, level)
    assert kept is not None
    return kept


def _has_bias(ranking: Ranking) -> bool:
    """Whether stored numbers are in the offset, beyond rounding of -½‖x‖²."""
    rows = ranking.candidates
    half = 0.5 * np.einsum("ij,ij->i", rows, rows)
    return bool((np.abs(ranking.offset + half) > 64 * np.finfo(rows.dtype).eps * half).any())


class _Search:
    """What is the same for all queries: reach, cells, nodes; and the probabilities of a block."""

    column: np.ndarray | None = None
    """What to add to each candidate's score (K,), and ``row`` to each query's, (n,)."""
    row: np.ndarray

    def __init__(
        self,
        ranking: Ranking,
        score: str,
        levels: np.ndarray,
        spreads: np.ndarray | None,
        like: _Search | None = None,
    ) -> None:
        from scipy.special import ndtri

        self.levels, self.dim, self.score = levels, int(ranking.candidates.shape[1]), score
        self.reach = -float(ndtri(LEFT_OUT / (len(ranking.candidates) - 1))) * np.sqrt(2)
        step = STEP if len(ranking.candidates) <= MANY else 0.8 * STEP
        self.nodes = step * np.arange(-round(LAST / step), round(LAST / step) + 1)
        weights = np.exp(-0.5 * self.nodes**2)
        self.weights = (weights / weights.sum()).astype(np.float32)
        self.rounding = ranking.tie_widths[:, 0].astype(np.float64) / TIE_ULPS
        self.squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries).astype(np.float64)
        self.euclidean = score == "euclidean"
        self.spreads = np.sqrt(self.squares / self.dim) if spreads is None else spreads
        # cells and tables depend on how many candidates there are, not on which
        self.tables: dict[tuple[float, int], Table] = {} if like is None else like.tables
        self.groups: list[_Group] = []
        if like is None:
            self.groups += self._groups(1.0 if self.euclidean else TOGETHER)
        else:
            self.groups += like.groups

    def _groups(self, factor: float) -> Iterator[_Group]:
        """Levels that are counted in the same cells, from the most noise to the least."""
        left = [i for i in np.argsort(-self.levels, kind="stable") if self.levels[i] > 0]
        while left:
            mine = [i for i in left if self.levels[i] * factor >= self.levels[left[0]]]
            left = left[len(mine) :]
            units = np.sqrt(self.levels[mine] / self.levels[mine[-1]])
            leads = CELL * np.arange(round(self.reach * units[0] / CELL) + 1)
            table = None
            if not self.euclidean:
                each = [_table(self._plain, leads / one, 1 / one) for one in units]
                table = np.concatenate(each, axis=1)
            yield _Group(np.array(mine), float(self.reach * units[0]), leads, table)

    def _plain(self, lead: np.ndarray) -> np.ndarray:
        return np.asarray(-lead - self.nodes)

    def block(self, scores: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """P[keep] and its error of the queries in ``part``, (L, b), from their scores (b, K)."""
        best = scores.max(axis=1)
        kept, error = np.ones((2, len(self.levels), len(best)))
        error[:] = 0.0
        query = margin = np.empty(0)
        for number, group in enumerate(self.groups):
            noise = self._noise(float(self.levels[group.levels[-1]]), best, part)
            if not number:  # less noise, fewer rivals: all are among these, and the winner too
                widest = noise.margins(group.reach).astype(scores.dtype)
                within = scores >= (best - widest)[:, None]
                query = np.repeat(np.arange(len(best)), np.count_nonzero(within, axis=1))
                margin = best[query] - scores.ravel()[np.flatnonzero(within)]
            lead = noise.leads(margin, query)
            near = lead <= group.reach
            if not near.all():
                query, margin, lead = query[near], margin[near], lead[near]
            counted = _count(query, lead, (len(best), len(group.leads)))
            chance = np.exp(noise.logs(counted, group)) @ self.weights  # (b, levels of the group)
            silent = noise.scale == 0  # a query of length 0 meets no noise
            kept[group.levels] = np.where(silent, 1.0, chance.T)
            rounding = STEEPEST * self.rounding[part] / np.where(silent, 1.0, noise.scale)
            all_in = noise.error + LEFT_OUT + CELLS_AND_NODES + rounding
            error[group.levels] = np.where(silent, 0.0, all_in)
        return np.clip(kept, 0.0, 1.0), error

    def _noise(self, level: float, best: np.ndarray, part: slice) -> _Plain | _Roots:
        if not self.euclidean:
            return _Plain(np.sqrt(level) * self.spreads[part], best.dtype)
        square = np.maximum(self.squares[part] - 2 * best.astype(np.float64), 0.0)
        return _Roots(square, level / self.dim, self, best.dtype)


@dataclass(frozen=True, eq=False)
class _Group:
    """``levels``: their numbers, in falling order; ``reach``, ``leads`` (cells,) in units of the
    last; ``table`` of all of them, (3 · cells, levels · nodes), under dot."""

    levels: np.ndarray
    reach: float
    leads: np.ndarray
    table: Table | None


def _count(query: np.ndarray, lead: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rivals in each cell of their lead, and two moments inside it: (queries, 3 · cells)."""
    count, cells = shape
    cell = np.rint(lead * lead.dtype.type(1 / CELL))
    rest = lead - cell * lead.dtype.type(CELL)
    key = query * cells + cell.astype(np.int64)
    out = np.empty((count, 3 * cells), np.float32)
    for i, weights in enumerate((None, rest, rest * rest)):
        found = np.bincount(key, weights, count * cells).reshape(shape)
        out[:, i * cells : (i + 1) * cells] = found
    out[:, 0] -= 1  # the winner is no rival of its own
    return out


def _table(w: Callable[[np.ndarray], np.ndarray], leads: np.ndarray, unit: float = 1.0) -> Table:
    """log Φ(-w) at (cells, nodes) and the two coefficients of the parabola inside each cell.

    ``unit`` is that of the cells, in leads.
    """
    from scipy.special import log_ndtr

    half = CELL / 2
    low, middle, high = (log_ndtr(-w(leads[:, None] + x * unit)) for x in (-half, 0.0, half))
    parts = (middle, (high - low) / CELL, (high - 2 * middle + low) / (2 * half**2))
    return np.concatenate(parts).astype(np.float32)


class _Plain:
    """Dot: scores are normal, with one spread a query; the lead is the margin over it."""

    error = 0.0

    def __init__(self, scale: np.ndarray, dtype: np.dtype) -> None:
        self.scale = scale
        with np.errstate(divide="ignore"):
            self.per_unit = (1 / scale).astype(dtype)

    def margins(self, reach: float) -> np.ndarray:
        return reach * self.scale

    def leads(self, margin: np.ndarray, query: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return margin * self.per_unit[query]

    def logs(self, counted: np.ndarray, group: _Group) -> np.ndarray:
        """Logarithm of the product over rivals, (b, levels, nodes)."""
        assert group.table is not None
        return (counted @ group.table).reshape(len(counted), len(group.levels), -1)


class _Roots:
    """Euclidean: roots of noisy squared distances over σ², √χ'²_d(λ), which are nearly normal.

    With μ = d + λ the mean of the square, s² the root's variance and c² = μ - s², the lead of a
    rival is (c_j - c_1) / s_j. What is not normal goes by Cornish and Fisher's expansion to the
    second order in the skewness.
    """

    def __init__(self, square: np.ndarray, variance: float, search: _Search, dtype: np.dtype):
        self.search, self.variance, self.dtype = search, variance, dtype
        self.mean = search.dim + square / variance
        self.centre, self.spread, _ = _root_moments(self.mean, search.dim)
        self.scale = variance * self.centre * self.spread  # margin per unit of lead, near lead 0
        self.error = SHAPE / self.mean

    def margins(self, reach: float) -> np.ndarray:
        return 0.5 * self.variance * ((self.centre + reach) ** 2 + 1 - self.mean)

    def leads(self, margin: np.ndarray, query: np.ndarray) -> np.ndarray:
        dim, kind = self.search.dim, self.dtype.type
        rise = margin * kind(2 / self.variance)
        mean = self.mean.astype(self.dtype)[query] + rise
        share = 1 / mean
        square = 1 + share * (
            kind((1 - dim) / 2) + share * (kind(-1.5 * dim) + share * kind(0.875 * dim * dim))
        )
        centre, own = self.centre.astype(self.dtype), (self.spread**2).astype(self.dtype)
        rise = rise - square + own[query]
        return rise / ((np.sqrt(mean - square) + centre[query]) * np.sqrt(square))

    def logs(self, counted: np.ndarray, group: _Group) -> np.ndarray:
        """Logarithm of the product over rivals, (b, 1, nodes): linear between tables in log μ."""
        place = np.log(self.mean)
        low, high = float(place.min()), float(place.max())
        gap, skew = self._spacing(low)
        if skew * (gap + high - low) < ALIKE:
            middle = self._table(round((low + high) / 2 / gap), gap, group.leads)
            return (counted @ middle)[:, None, :]
        found = np.zeros((len(counted), 1, len(self.search.nodes)), np.float32)
        below = np.floor(place / gap).astype(int)
        for i in np.unique(below):
            mine = below == i
            pair = [self._table(i + step, gap, group.leads) for step in (0, 1)]
            both = (counted[mine] @ np.concatenate(pair, axis=1)).reshape(mine.sum(), 2, -1)
            share = (place[mine] / gap - i).astype(np.float32)[:, None]
            found[mine, 0] = both[:, 0] + share * (both[:, 1] - both[:, 0])
        return found

    def _spacing(self, low: float) -> tuple[float, float]:
        """Distance of tables in log μ, the same for all blocks, and the greatest skewness."""
        skew = float(_root_moments(np.exp(np.array([low])), self.search.dim)[2][0])
        wanted = np.sqrt(8 * ALIKE / skew)
        return float(2.0 ** np.floor(np.log2(min(wanted, 0.5)))), skew

    def _table(self, i: int, gap: float, leads: np.ndarray) -> Table:
        key = (gap, i)
        if key not in self.search.tables:
            w = self._probits(float(np.exp(i * gap)))
            self.search.tables[key] = _table(w, leads)
        return self.search.tables[key]

    def _probits(self, mean: float) -> Callable[[np.ndarray], np.ndarray]:
        """w(lead, t): the normal score of a rival's distance where it meets the winner's."""
        dim = self.search.dim
        centre, spread, skew = (x[0] for x in _root_moments(np.array([mean]), dim))
        z = -self.search.nodes
        root = centre + spread * (z + skew * (z * z - 1) - skew**2 * (2 * z**3 - 5 * z))

        def w(lead: np.ndarray) -> np.ndarray:
            theirs = np.full_like(lead, spread)
            for _ in range(8):  # their mean and spread, given where the lead puts their centre
                _, theirs, skews = _root_moments((centre + theirs * lead) ** 2 + theirs**2, dim)
            v = (root - centre) / theirs - lead
            return np.asarray(v - skews * (v * v - 1) + skews**2 * (4 * v**3 - 7 * v))

        return w


def _root_moments(mean: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, spread and a sixth of the skewness of √χ'²_d(λ), d + λ = mean, to order 1/d²."""
    share = 1 / mean
    square = 1 + share * ((1 - dim) / 2 + share * (-1.5 * dim + share * 0.875 * dim * dim))
    half = 4 * mean - 2 * dim  # the variance of χ'²
    skew = 8 * (3 * mean - 2 * dim) / half**1.5 - 1.5 * np.sqrt(half) * share
    return np.sqrt(mean - square), np.sqrt(square), skew / 6
