"""A search through a codec, stage by stage: exact, coded, indexed, rescored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import Facts, to_numpy
from isthmus.core.checks import in_range
from isthmus.errors import OptionError, ShapeError
from isthmus.perturb.codecs.base import Codec
from isthmus.search.scores import Ranking, top_k

Index = Callable[[Ranking, int], np.ndarray]
"""An approximate index: the coded ranking and a depth -> candidate rows (n, depth) int64, best
first, -1 where it found no more. None of these means exhaustive search over the codes."""

NOTHING = -1


def coded_ranking(
    queries: np.ndarray,
    candidates: np.ndarray,
    codec: Codec,
    *,
    score: str = "dot",
    bias: np.ndarray | None = None,
    query_codec: Codec | None = None,
    stored: int | None = None,
    coded: np.ndarray | None = None,
    facts: Facts | None = None,
) -> Ranking:
    """What a store ranks by when it keeps ``candidates`` coded.

    Args:
        queries: (n, d), candidates: (K, d), mapped by a closer where there is one.
        codec: of the candidates. Its ``offsets`` join the bias, its ``query_through`` the queries.
        score: ``dot``, ``euclidean`` or ``cosine`` of decoded rows. A store that normalises rows
            and then takes inner products is ``dot`` on unit rows.
        bias: (K,) candidate biases or None.
        query_codec: codes the queries too (symmetric); None compares float queries (asymmetric).
        stored: how many leading coordinates are coded; the rest stays in float. All by default.
        coded: the candidates (K, d) with those coordinates as the codec gives them back, where
            they are known already.
        facts: shared with other searches of the same rows.

    Raises:
        ShapeError: dimensions or lengths that do not fit. OptionError: unknown score.
    """
    dim = candidates.shape[1] if stored is None else stored
    head, facts = candidates[:, :dim], facts or Facts()
    if coded is None:
        coded = _joined(codec.through(head), candidates[:, dim:])
    offsets, rows, extra = getattr(codec, "offsets", None), coded, None
    if offsets is not None:
        find = lambda: offsets(head, score, rows[:, :dim])  # noqa: E731
        extra = facts.of(f"offsets, {score}", find, rows)
    if extra is not None:
        bias = extra if bias is None else bias + extra
    ask = getattr(codec, "query_through", None) if query_codec is None else query_codec.through
    asked = queries
    if ask is not None:
        given = queries[:, :dim]
        changed = ask(given)
        asked = queries if changed is given else _joined(changed, queries[:, dim:])
    asked, coded = (np.asarray(side, np.float64) for side in (asked, coded))
    return Ranking.of(asked, coded, score, bias, facts)


def _joined(head: np.ndarray, tail: np.ndarray) -> np.ndarray:
    return head if not tail.shape[1] else np.hstack([head, tail])


def rescore(shortlist: np.ndarray, exact: Ranking, k: int) -> np.ndarray:
    """The k best of each query's own shortlist by float rows: (n, k) int64, best first.

    ``shortlist`` (n, r) holds candidate rows, -1 for none; ties go to the lowest row. O(n r d).

    Raises:
        OptionError: k is below 1 or above r. ShapeError: not one line per query.
    """
    count, depth = shortlist.shape
    in_range(k, f"k of {depth} rescored candidates", "bad-k", least=1, most=depth)
    if count != int(exact.queries.shape[0]):
        raise ShapeError(
            "unequal-lengths", f"{count} shortlists for {int(exact.queries.shape[0])} queries"
        )
    ordered = np.sort(np.where(shortlist < 0, np.iinfo(np.int64).max, shortlist), axis=1)
    missing = ordered == np.iinfo(np.int64).max
    rows = np.where(missing, 0, ordered)
    queries, candidates = to_numpy(exact.queries), to_numpy(exact.candidates)
    scores = np.empty(rows.shape)
    for i, line in enumerate(rows):
        scores[i] = candidates[line] @ queries[i]
    if exact.scale is not None:
        scores *= to_numpy(exact.scale)[rows]
    if exact.offset is not None:
        scores += to_numpy(exact.offset)[rows]
    scores[missing] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(rows, best, axis=1)
    found[np.take_along_axis(missing, best, axis=1)] = NOTHING
    return found.astype(np.int64)


@dataclass(frozen=True, eq=False)
class StoreSearch:
    """Answers (n, k) int64 of each stage, best first, -1 for none.

    ``exact``: float rows. ``coded``: every code compared. ``indexed``: the codes an index looked
    at; the same array where there is none. ``rescored``: the top r of ``indexed`` by float rows;
    the same where r is 0.
    """

    exact: np.ndarray
    coded: np.ndarray
    indexed: np.ndarray
    rescored: np.ndarray

    def losses(self, outcome: Callable[[np.ndarray], np.ndarray] | None = None) -> Losses:
        """The loss of each stage, per query.

        ``outcome`` turns answers (n, k) into numbers (n,), for example whether the right one is
        first; by default the share of the exact answers found (recall against exact search).
        """
        ask = outcome or (lambda answers: recall_of(answers, self.exact))
        stages = (self.exact, self.coded, self.indexed, self.rescored)
        return Losses(*(np.asarray(ask(stage), np.float64) for stage in stages))


@dataclass(frozen=True, eq=False)
class Losses:
    """Outcomes (n,) of each stage, and their differences: codec + index - rescoring = total."""

    exact: np.ndarray
    coded: np.ndarray
    indexed: np.ndarray
    rescored: np.ndarray

    @property
    def codec(self) -> np.ndarray:
        """Lost by coding, (n,)."""
        return self.exact - self.coded

    @property
    def index(self) -> np.ndarray:
        """Lost by not looking at every code, (n,)."""
        return self.coded - self.indexed

    @property
    def rescoring(self) -> np.ndarray:
        """Won back by rescoring, (n,)."""
        return self.rescored - self.indexed

    @property
    def total(self) -> np.ndarray:
        """Lost in all, (n,)."""
        return self.exact - self.rescored


def recall_of(answers: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of each query's exact answers (n, k) that are among ``answers`` (n, k'): (n,)."""
    found: np.ndarray = (exact[:, :, None] == answers[:, None, :]).any(axis=2).mean(axis=1)
    return found


