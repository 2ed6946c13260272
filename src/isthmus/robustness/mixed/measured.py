"""``mixed``: which modality outranks the other in one pool, and what levelling the pool gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from isthmus.core.arrays import EPS64, row_norms, unit
from isthmus.core.progress import Progress, quiet
from isthmus.core.statistics import Share, paired_difference, wilson
from isthmus.robustness.mixed.levelling import PoolCloser, closing_name
from isthmus.robustness.mixed.outcomes import PoolScores, search_pool
from isthmus.robustness.mixed.pools import Given, Part, Pool, Pools, pools_of
from isthmus.robustness.mixed.verdict import Mixed
from isthmus.search.scores import Ranking, first_best
from isthmus.search.settled import TIE_ULPS

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Tried on the queries that are not scored."""
DRAWS = 20
MAX_QUERIES = 2000
FIGURES = {"ndcg": "ndcg", "recall": "recall", "recall@1": "first", "share_a": "share_a"}
"""Column -> attribute of an outcome; these have intervals."""

HELD = 2**24
"""Products of a pool that are held while all closings are searched, 128 MB."""

Search = Callable[[Pool, np.ndarray | None], Ranking | PoolScores]
"""A pool, and the products ⟨q, x⟩ (n, K) of its rows where they are held -> its search."""


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
    return mixed_of(given, pools_of(given), k, progress or quiet)


def mixed_of(given: Given, pools: Pools, k: int = 10, say: Progress = quiet) -> Mixed:
    """The same of pools that are made already."""
    moments = dict(zip(given.names, pools.moments, strict=True))
    closers = [PoolCloser.of(moments, s, normalised=given.score == "cosine") for s in STRENGTHS]
    searches: dict[str, Search] = {"none": plain}
    searches |= {closing_name(c.strength): levelled(c, closers[-1]) for c in closers}
    found = outcomes(pools.fit, searches, k, lambda *done: say("strengths", *done))
    gains = [float(np.mean(columns["ndcg"])) for columns in found.values()]
    tried = [{"closing": name, "ndcg": gain} for name, gain in zip(found, gains, strict=True)]
    most = 1.0 if pools.setting == "other form" else STRENGTHS[-1]
    allowed = sum(strength <= most for strength in STRENGTHS)
    chosen = closers[int(np.argmax(gains[1 : allowed + 1]))]
    shown = dict.fromkeys(["none", "levelled", "standardised", closing_name(chosen.strength)])
    kept = {name: searches[name] for name in shown} | {"centering": centred(pools)}
    return Mixed(
        names=given.names,
        setting=pools.setting,
        score=given.score,
        k=k,
        chosen_on=pools.fit.size,
        scored=pools.scored.size,
        documents=pools.documents,
        draws=len(pools.scored.draws),
        table=table(pools, kept, k, given.seed, say),
        strengths=tried,
        spreads=spreads(pools, closers[-1], given.names),
        closer=chosen,
        warnings=pools.warnings,
    )


def plain(pool: Pool, products: np.ndarray | None = None) -> Ranking | PoolScores:
    """The pool as it is."""
    ranking = Ranking.of(pool.queries, pool.documents, "dot")
    return ranking if products is None else PoolScores(products, ranking.tie_widths)


def levelled(closer: PoolCloser, strongest: PoolCloser) -> Search:
    """Search through a pool closer whose first modality is a; ``strongest`` is of the same moments
    and knows their covariances."""

    def search(pool: Pool, products: np.ndarray | None = None) -> Ranking | PoolScores:
        if products is None:
            return closer.ranking(pool.queries, pool.documents, np.where(pool.is_a, 0, 1))

        def centred() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            offsets, variances = pool.of_side("variances", strongest.variances)
            own_means = np.where(pool.is_a[:, None], *closer.means)
            longest = row_norms(pool.documents - own_means).max()
            levelled = products - np.where(pool.is_a, *np.split(offsets, 2, axis=1))
            return levelled, variances, row_norms(pool.queries) * longest

        scores, variances, sizes = pool.facts.of("centred", centred, products)
        spreads = variances ** (closer.strength / 2)
        widths = TIE_ULPS * EPS64 * sizes * np.sqrt((1 / spreads**2).sum(axis=1))
        scores = scores / np.where(pool.is_a, *np.split(spreads, 2, axis=1))
        return PoolScores(scores, widths[:, None])

    return search


