"""From a pool of texts to a pool of images, and what closing costs where there is no mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.seeds import stream
from isthmus.core.statistics import paired_difference
from isthmus.data.row_checks import decide_paired
from isthmus.errors import OptionError, ShapeError
from isthmus.robustness.mixed.maps import Closing, Closings, check_closings, pool_ranking
from isthmus.robustness.mixed.outcomes import PoolOutcome, search_pool
from isthmus.search.relevance import relevance_by_judgements
from isthmus.search.scores import Ranking, top1

RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of documents stored as side a."""


def mixed_curve(
    a: np.ndarray,
    b: np.ndarray,
    closings: Closings,
    *,
    queries: np.ndarray | None = None,
    query_side: str = "b",
    ratios: Sequence[float] = RATIOS,
    k: int = 10,
    draws: int = 1,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Search of a corpus whose documents are stored in one of two forms, as the mixture changes.

    Document i is stored once, as row i of ``a`` or as row i of ``b``. The share ``ratio`` of the
    documents (rounded) is stored as ``a``: the first of one seeded order, so that a larger ratio
    keeps what a smaller one stored so. Every query has one relevant document, its own. This is the
    setting of GR-CLIP's curve (Li et al. 2025, arXiv 2507.19054), where search is worst in the
    middle.

    Who asks. With ``queries``, a third row of each document (another caption, a question) asks, and
    its answer may be stored in its own modality or in the other. Without, document i is asked for
    by the form that is *not* stored, since the stored form would find itself. Then every answer is
    of the other modality, both ends are plain cross-modal search (ratio 0: ``a`` asks, ratio 1:
    ``b`` asks), and between them the documents of the query's own modality are pure distraction.

    Args:
        a, b: (n, d) rows of the two forms, row i of document i; not the rows the closings were
            fitted on. closings: by name, one closer per side that asks (:func:`pool_closers`).
        queries: (n, d) or None. query_side: their modality, ``a`` or ``b``.
        k: depth. draws: orders to average over. seed: of the orders.

    Returns:
        One dict per closing, ratio and ``relevant`` (``a``, ``b``: answers stored as that side;
        ``all``), with ``count`` of queries over all draws, and means over them: ``ndcg`` and
        ``recall`` (both at ``k``), ``recall@1``, ``place`` (of the answer, 0 is first),
        ``displaced`` (see :class:`PoolOutcome`), ``share_a`` (of side a among the k best) and
        ``expected`` (share of a in the pool). Of a third row: ``cost_of_other``, mean places that
        a document loses in the same pool by being stored in the other modality than the query's
        and not in its own; else None. A mean over nothing is None.

    Cost: O(closings · ratios · draws · n² d). The pool, two mapped copies of it and one block of
    scores are held at once.

    Raises:
        NotPaired, ShapeError: sides that do not fit. OptionError: an unknown side, a ratio outside
        0 to 1, no draw, a closing without a side that asks, or k above n.
    """
    _check(a, b, queries, query_side, ratios, draws)
    check_closings(closings, ("a", "b") if queries is None else (query_side,))
    orders = [stream("mixed.draws", seed, draw).permutation(len(a)) for draw in range(draws)]
    rows = []
    for name, closers in closings.items():
        for ratio in ratios:
            parts: list[_Part] = []
            for order in orders:
                as_a = np.zeros(len(a), bool)
                as_a[order[: round(ratio * len(a))]] = True
                parts += _asked(a, b, as_a, closers, queries, query_side, k)
            who = "other form" if queries is None else query_side
            about = {"closing": name, "queries": who, "ratio": float(ratio), "k": k}
            rows += [about | _row(parts, relevant) for relevant in ("all", "a", "b")]
    return rows


def _check(
    a: np.ndarray,
    b: np.ndarray,
    queries: np.ndarray | None,
    query_side: str,
    ratios: Sequence[float],
    draws: int,
) -> None:
    decide_paired("a", len(a), "b", len(b), True)
    if query_side not in ("a", "b"):
        raise OptionError("unknown-side", f"query_side '{query_side}' is unknown; say 'a' or 'b'")
    if draws < 1:
        raise OptionError("number-too-small", f"{draws} draws; expected 1 or more")
    wrong = [ratio for ratio in ratios if not 0 <= ratio <= 1]
    if wrong:
        raise OptionError(
            "not-a-share", f"ratio {wrong[0]} is not a share; expected 0 (all b) to 1 (all a)"
        )
    if queries is not None and queries.shape != a.shape:
        raise ShapeError(
            "unequal-shapes",
            f"queries have shape {queries.shape}; expected one per document, {a.shape}",
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """Queries of one modality in one pool: their outcome, the share of a in the pool, and (n,) the
    places that their document loses by being stored in the other modality."""

    outcome: PoolOutcome
    share_a: float
    cost: np.ndarray | None = None


def _asked(
    a: np.ndarray,
    b: np.ndarray,
    as_a: np.ndarray,
    closers: Mapping[str, Closing],
    queries: np.ndarray | None,
    query_side: str,
    k: int,
) -> list[_Part]:
    """One part per modality that asks: a third row of every document, or the form not stored."""
    pool = np.where(as_a[:, None], a, b)
    who = [("a", a, np.flatnonzero(~as_a)), ("b", b, np.flatnonzero(as_a))]
    if queries is not None:
        who = [(query_side, queries, np.arange(len(pool)))]
    parts = []
    for side, rows, asked in who:
        if not len(asked):
            continue
        own = as_a if side == "a" else ~as_a
        ranking = pool_ranking(closers[side], rows[asked], pool, own)
        pairs = np.column_stack([np.arange(len(asked)), asked])
        right = relevance_by_judgements(pairs, len(asked), len(pool))
        outcome, cost = search_pool(ranking, right, as_a, k=k), None
        if queries is not None:
            swapped = pool_ranking(closers[side], queries, np.where(as_a[:, None], b, a), ~own)
            moved = _places_if_swapped(ranking, swapped)
            cost = np.where(own, moved - outcome.place, outcome.place - moved)
        parts.append(_Part(outcome, float(as_a.mean()), cost))
    return parts


def _places_if_swapped(ranking: Ranking, swapped: Ranking) -> np.ndarray:
    """Place of document i for query i if it alone were stored in its other form, (n,)."""
    widths = ranking.tie_widths[:, 0]
    own = swapped.scores_of(np.arange(len(swapped.queries)))
    places = np.empty(len(own), np.int64)
    for start, block in ranking.score_blocks():
        for i, line in enumerate(block, start):
            above = line > own[i] + widths[i]
            above[:i] |= np.abs(line[:i] - own[i]) <= widths[i]
            above[i] = False
            places[i] = above.sum()
    return places


def _row(parts: Sequence[_Part], relevant: str) -> dict[str, Any]:
    """Means over the queries whose answer is stored as ``relevant``."""

    def kept(outcome: PoolOutcome) -> np.ndarray:
        everyone = np.ones(len(outcome.place), bool)
        return {"all": everyone, "a": outcome.relevant_a, "b": ~outcome.relevant_a}[relevant]

    def mean(name: str) -> float | None:
        return _mean([getattr(part.outcome, name)[kept(part.outcome)] for part in parts])

    counts = [int(kept(part.outcome).sum()) for part in parts]
    costs = [part.cost[kept(part.outcome)] for part in parts if part.cost is not None]
    return {
        "relevant": relevant,
        "count": sum(counts),
        "ndcg": mean("ndcg"),
        "recall@1": mean("first"),
        "recall": mean("recall"),
        "place": mean("place"),
        "displaced": mean("displaced"),
        "share_a": mean("share_a"),
        "expected": _mean([np.full(n, part.share_a) for n, part in zip(counts, parts)]),
        "cost_of_other": _mean(costs),
    }


def _mean(values: Sequence[np.ndarray]) -> float | None:
    """Mean over all, the undefined left out; None over nothing."""
    every = np.concatenate(list(values)) if values else np.empty(0)
    every = every[~np.isnan(every)]
    return float(every.mean()) if len(every) else None


def cross_cost(
    a: np.ndarray, b: np.ndarray, closings: Closings, *, seed: int = 0
) -> list[dict[str, Any]]:
    """What each closing does to plain search of the other modality: R@1 of pairs, no mixture.

    Args:
        a, b: (n, d) paired rows. closings: as for :func:`mixed_curve`, one of them ``none``.

    Returns:
        One dict per closing and side that asks: ``recall@1``, ``plain`` (that of ``none``),
        ``difference`` with its 95 % paired bootstrap interval ``low``, ``high``, and
        ``clean_agreement``: share of queries whose first answer is that of ``none``.

    Raises:
        NotPaired: another number of rows. OptionError: no ``none`` among the closings.
    """
    decide_paired("a", len(a), "b", len(b), True)
    check_closings(closings, ("a", "b"))
    if "none" not in closings:
        raise OptionError(
            "no-plain-closing", "no closing is called 'none'; cross_cost compares with it: give one"
        )
    right = np.arange(len(a))
    none_of = np.zeros(len(a), bool)
    rows = []
    for side, asked, stored in (("a", a, b), ("b", b, a)):
        plain = top1(pool_ranking(closings["none"][side], asked, stored, none_of))
        for name, closers in closings.items():
            found = top1(pool_ranking(closers[side], asked, stored, none_of))
            gain = paired_difference((plain == right)[None], (found == right)[None], seed=seed)
            rows.append(
                {
                    "closing": name,
                    "queries": side,
                    "recall@1": float((found == right).mean()),
                    "plain": float((plain == right).mean()),
                    "difference": gain.mean,
                    "low": gain.low,
                    "high": gain.high,
                    "clean_agreement": float((found == plain).mean()),
                }
            )
    return rows
