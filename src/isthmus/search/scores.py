"""Dot, cosine, euclidean; the best candidates of each query, with a defined order of ties.

Every score is ranked in one linear form, which is what search engines do too:

    ranking(q, x_j) = ⟨q, x_j⟩ · scale_j + offset_j

dot: scale 1, offset 0. cosine: scale 1/‖x_j‖. euclidean: scale 1, offset -½‖x_j‖², which is
-½‖q - x_j‖² plus a constant of the query. A candidate bias adds to the offset. Constants of the
query never matter for its ranking and are left out.

Ties. Two candidates whose rankings differ by no more than rounding (``TIE_ULPS`` units of the
working dtype at the size of the terms) are tied, and the lower row comes first, so that exact
duplicates have one defined order whatever a matrix product rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from isthmus.core.arrays import (
    Array,
    Facts,
    is_numpy,
    like,
    namespace,
    row_norms,
    to_numpy,
    working,
)
from isthmus.core.checks import one_of
from isthmus.core.threads import Spare, over_blocks
from isthmus.core.topk import Part, Pool, lines_top_k
from isthmus.errors import OptionError, ShapeError
from isthmus.search.settled import TIE_ULPS, Settled

SCORES = ("dot", "cosine", "euclidean")
UNIT_TOLERANCE = 1e-6
BLOCK_ELEMENTS = 2**21  # scores held at once: 16 MB of float64
TILE = (1024, 1024)  # queries × candidates scored at once by ``top_k``


def check_score(score: str) -> str:
    """Return the score's name or refuse it."""
    return one_of(score, SCORES, "score")


def linear_terms(score: str, lengths: Callable[[], Array]) -> tuple[Array | None, Array | None]:
    """Scale and offset per candidate, each (K,) or None where they are 1 and 0, from what finds the
    candidates' norms."""
    if check_score(score) == "dot":
        return None, None
    norms = lengths()
    if score == "cosine":
        xp = namespace(norms)
        return 1.0 / xp.where(norms > 0, norms, xp.ones_like(norms)), None
    return None, -0.5 * norms * norms


def norms_of(rows: Array, facts: Facts) -> Array:
    """Norms of rows (n, d), (n,), found once for all who share ``facts``."""
    return facts.of("norms", lambda: row_norms(rows), rows)


def total_variance_of(rows: np.ndarray, dims: int, facts: Facts) -> float:
    """Sum of the variances of the first ``dims`` columns of rows (n, d), found once for all who
    share ``facts``."""
    return facts.of(f"variance of {dims}", lambda: float(rows[:, :dims].var(axis=0).sum()), rows)


