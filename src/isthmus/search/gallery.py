"""One pass over a gallery too large to hold: the best rows of every query, random rows, ranks.

Rows arrive in blocks. Every query keeps its ``top`` best rows of each search; random rows of the
gallery stand for all others; and what is right gets its place among all rows. That is all that a
law of noise needs, and all that is kept in memory (``docs/gallery.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.threads import own_threads
from isthmus.core.topk import Pool
from isthmus.data import Rows
from isthmus.errors import OptionError, ValuesError
from isthmus.search.scores import Ranking, scored

TOP, RANDOM_ROWS = 100, 10_000
BLOCK_ROWS = 8192
TILE = 1024
"""Queries, and rows, whose scores are held at once."""
UNIT_ROWS = 256
THREADS = 16
PAIRS = 4096

Rank = Callable[[np.ndarray], Ranking]
"""Rows (b, d) -> the search of all queries among them, both sides in float32 after their maps."""


@dataclass(frozen=True, eq=False)
class Head:
    """What the pass leaves of one search.

    ``rows`` and ``scores`` (n, m), best first. ``right`` (n,): the score of the best right row;
    -inf where nothing is known to be right.
    """

    rows: np.ndarray
    scores: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, eq=False)
class Gallery:
    """A gallery after the pass.

    Attributes:
        rows: how many rows it has. count: how many of them are different.
        heads: of each search. above: (n,) how many rows score higher than the best right one by
            the first search; -1 where nothing is known to be right.
        random: (R, d) different random rows, normalised where asked. random_rows: (R,) which.
    """

    rows: int
    count: int
    heads: Sequence[Head]
    above: np.ndarray
    random: np.ndarray
    random_rows: np.ndarray


def search_gallery(
    source: Rows,
    searches: Sequence[Rank],
    *,
    normalised: bool,
    right: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
    top: int = TOP,
    random: int = RANDOM_ROWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Gallery:
    """Search all rows of a source by every search at once, block by block.

    Args:
        source: (K, d) rows, wherever they lie. searches: at least one; all of the same queries.
        normalised: rows are divided by their norms first.
        right: (r, 2) integers, query and row, in rising order of the query: what is right.
        repeats: (K,) bool: rows that repeat an earlier one; they are left out.
        top, random: how many best rows of a query are kept, and how many random rows.
        seed: of the random rows. progress: called with (what, done, all).

    Raises:
        OptionError: fewer different rows than ``top``.

    Cost: for each search one float32 product of all queries and rows, in threads of one BLAS thread
    each. Memory: a block of rows, 20 bytes a kept row of a query and about three times that while
    they are sorted, the random rows.
    """
    fresh = None if repeats is None or not repeats.any() else np.flatnonzero(~repeats)
    count = source.rows if fresh is None else len(fresh)
    if not 1 <= top <= count:
        raise OptionError("bad-k", f"top={top} of {count} different rows; expected 1 to {count}")
    rng = stream("gallery.random-rows", seed)
    chosen = np.sort(rng.choice(count, min(random, count), replace=False, shuffle=False))
    held = np.empty((len(chosen), source.dim), np.float32)
    n = len(searches[0](ready(source.take([0]), normalised)).queries)
    best = np.full((len(searches), n), -np.inf, np.float32)
    line = None
    if right is not None and len(right):
        widths = _right_scores(source, searches, right, normalised, best)
        line = np.where(np.isinf(best[0]), np.inf, best[0] + widths)
    parts = [slice(at, min(at + TILE, n)) for at in range(0, n, TILE)]
    states = [[_Tile(p, top, None if i else line) for p in parts] for i in range(len(searches))]
    say, start, at = progress or quiet, 0, 0
    with own_threads(THREADS) as pool:
        for raw in source.blocks(BLOCK_ROWS):
            rows = ready(raw, normalised)
            if fresh is not None:
                rows = rows[~repeats[start : start + len(raw)]]  # type: ignore[index]
            lo, hi = np.searchsorted(chosen, [at, at + len(rows)])
            held[lo:hi] = rows[chosen[lo:hi] - at]
            for search, state in zip(searches, states, strict=True):
                ranking = search(rows)
                list(pool.map(lambda tile, ranking=ranking, at=at: tile.look(ranking, at), state))
            start, at = start + len(raw), at + len(rows)
            say("gallery", start, source.rows)
        found = [list(pool.map(_Tile.best, state)) for state in states]
    heads = []
    for each, own in zip(found, best, strict=True):
        rows, scores = (np.concatenate(column) for column in zip(*each))
        heads.append(Head(rows, scores, own))
    above = np.full(n, -1, np.int64)
    if line is not None:
        above = np.where(np.isinf(line), -1, np.concatenate([tile.above for tile in states[0]]))
    if fresh is not None:
        chosen, heads = fresh[chosen], [replace(h, rows=fresh[h.rows]) for h in heads]
    return Gallery(source.rows, count, heads, above, held, chosen)


def ready(rows: np.ndarray, normalised: bool) -> np.ndarray:
    """Rows in float32 and memory of their own, divided by their norms where asked."""
    out = np.array(rows, np.float32)
    for at in range(0, len(out) if normalised else 0, UNIT_ROWS):
        part = out[at : at + UNIT_ROWS]
        part[...] = unit(part)
    return out


class _Tile:
    """What some queries have found so far."""

    def __init__(self, part: slice, top: int, line: np.ndarray | None) -> None:
        self.part, self.top = part, top
        self.line = None if line is None else line[part, None]
        self.above = np.zeros(part.stop - part.start, np.int64)
        self.pool: Pool | None = None

    def look(self, ranking: Ranking, first: int) -> None:
        """Take in a block of rows, the first of which is row ``first`` of those that differ."""
        queries = ranking.queries[self.part]
        if self.pool is None:
            self.pool = Pool(self.top, ranking.tie_widths[self.part, 0], np.dtype(np.float32))
        buffer = np.empty(len(queries) * TILE, np.float32)
        for at in range(0, len(ranking.candidates), TILE):
            some = slice(at, min(at + TILE, len(ranking.candidates)))
            size = some.stop - at
            scores = scored(ranking, queries, some, buffer[: len(queries) * size].reshape(-1, size))
            self.pool.add(scores, first + at)
            if self.line is not None:
                self.above += np.count_nonzero(scores > self.line, axis=1)

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores, best first.

        Raises:
            ValuesError: thousands of rows are tied at the last place that is kept.
        """
        assert self.pool is not None
        rows, scores, _ = self.pool.best()
        if self.pool.crowded.any():
            row = self.part.start + int(self.pool.crowded.argmax())
            raise ValuesError(
                "too-many-ties",
                f"thousands of candidates score alike for query {row}, so its best cannot be "
                "told; are the rows rounded to a few values?",
            )
        return rows, scores


def _right_scores(
    source: Rows, searches: Sequence[Rank], right: np.ndarray, normalised: bool, best: np.ndarray
) -> np.ndarray:
    """Put the score of each query's best right row by each search into ``best`` (searches, n);
    return the widths of ties (n,) by the first search."""
    widths = np.zeros(best.shape[1], np.float32)
    for at in range(0, len(right), PAIRS):
        query, row = right[at : at + PAIRS].T
        distinct, place = np.unique(row, return_inverse=True)
        rows = ready(source.take(distinct), normalised)
        for number, search in enumerate(searches):
            ranking = search(rows)
            own = ranking.scores_of(place.reshape(-1), query).astype(np.float32)
            np.maximum.at(best[number], query, own)
            if not number:
                np.maximum.at(widths, query, ranking.tie_widths[query, 0])
    return widths
