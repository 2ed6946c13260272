"""``mixed``: which modality outranks the other in one pool, and what levelling the pool gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress, quiet
from isthmus.core.statistics import Share, paired_difference, wilson
from isthmus.robustness.mixed.levelling import PoolCloser, closing_name
from isthmus.robustness.mixed.outcomes import search_pool
from isthmus.robustness.mixed.pools import Given, Part, Pool, Pools, pools_of
from isthmus.robustness.mixed.verdict import Mixed
from isthmus.search.scores import Ranking, top1

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Tried on the queries that are not scored."""
DRAWS = 20
MAX_QUERIES = 2000
FIGURES = {"ndcg": "ndcg", "recall": "recall", "recall@1": "first", "share_a": "share_a"}
"""Column -> attribute of an outcome; these have intervals."""

Search = Callable[[Pool], Ranking]


def mixed(
    queries: Any,
    a: Any,
    b: Any,
    *,
    relevance_a: Any = None,
    relevance_b: Any = None,
    score: str = "cosine",
    names: tuple[str, str] = ("image", "text"),
    k: int = 10,
    share: float = 0.5,
    draws: int = DRAWS,
    fit_share: float = 0.5,
    max_queries: int = MAX_QUERIES,
    query_items: Any = None,
    candidate_items_a: Any = None,
    candidate_items_b: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Mixed:
    """Search one pool of two modalities as it is, levelled, standardised, and centred.

    Args:
        queries: (n, d) rows in any form; None: row i of the side that is not stored asks.
        a, b: (K_a, d), (K_b, d): documents of the two modalities.
        relevance_a, relevance_b: (r, 2) integers (query row, document row of that side), or files.
            Where one is given, all documents of both sides are one pool. Without, row i of a and
            of b are two forms of document i, query i asks for it, and one form is stored.
        score: ``cosine`` (rows are normalised) or ``dot``.
        names: of the modalities. k: depth of nDCG, recall and shares.
        share: of the documents that are stored as ``a``. draws: mixtures averaged over. A
            relevance needs neither.
        fit_share: part of the queries that the strength is chosen on; the others are scored.
        max_queries: most queries used, a seeded sample.
        query_items, candidate_items_a, candidate_items_b: names of items, arrays or files of them:
            rows with one name are one item, also across a and b. An item counts once, at its best
            document; of pairs that share an item the first is kept. Rows that repeat an earlier
            row exactly are one by themselves.

    Returns:
        A :class:`Mixed`: figures with 95 % intervals (bootstrap over queries and draws), and the
        closer chosen among those that keep every ranking within a modality.

    Raises:
        OptionError: an option out of range. ShapeError: too few queries. NotPaired: unequal
        lengths and no relevance. Any IsthmusError of the rows.

    Cost: O(closings · draws · n K d). Twice a pool's K d numbers are held as float64.
    Source: Li et al. 2025 (arXiv 2507.19054) for the setting and for centring.

    >>> import numpy as np, isthmus as im
    >>> what = np.random.default_rng(0).normal(size=(80, 16))
    >>> images, texts = what / 2 + 2 * np.eye(16)[0], what - 2 * np.eye(16)[0]
    >>> found = im.mixed(None, images, texts, draws=2)
    >>> found.row("none")["ndcg"] < 0.2 < 0.9 < found.row("standardised")["ndcg"]
    True
    """
    say = progress or quiet
    given = Given(
        queries,
        a,
        b,
        relevance_a,
        relevance_b,
        score,
        names,
        share,
        draws,
        fit_share,
        max_queries,
        seed,
        query_items,
        candidate_items_a,
        candidate_items_b,
    )
    pools = pools_of(given)
    moments = dict(zip(names, pools.moments, strict=True))
    closers = [PoolCloser.of(moments, s, normalised=score == "cosine") for s in STRENGTHS]
    searches: dict[str, Search] = {"none": plain}
    searches |= {closing_name(c.strength): levelled(c) for c in closers}
    tried: list[dict[str, Any]] = []
    gains = []
    for done, (name, search) in enumerate(searches.items(), 1):
        gains.append(float(np.mean(outcomes(pools.fit, search, k)["ndcg"])))
        tried.append({"closing": name, "ndcg": gains[-1]})
        say("strengths", done, len(searches))
    most = 1.0 if pools.setting == "other form" else STRENGTHS[-1]
    allowed = sum(strength <= most for strength in STRENGTHS)
    chosen = closers[int(np.argmax(gains[1 : allowed + 1]))]
    shown = dict.fromkeys(["none", "levelled", "standardised", closing_name(chosen.strength)])
    kept = {name: searches[name] for name in shown} | {"centering": centred(pools)}
    return Mixed(
        names=names,
        setting=pools.setting,
        score=score,
        k=k,
        chosen_on=pools.fit.size,
        scored=pools.scored.size,
        documents=pools.documents,
        draws=len(pools.scored.draws),
        table=table(pools, kept, k, seed, say),
        strengths=tried,
        spreads=spreads(pools, closers[-1], names),
        closer=chosen,
        warnings=pools.warnings,
    )


def plain(pool: Pool) -> Ranking:
    """The pool as it is."""
    return Ranking.of(pool.queries, pool.documents, "dot")


def levelled(closer: PoolCloser) -> Search:
    """Search through a pool closer whose first modality is a."""
    return lambda pool: closer.ranking(pool.queries, pool.documents, np.where(pool.is_a, 0, 1))


def centred(pools: Pools) -> Search:
    """GR-CLIP: queries and either modality lose their own mean and are normalised."""
    a, b = (m.mean for m in pools.moments)

    def search(pool: Pool) -> Ranking:
        stored = unit(pool.documents - np.where(pool.is_a[:, None], a, b))
        return Ranking.of(unit(pool.queries - pools.query_means[pool.asks]), stored, "dot")

    return search


def outcomes(part: Part, search: Search, k: int) -> dict[str, np.ndarray]:
    """What happened to each query: (draws, n) of each column."""
    names = (*FIGURES.values(), "displaced", "relevant_a", "share_own")
    out = {name: np.full((len(part.draws), part.size), np.nan) for name in names}
    for i, draw in enumerate(part.draws):
        for pool in draw:
            found = search_pool(search(pool), pool.relevance, pool.is_a, k=k, items=pool.items)
            for name in names[:-1]:
                out[name][i, pool.ids] = getattr(found, name)
            if pool.asks is not None:
                own = found.share_a if pool.asks == 0 else 1 - found.share_a
                out["share_own"][i, pool.ids] = own
    return out


def table(
    pools: Pools, searches: dict[str, Search], k: int, seed: int, say: Progress
) -> list[dict[str, Any]]:
    """A line per closing and modality of the answer (``all``, ``a``, ``b``)."""
    lines, before = [], None
    total = sum(pools.documents)
    for done, (name, search) in enumerate(searches.items(), 1):
        found = outcomes(pools.scored, search, k)
        before = found if before is None else before
        kept = [_kept(pools.scored, search, side) for side in (True, False)]
        gain = paired_difference(before["ndcg"], found["ndcg"], seed=seed)
        whole: dict[str, Any] = {"closing": name, "relevant": "all", "count": found["ndcg"].size}
        for column, key in FIGURES.items():
            whole |= _interval(found[key], seed).named(column)
        whole |= _means(found, np.ones_like(found["ndcg"], bool))
        whole |= {"expected": pools.documents[0] / total}
        whole |= {"kept_a": kept[0], "kept_b": kept[1]} | gain.named("difference")
        lines.append(whole)
        for side, value in (("a", 1), ("b", 0)):
            of = found["relevant_a"] == value
            part = {column: _mean(found[key][of]) for column, key in FIGURES.items()}
            about = {"closing": name, "relevant": side, "count": int(of.sum())}
            lines.append(about | part | _means(found, of))
        say("closings", done, len(searches))
    return lines


def _interval(values: np.ndarray, seed: int) -> Share:
    """Mean of (draws, n) outcomes; where all are 0 or all 1, resampling would claim certainty."""
    mean = float(values.mean())
    if mean in (0.0, 1.0):
        return wilson(mean * values.shape[1], values.shape[1])
    return paired_difference(np.zeros_like(values), values, seed=seed)


def _means(found: dict[str, np.ndarray], of: np.ndarray) -> dict[str, float | None]:
    return {name: _mean(found[name][of]) for name in ("displaced", "share_own")}


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _kept(part: Part, search: Search, side: bool) -> float:
    """Share of queries whose best document of one modality is that of plain search."""
    same: list[np.ndarray] = []
    for pool in part.draws[0]:
        rows = pool.is_a == side
        both = [
            top1(Ranking.of(r.queries, r.candidates[rows], "dot"))
            for r in (plain(pool), search(pool))
        ]
        same.append(both[0] == both[1])
    return float(np.concatenate(same).mean())


def spreads(pools: Pools, closer: PoolCloser, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Why means do or do not level: a line per kind of query and modality, of the first draw.

    ``level``: mean score of the modality's documents. ``spread``: their standard deviation for one
    query, averaged. ``lead``: how far right answers of the modality stand above its level.
    """
    lines = []
    for pool in pools.scored.draws[0]:
        levels, powers = closer.levels(pool.queries)
        width = powers ** (1 / closer.strength)
        pairs = pool.relevance.pairs
        right = (pool.queries[pairs[:, 0]] * pool.documents[pairs[:, 1]]).sum(axis=1)
        for side, name in enumerate(names):
            of = pool.is_a[pairs[:, 1]] == (side == 0)
            lead = right[of] - levels[pairs[of, 0], side]
            lines.append(
                {
                    "queries": "queries" if pool.asks is None else names[pool.asks],
                    "documents": name,
                    "level": float(levels[:, side].mean()),
                    "spread": float(width[:, side].mean()),
                    "lead": _mean(lead),
                }
            )
    return lines
