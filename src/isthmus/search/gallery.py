"""One pass over a gallery too large to hold: the best rows of every query, random rows, ranks.

Rows arrive in blocks. Every query keeps its ``top`` best rows of each search; random rows of the
gallery stand for all others; and what is right gets its place among all rows. That is all that a
law of noise needs, and all that is kept in memory (``docs/gallery.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.threads import own_threads
from isthmus.data import Rows
from isthmus.data.parts import Engine, cut, over_parts
from isthmus.data.summary import opened
from isthmus.errors import OptionError
from isthmus.search.running import RunningTopK, Searched
from isthmus.search.scores import Ranking, TopK, check_score

TOP, RANDOM_ROWS = 100, 10_000
BLOCK_ROWS = 8192
PART_BLOCKS = 32
"""Blocks that an engine's worker searches before it answers."""
UNIT_ROWS = 256
THREADS = 16
PAIRS = 4096

Rank = Callable[[np.ndarray], Ranking]
"""Rows (b, d) -> the search of all queries among them, both sides in float32 after their maps."""
Number = Callable[[np.ndarray], np.ndarray]
"""Rows (b, d) -> a number of each, (b,)."""


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
        numbers: (K,) float32 each, of all rows, what was asked of them.
    """

    rows: int
    count: int
    heads: Sequence[Head]
    above: np.ndarray
    random: np.ndarray
    random_rows: np.ndarray
    numbers: Sequence[np.ndarray] = ()


def search_gallery(
    source: Rows,
    searches: Sequence[Rank],
    *,
    normalised: bool,
    right: np.ndarray | None = None,
    repeats: np.ndarray | None = None,
    numbers: Sequence[Number] = (),
    top: int = TOP,
    random: int = RANDOM_ROWS,
    seed: int = 0,
    engine: Engine = None,
    progress: Progress | None = None,
) -> Gallery:
    """Search all rows of a source by every search at once, block by block.

    Args:
        source: (K, d) rows, wherever they lie. searches: at least one; all of the same queries.
        normalised: rows are divided by their norms first.
        right: (r, 2) integers, query and row, in rising order of the query: what is right.
        repeats: (K,) bool: rows that repeat an earlier one; they are left out.
        numbers: what is to be known of every row besides, such as its candidate bias.
        top, random: how many best rows of a query are kept, and how many random rows.
        seed: of the random rows. progress: called with (what, done, all).
        engine: searches parts of the rows (:func:`isthmus.engines.open_engine`), with the same
            answers; ``searches`` and ``numbers`` can then be pickled. None: this process' threads.

    Raises:
        OptionError: fewer different rows than ``top``.

    Cost: for each search one float32 product of all queries and rows, in threads of one BLAS thread
    each. Memory: a block of rows, 20 bytes a kept row of a query and about three times that while
    they are sorted, the random rows, 4 bytes a row for each of the ``numbers``.
    """
    fresh = None if repeats is None or not repeats.any() else np.flatnonzero(~repeats)
    count = source.rows if fresh is None else len(fresh)
    if not 1 <= top <= count:
        raise OptionError("bad-k", f"top={top} of {count} different rows; expected 1 to {count}")
    rng = stream("gallery.random-rows", seed)
    chosen = np.sort(rng.choice(count, min(random, count), replace=False, shuffle=False))
    start = ready(next(source.blocks(BLOCK_ROWS)), normalised)
    widths = [search(start).tie_widths[:, 0] for search in searches]
    best = np.full((len(searches), len(widths[0])), -np.inf, np.float32)
    line = None
    if right is not None and len(right):
        reach = _right_scores(source, searches, right, normalised, best)
        line = np.where(np.isinf(best[0]), np.inf, best[0] + reach)
    work = _Pass(source, searches, normalised, top, widths, line, chosen, numbers)
    found, held, counted = _passed(
        work, None if fresh is None else repeats, engine, progress or quiet
    )
    with own_threads(THREADS) as threads:
        heads = [
            Head(answers.rows, answers.scores, own)
            for answers, own in zip([search.best(threads) for search in found], best, strict=True)
        ]
    above = np.full(len(widths[0]), -1, np.int64)
    if line is not None:
        above = np.where(np.isinf(line), -1, found[0].above)
    if fresh is not None:
        chosen, heads = fresh[chosen], [replace(h, rows=fresh[h.rows]) for h in heads]
    return Gallery(source.rows, count, heads, above, held, chosen, tuple(counted))


def search_rows(
    queries: Any,
    rows: Any,
    k: int,
    *,
    score: str = "cosine",
    closer: Any = None,
    engine: Engine = None,
    progress: Progress | None = None,
) -> TopK:
    """The k best of rows that need not fit memory: exact, in float32, block by block.

    Args:
        queries: (n, d) array or tensor, path, glob or ``Rows``; held in memory. rows: likewise.
        score: dot, cosine or euclidean. closer: both sides go through it first, and it says the
            score; None: none. engine: searches parts of the rows, with the same answers
            (:func:`isthmus.engines.open_engine`); None: threads of this process.

    Raises:
        OptionError: k is below 1 or above the number of rows. ValuesError: thousands of rows are
            tied at the last place. Anything that readers and the closer refuse.

    >>> rows = np.random.default_rng(0).normal(size=(50, 8))
    >>> search_rows(rows[:2], rows, 3).rows[:, 0]
    array([0, 1])
    """
    asked, source = opened(queries, "queries"), opened(rows, "rows")
    if not 1 <= k <= source.rows:
        raise OptionError("bad-k", f"k={k} of {source.rows} rows; expected 1 to {source.rows}")
    search = Searched(ready(asked.read(), False), check_score(score), closer)
    widths = search(ready(next(source.blocks(BLOCK_ROWS)), False)).tie_widths[:, 0]
    work = _Pass(source, [search], False, k, [widths], None, np.empty(0, np.int64))
    return _passed(work, None, engine, progress or quiet)[0][0].best()


Passed = tuple[list[RunningTopK], np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows [start, stop) of a gallery, of which the first is number ``at`` of those that differ.

    ``repeats``: (stop - start,) bool, or None.
    """

    start: int
    stop: int
    at: int
    repeats: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Pass:
    """What is done with each part, wherever that is."""

    source: Rows
    searches: Sequence[Rank]
    normalised: bool
    top: int
    widths: Sequence[np.ndarray]
    line: np.ndarray | None
    chosen: np.ndarray
    numbers: Sequence[Number] = ()

    def __call__(self, part: _Part, say: Progress = quiet) -> Passed:
        """What every search found, the random rows among them, and the numbers (m, rows)."""
        lines = [self.line, *([None] * (len(self.searches) - 1))]
        found = [
            RunningTopK(self.top, widths=width, line=own) for width, own in zip(self.widths, lines)
        ]
        held, start, at = [np.empty((0, self.source.dim), np.float32)], part.start, part.at
        counted = [np.empty((len(self.numbers), 0), np.float32)]
        with own_threads(THREADS) as threads:
            for raw in self.source.blocks(BLOCK_ROWS, part.start, part.stop):
                rows = ready(raw, self.normalised)
                if self.numbers:
                    counted.append(np.array([of(rows) for of in self.numbers], np.float32))
                if part.repeats is not None:
                    rows = rows[~part.repeats[start - part.start :][: len(raw)]]
                lo, hi = np.searchsorted(self.chosen, [at, at + len(rows)])
                held.append(rows[self.chosen[lo:hi] - at])
                for search, running in zip(self.searches, found, strict=True):
                    running.add(search(rows), at, threads)
                start, at = start + len(raw), at + len(rows)
                say("gallery", start, self.source.rows)
        return found, np.concatenate(held), np.concatenate(counted, axis=1)