def search_through(
    queries: np.ndarray,
    candidates: np.ndarray,
    codec: Codec,
    *,
    score: str = "dot",
    bias: np.ndarray | None = None,
    query_codec: Codec | None = None,
    stored: int | None = None,
    exact: Ranking | None = None,
    k: int = 10,
    rescored: int = 0,
    index: Index | None = None,
) -> StoreSearch:
    """Search as :func:`coded_ranking` ranks, and what is lost and won at each stage.

    Args:
        exact: the float search that counts as right and rescores: that of the rows before a
            closer, if one wants to know what closing *and* coding cost. By default the float rows
            given, with ``score`` and ``bias``.
        k: answers kept. rescored: how many coded answers are compared again by float rows; 0 for
            none. index: see :data:`Index`.

    Raises:
        OptionError: k or ``rescored`` above the number of candidates, or ``rescored`` below k.
        ShapeError: dimensions that do not fit, or an index that gives another shape.
    """
    if rescored and rescored < k:
        raise OptionError(
            "bad-k", f"the top {rescored} are rescored but {k} are asked for; rescore more"
        )
    coding = coded_ranking(
        queries, candidates, codec, score=score, bias=bias, query_codec=query_codec, stored=stored
    )
    reference = exact if exact is not None else Ranking.of(queries, candidates, score, bias)
    depth = max(k, rescored)
    coded = top_k(coding, depth).rows
    indexed = coded if index is None else np.asarray(index(coding, depth), np.int64)
    if indexed.shape != coded.shape:
        raise ShapeError(
            "wrong-shape", f"the index gave answers {indexed.shape}; expected {coded.shape}"
        )
    final = rescore(indexed, reference, k) if rescored else indexed[:, :k]
    return StoreSearch(top_k(reference, k).rows, coded[:, :k], indexed[:, :k], final)
