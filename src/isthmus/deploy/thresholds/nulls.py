"""Scores of pairs that match and of pairs that do not, from one blocked search, and a null
distribution as a table of counts: p-values, and the threshold of a rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.data.saved import Parts
from isthmus.deploy.thresholds.intervals import order
from isthmus.errors import OptionError
from isthmus.search.items import items_among
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, check_score
from isthmus.search.task import RetrievalTask

MOST_PAIRS = 2**22  # null scores kept at once: 32 MB
MOST_SAME = 2000  # rows of one side whose pairs are looked at


def score_blocks(
    queries: np.ndarray, candidates: np.ndarray, score: str, bias: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """(first query, scores (b, K)), higher is nearer, on a scale that compares across queries.

    cosine and dot as they are (plus a candidate bias), euclidean as -‖q - x‖, or with a bias b as
    -½‖q - x‖² + b.
    """
    if check_score(score) == "cosine":
        queries, candidates = np.asarray(unit(queries)), np.asarray(unit(candidates))
    ranking = Ranking.of(queries, candidates, "dot" if score == "cosine" else score, bias)
    squares = np.einsum("ij,ij->i", queries, queries)
    for start, block in ranking.score_blocks():
        if score == "euclidean":
            near = block - 0.5 * squares[start : start + len(block), None]  # -½‖q - x‖²
            block = near if bias is not None else -np.sqrt(np.maximum(-2 * near, 0.0))
        yield start, block


@dataclass(frozen=True, eq=False)
class Scores:
    """What n queries scored among K candidates.

    ``pairs`` (n, m): scores with a seeded m of the candidates, NaN where they match. ``best``
    (n,): the best non-match of each query, ``best_match`` (n,) the best match, -inf without one.
    ``by_size``: the best non-match in a part of the candidates that is drawn for each query, NaN
    where all of the part match; a larger part holds the smaller ones. ``match``, ``match_query``
    (t,): scores of matching pairs and whose they are.
    """

    pairs: np.ndarray
    best: np.ndarray
    best_match: np.ndarray
    by_size: dict[int, np.ndarray]
    match: np.ndarray
    match_query: np.ndarray

    @property
    def null(self) -> np.ndarray:
        """(p,): scores of the pairs that do not match."""
        return self.pairs[np.isfinite(self.pairs)]

    def of(self, rows: np.ndarray) -> Scores:
        """The same of some of the queries; ``match_query`` keeps the old numbers."""
        chosen = np.isin(self.match_query, rows)
        return Scores(
            self.pairs[rows],
            self.best[rows],
            self.best_match[rows],
            {size: best[rows] for size, best in self.by_size.items()},
            self.match[chosen],
            self.match_query[chosen],
        )


def sizes_of(count: int) -> list[int]:
    """Parts of K candidates: 1, 2, 5, 10, 20, 50, … and K itself."""
    return [m * 10**e for e in range(12) for m in (1, 2, 5) if m * 10**e < count] + [count]


def collect(
    task: RetrievalTask,
    bias: np.ndarray | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Scores:
    """Score every query with every candidate once. O(n K d), a block and n·m scores in memory.

    Raises:
        OptionError: some query has no non-matching candidate.
    """
    rng = stream("calibrate.nulls", seed)
    count, many, matching = len(task.queries), len(task.candidates), task.relevance.pairs
    width = max(2, min(many, MOST_PAIRS // count))
    columns = np.sort(rng.permutation(many)[:width])
    shuffled, sizes = rng.permutation(many), sizes_of(many)
    first = stream("calibrate.subsets", seed).integers(many, size=count)
    pairs, match = np.empty((count, width)), np.empty(len(matching))
    best, best_match = np.empty((count, len(sizes))), np.full(count, -np.inf)
    for start, block in score_blocks(task.queries, task.candidates, task.score, bias):
        stop = start + len(block)
        lo, hi = np.searchsorted(matching[:, 0], [start, stop])
        rows, right = matching[lo:hi, 0] - start, matching[lo:hi, 1]
        match[lo:hi] = block[rows, right]
        block[rows, right] = np.nan
        pairs[start:stop] = block[:, columns]
        block[rows, right] = -np.inf
        # one random order of candidates, begun at a place of the query's own: parts are random
        order = shuffled[(first[start:stop, None] + np.arange(many)) % many]
        parts = np.maximum.reduceat(np.take_along_axis(block, order, 1), [0, *sizes[:-1]], axis=1)
        best[start:stop] = np.maximum.accumulate(parts, axis=1)
        if progress is not None:
            progress("scoring", stop, count)
    np.maximum.at(best_match, matching[:, 0], match)
    none = np.flatnonzero(np.isneginf(best[:, -1]))
    if len(none):
        raise OptionError(
            "query-without-non-match",
            f"query {int(none[0])} matches all {many} candidates, so it has no non-match; expected "
            "candidates that do not match as well: leave such queries out",
        )
    best[np.isneginf(best)] = np.nan
    by_size = dict(zip(sizes, best.T, strict=True))
    return Scores(pairs, best[:, -1], best_match, by_size, match, matching[:, 0])


def same_side(
    rows: np.ndarray,
    relevance: Relevance,
    score: str,
    *,
    items: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Scores (p,) of pairs of one side's own rows that share no match, up to 2,000 rows.

    Args:
        rows: (n, d), the queries of ``relevance`` (reverse it for candidates).
        items: (n,) lowest row of each row's item; rows of one item are no pair.
    """
    from scipy.sparse import csr_array

    order = stream("calibrate.same-side", seed).permutation(len(rows))
    chosen = np.sort(order[:MOST_SAME])
    kept = relevance.restricted(chosen, np.arange(relevance.candidates)).pairs
    shape = (len(chosen), relevance.candidates)
    matches = csr_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=shape)
    own = items_among(items, chosen)
    found = []
    for start, block in score_blocks(rows[chosen], rows[chosen], score):
        shared = (matches[start : start + len(block)] @ matches.T).toarray() > 0
        if own is not None:
            shared |= own[start : start + len(block), None] == own
        later = np.arange(len(chosen))[None, :] > np.arange(start, start + len(block))[:, None]
        found.append(block[later & ~shared])
    return np.concatenate(found)