def _passed(work: _Pass, repeats: np.ndarray | None, engine: Engine, say: Progress) -> Passed:
    """All parts, merged in order: one of them here, or several by an engine."""
    rows = work.source.rows
    if engine is None:
        return work(_Part(0, rows, 0, repeats), say)
    before = np.arange(rows + 1) if repeats is None else np.append(0, np.cumsum(~repeats))
    parts = []
    for start, stop in cut(rows, PART_BLOCKS * BLOCK_ROWS):
        own = None if repeats is None else repeats[start:stop]
        parts.append(_Part(start, stop, int(before[start]), own))
    whole = [RunningTopK(work.top) for _ in work.searches]
    held, counted = [], []
    for part, (found, some, numbers) in zip(parts, over_parts(work, parts, engine), strict=True):
        for mine, theirs in zip(whole, found, strict=True):
            mine.merge(theirs)
        held.append(some)
        counted.append(numbers)
        say("gallery", part.stop, rows)
    return whole, np.concatenate(held), np.concatenate(counted, axis=1)


def ready(rows: np.ndarray, normalised: bool) -> np.ndarray:
    """Rows in float32 and memory of their own, divided by their norms where asked."""
    out = np.array(rows, np.float32)
    for at in range(0, len(out) if normalised else 0, UNIT_ROWS):
        part = out[at : at + UNIT_ROWS]
        part[...] = unit(part)
    return out


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