def single(rows: np.ndarray, facts: Facts) -> np.ndarray:
    """Rows (n, d) in float32, cut once for all who share ``facts``."""
    if rows.dtype == np.float32:
        return rows
    return facts.of("single", lambda: rows.astype(np.float32), rows)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Queries (n, d), candidates (K, d) and the linear terms of one score, ready to search.

    Attributes:
        score: the score that ``scale`` and ``offset`` belong to.
        scale, offset: (K,) each, or None for 1 and 0. ``offset`` includes ``bias``.
        bias: (K,) candidate biases, or None where all are 0.
        facts: norms of rows that are known already.
    """

    queries: Array
    candidates: Array
    score: str
    scale: Array | None = None
    offset: Array | None = None
    bias: Array | None = None
    facts: Facts = field(default_factory=Facts, repr=False)

    @classmethod
    def of(
        cls,
        queries: Array,
        candidates: Array,
        score: str,
        bias: np.ndarray | None = None,
        facts: Facts | None = None,
    ) -> Ranking:
        """Prepare a search.

        Args:
            queries: (n, d). candidates: (K, d). Half precision is searched in float32, sides of
                two dtypes in float64. bias: (K,) candidate biases or None.
            facts: shared with other searches of the same rows.

        Raises:
            OptionError: unknown score. ShapeError: dimensions or the bias' length do not fit.
        """
        if int(queries.shape[1]) != int(candidates.shape[1]):
            raise ShapeError(
                "dimensions-differ",
                f"queries have {int(queries.shape[1])} dimensions, candidates "
                f"{int(candidates.shape[1])}; both must come from one model",
            )
        queries, candidates = working(queries), working(candidates)
        if queries.dtype != candidates.dtype:
            queries, candidates = working(queries, double=True), working(candidates, double=True)
        known = facts or Facts()
        terms = linear_terms(score, lambda: norms_of(candidates, known))
        plain = cls(queries, candidates, score, *terms, facts=known)
        return plain if bias is None else plain.with_bias(bias)

    def with_bias(self, bias: Array) -> Ranking:
        """The same search with (K,) candidate biases added to those it has. Rows are shared.

        Raises:
            ShapeError: not one bias per candidate.
        """
        count = int(self.candidates.shape[0])
        if len(bias) != count:
            raise ShapeError(
                "bias-length", f"{len(bias)} biases for {count} candidates; expected one for each"
            )
        extra = like(self.candidates, to_numpy(bias))
        if not bool(namespace(extra).any(extra != 0)):
            return self
        offset, bias = (extra if t is None else t + extra for t in (self.offset, self.bias))
        return replace(self, offset=offset, bias=bias)

    def under(self, score: str) -> Ranking:
        """The same search stated under another score, where both rank alike: unit candidates.

        Among candidates of norm 1, dot, cosine and euclidean differ by constants of the query.

        Raises:
            OptionError: a candidate's norm is not 1, so that the scores rank differently.
        """
        if check_score(score) == self.score:
            return self
        norms = to_numpy(self.lengths)
        off = np.abs(norms - 1)
        if not (off <= UNIT_TOLERANCE).all():
            worst = int(np.argmax(off))
            raise OptionError(
                "scores-differ",
                f"{self.score} and {score} rank alike only among unit rows, but candidate {worst} "
                f"has norm {norms[worst]:.6g}; normalise the candidates or keep {self.score}",
            )
        return Ranking.of(self.queries, self.candidates, score, self.bias, self.facts)

    def on_host(self) -> Ranking:
        """The same search with all parts as NumPy arrays."""
        scale, offset, bias = (
            None if t is None else to_numpy(t) for t in (self.scale, self.offset, self.bias)
        )
        sides = to_numpy(self.queries), to_numpy(self.candidates)
        return Ranking(*sides, self.score, scale, offset, bias)

    @property
    def lengths(self) -> Array:
        """Norms of the candidates, (K,)."""
        return norms_of(self.candidates, self.facts)

    @property
    def tie_widths(self) -> Array:
        """Rankings closer than this are tied, (n, 1): rounding in the dtype of the rows."""
        return self.rounding(float(namespace(self.queries).finfo(self.queries.dtype).eps))

    def rounding(self, eps: float) -> Array:
        """``TIE_ULPS`` roundings of size ``eps`` at the size of a query's terms: (n, 1)."""
        xp = namespace(self.queries)
        c = self.lengths
        most = xp.max(c if self.scale is None else c * self.scale)
        size = norms_of(self.queries, self.facts) * most
        if self.offset is not None:
            size = size + xp.max(xp.abs(self.offset))
        return TIE_ULPS * eps * size[:, None]

    def single(self) -> Ranking:
        """The same search with rows and terms in float32; rows are cut once for all that ask."""
        scale, offset, bias = (
            None if term is None else term.astype(np.float32, copy=False)
            for term in (self.scale, self.offset, self.bias)
        )
        queries, candidates = (single(rows, self.facts) for rows in (self.queries, self.candidates))
        return Ranking(queries, candidates, self.score, scale, offset, bias, self.facts)

    def block_rows(self) -> int:
        """Queries whose scores are held at once."""
        return max(1, BLOCK_ELEMENTS // max(int(self.candidates.shape[0]), 1))

    def scores_of(self, answers: np.ndarray, queries: np.ndarray | None = None) -> np.ndarray:
        """Ranking of one candidate per query, ``answers`` (n,), or of pairs with query rows
        ``queries`` (n,): (n,). NumPy rows."""
        asked = self.queries if queries is None else self.queries[queries]
        scores = np.einsum("nd,nd->n", asked, self.candidates[answers])
        if self.scale is not None:
            scores = scores * self.scale[answers]
        return scores if self.offset is None else scores + self.offset[answers]

    def score_blocks(self, size: int | None = None) -> Iterator[tuple[int, Array]]:
        """(first query row, scores (b, K)) for consecutive queries."""
        xp = namespace(self.queries)
        step = size or self.block_rows()
        across = xp.matrix_transpose(self.candidates)
        count = int(self.queries.shape[0])
        for start in range(0, count, step):
            scores = xp.matmul(self.queries[start : min(start + step, count), :], across)
            if self.scale is not None:
                scores *= self.scale[None, :]
            if self.offset is not None:
                scores += self.offset[None, :]
            yield start, scores


def first_best(scores: Array, tie_widths: Array) -> Array:
    """Row of the best candidate per query, (b,); among tied ones (widths (b, 1)) the lowest."""
    xp = namespace(scores)
    best = xp.max(scores, axis=1, keepdims=True)
    tied = scores >= best - tie_widths
    if is_numpy(scores):
        return tied.argmax(axis=1)
    rows = xp.arange(int(scores.shape[1]))
    last = xp.asarray(int(scores.shape[1]), dtype=rows.dtype)
    return xp.min(xp.where(tied, rows[None, :], last), axis=1)


def top1(ranking: Ranking) -> np.ndarray:
    """Best candidate of each query, (n,) int64.

    NumPy float64 rows are searched in float32, and what is near the best is settled in float64
    (:mod:`isthmus.search.settled`): the same answers in half the time.
    """
    if is_numpy(ranking.queries) and ranking.queries.dtype == np.float64:
        settled = Settled.of(ranking)
        if settled.fits:
            return _settled(ranking.single(), settled)
    widths = ranking.tie_widths
    return np.concatenate(
        [
            to_numpy(first_best(s, widths[start : start + int(s.shape[0]), :])).astype(np.int64)
            for start, s in ranking.score_blocks()
        ]
    )


def _settled(single: Ranking, settled: Settled) -> np.ndarray:
    """The answers (n,) of a search whose rows are ``single`` in float32."""
    found, spare = np.empty(len(single.queries), np.int64), Spare()
    every = slice(0, len(single.candidates))

    def work(part: slice) -> None:
        out = spare.of(part.stop - part.start, every.stop)
        scores = scored(single, single.queries[part], every, out)
        found[part] = settled.best(scores, part)

    over_blocks(work, len(found), single.block_rows())
    return found


@dataclass(frozen=True, eq=False)
class TopK:
    """The k best candidates of each query, best first, and how many of its answers were ties.

    ``rows`` (n, k) int64; ``scores`` (n, k) rankings (constants of the query left out);
    ``ties`` (n,) int64: other candidates tied with the best one.
    """

    rows: np.ndarray
    scores: np.ndarray
    ties: np.ndarray


def top_k(ranking: Ranking, k: int) -> TopK:
    """Exact search in O(n K d), tile by tile: the rows are neither copied nor scored all at once.

    NumPy rows are scored in tiles of about ``TILE``; of each tile only scores that reach the k-th
    best so far of their query, or are tied with it, are looked at again. Memory besides the rows: a
    tile of scores and a few k numbers a query. Tensors are scored in blocks of whole queries.

    Raises:
        OptionError: k is below 1 or above the number of candidates.
    """
    count = int(ranking.candidates.shape[0])
    if not 1 <= k <= count:
        raise OptionError("bad-k", f"k={k} of {count} candidates; expected 1 to {count}")
    if is_numpy(ranking.queries) and is_numpy(ranking.candidates):
        return _by_tiles(ranking, k, TILE)
    widths = to_numpy(ranking.tie_widths)
    parts = [
        lines_top_k(to_numpy(s), k, widths[start : start + int(s.shape[0])])
        for start, s in ranking.score_blocks()
    ]
    return joined(parts)


def joined(parts: list[Part]) -> TopK:
    """Answers of consecutive queries as one."""
    rows, scores, ties = (np.concatenate(column) for column in zip(*parts, strict=True))
    return TopK(rows, scores, ties)


def _by_tiles(ranking: Ranking, k: int, tile: tuple[int, int]) -> TopK:
    queries, candidates = ranking.queries, ranking.candidates
    count, widths = len(candidates), ranking.tie_widths[:, 0]
    width = min(max(tile[1], 4 * k), count)
    height = max(1, min(tile[0], tile[0] * tile[1] // width))
    buffer = np.empty(min(height, len(queries)) * width, queries.dtype)
    parts = []
    for start in range(0, len(queries), height):
        q = queries[start : start + height]
        pool = Pool(k, widths[start : start + height], queries.dtype)
        for first in range(0, count, width):
            some = slice(first, min(first + width, count))
            size = some.stop - first
            scores = buffer[: len(q) * size].reshape(len(q), size)
            pool.add(scored(ranking, q, some, scores), first)
        rows, scores, ties = pool.best()
        for i in np.flatnonzero(pool.crowded):
            line = scored(ranking, q[i : i + 1], slice(0, count), None)
            rows[i], scores[i], ties[i] = (
                x[0] for x in lines_top_k(line, k, pool.widths[i : i + 1, None])
            )
        parts.append((rows, scores, ties))
    return joined(parts)


def scored(ranking: Ranking, q: np.ndarray, some: slice, out: np.ndarray | None) -> np.ndarray:
    """Rankings (b, c) of queries ``q`` (b, d) and ``some`` candidates; NumPy rows."""
    scores = np.matmul(q, ranking.candidates[some].T, out=out)
    if ranking.scale is not None:
        scores *= ranking.scale[some]
    if ranking.offset is not None:
        scores += ranking.offset[some]
    return scores