TAIL = 1000
GRID = 1000
COLUMNS = ("values", "at_least", "above")


@dataclass(frozen=True, eq=False)
class Null:
    """N null scores as a table: all where they are few, else the largest and some spread over all.

    ``values`` (t,) rise, all different; ``at_least`` (t,): how many null scores are ≥ each,
    ``above``: how many are greater. Between stored values counts are the larger neighbour's, so
    p-values are exact in the tail and never too small.
    """

    count: int
    values: np.ndarray
    at_least: np.ndarray
    above: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, tail: int = TAIL, grid: int = GRID) -> Null:
        """Keep what p-values need of scores (N,): all up to ``tail`` and ``grid`` together."""
        rising = np.sort(scores)
        count = len(rising)
        spread = grid if count > tail + grid else count
        rest = np.linspace(0, count - 1, spread).round().astype(np.int64)
        kept = np.unique(np.concatenate([rest, np.arange(max(0, count - tail), count)]))
        values = np.unique(rising[kept])
        at_least = count - np.searchsorted(rising, values, "left")
        above = count - np.searchsorted(rising, values, "right")
        return cls(count, values, at_least, above)

    def p_value(self, scores: Any) -> np.ndarray:
        """(1 + null scores ≥ s) / (N + 1), of the shape of ``scores``; NaN for NaN."""
        asked = np.asarray(scores, np.float64)
        place = np.searchsorted(self.values, asked, "left")
        below = np.where(place > 0, self.above[np.maximum(place, 1) - 1], self.count)
        here = np.minimum(place, len(self.values) - 1)
        count = np.where(self.values[here] == asked, self.at_least[here], below)
        return np.where(np.isnan(asked), np.nan, (1 + count) / (self.count + 1))

    def threshold(self, rate: float) -> float | None:
        """Scores *above* it have a p-value of at most ``rate``; None: N + 1 < 1 / rate."""
        j = order(rate, self.count)
        return float(self.values[self.above < j][0]) if j else None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists."""
        return {"count": self.count} | {name: getattr(self, name).tolist() for name in COLUMNS}

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Null:
        """Back from plain lists; ValueError where they are no such table."""
        values, at_least, above = (Parts.of(table).array(name, None) for name in COLUMNS)
        if not len(values) or {len(at_least), len(above)} != {len(values)}:
            raise ValueError("a null distribution whose columns differ in length")
        if not (np.diff(values) > 0).all():
            raise ValueError("a null distribution whose values do not rise")
        total, falls = Parts.of(table).count("count", 1), [np.diff(c) for c in (at_least, above)]
        if {at_least.dtype.kind, above.dtype.kind} != {"i"} or any((c > 0).any() for c in falls):
            raise ValueError("a null distribution whose counts do not fall")
        if at_least[0] > total or above[-1] < 0 or (at_least <= above).any():
            raise ValueError("a null distribution whose counts do not fit")
        return cls(total, values.astype(np.float64), at_least, above)