def centred(pools: Pools) -> Search:
    """GR-CLIP: queries and either modality lose their own mean and are normalised."""
    a, b = (m.mean for m in pools.moments)

    def search(pool: Pool, products: np.ndarray | None = None) -> Ranking:
        stored = unit(pool.documents - np.where(pool.is_a[:, None], a, b))
        return Ranking.of(unit(pool.queries - pools.query_means[pool.asks]), stored, "dot")

    return search


def outcomes(
    part: Part, searches: Mapping[str, Search], k: int, say: Callable[[int, int], None]
) -> dict[str, dict[str, np.ndarray]]:
    """What every search did to each query: (draws, n) of each column."""
    names = (*FIGURES.values(), "displaced", "relevant_a", "share_own")
    out = {
        name: {column: np.full((len(part.draws), part.size), np.nan) for column in names}
        for name in searches
    }
    for i, draw in enumerate(part.draws):
        for pool in draw:
            products = held_products(pool)
            for name, search in searches.items():
                ranking = search(pool, products)
                found = search_pool(ranking, pool.relevance, pool.is_a, k=k, items=pool.items)
                mine = out[name]
                for column in names[:-1]:
                    mine[column][i, pool.ids] = getattr(found, column)
                if pool.asks is not None:
                    own = found.share_a if pool.asks == 0 else 1 - found.share_a
                    mine["share_own"][i, pool.ids] = own
        say(i + 1, len(part.draws))
    return out


def held_products(pool: Pool) -> np.ndarray | None:
    """⟨q, x⟩ (n, K) of a pool's rows in float64, None where it is too large to hold."""
    if len(pool.queries) * len(pool.documents) > HELD:
        return None
    return np.asarray(pool.queries @ pool.documents.T)


def table(
    pools: Pools, searches: dict[str, Search], k: int, seed: int, say: Progress
) -> list[dict[str, Any]]:
    """A line per closing and modality of the answer (``all``, ``a``, ``b``)."""
    lines, before = [], None
    total = sum(pools.documents)
    every = outcomes(pools.scored, searches, k, lambda *done: say("closings", *done))
    kept_by = _kept(pools.scored, searches)
    for name, found in every.items():
        before = found if before is None else before
        kept = kept_by[name]
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


def _kept(part: Part, searches: Mapping[str, Search]) -> dict[str, list[float]]:
    """For each search the share of queries whose best document of side a, and of side b, is that of
    plain search; of the first draw."""
    same: dict[str, list[list[np.ndarray]]] = {name: [[], []] for name in searches}
    for pool in part.draws[0]:
        products = held_products(pool)
        before = _best_of_sides(plain(pool, products), pool.is_a)
        for name, search in searches.items():
            after = _best_of_sides(search(pool, products), pool.is_a)
            for lists, one, other in zip(same[name], before, after, strict=True):
                lists.append(one == other)
    return {
        name: [float(np.concatenate(side).mean()) for side in sides] for name, sides in same.items()
    }


def _best_of_sides(ranking: Ranking | PoolScores, is_a: np.ndarray) -> list[np.ndarray]:
    """The best document of side a, and of side b, of each query, (n,) each."""
    widths = ranking.tie_widths
    blocks = [(widths[start : start + len(s)], s) for start, s in ranking.score_blocks()]
    return [
        np.concatenate([first_best(s[:, of], width) for width, s in blocks]) for of in (is_a, ~is_a)
    ]


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
