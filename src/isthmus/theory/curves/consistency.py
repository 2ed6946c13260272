"""Curves of one ranking, or of many closers from one product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.arrays import Array, to_numpy, unit, working
from isthmus.core.threads import Spare, over_blocks
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import Ranking
from isthmus.search.shared import Moved, Product
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.prediction import keep_probabilities
from isthmus.theory.rows import closed_ranking, moved_search

if TYPE_CHECKING:
    from isthmus.closers.closer import Closer

BLOCK_ELEMENTS, BLOCK_ROWS = 2**20, 1024  # scores a thread holds: 4 MB of float32
LEAST_DIMENSIONS = 64
SAME_NORM = 1e-5
"""Norms of stored rows that differ by no more than this share are one."""
FEW_PAIRS = 2**12
"""Queries × candidates up to which levels are taken one by one below 64 dimensions, where no rival
is out of reach: up to .4 s a level with candidate biases, .03 s without."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Predicted consistency at each level of noise on the candidates.

    ``totals`` (L,): E‖ε‖² of a candidate's noise. ``value`` (L,): mean over queries of ``kept``
    (L, n), the chance that the answer survives. ``error`` (L,): what the mean is known to; NaN
    where the levels were taken one by one by ``predict``. ``method``: one line. ``aimed`` (A, L,
    n): chances of other candidates that were asked for.
    """

    totals: np.ndarray
    value: np.ndarray
    kept: np.ndarray
    error: np.ndarray
    method: str
    aimed: np.ndarray | None = None


def consistency_curve(
    ranking: Ranking,
    totals: Sequence[float],
    *,
    spreads: np.ndarray | None = None,
    items: np.ndarray | None = None,
) -> Curve | None:
    """Share of answers that survive Gaussian noise on the candidates, at every level at once.

    Args:
        ranking: clean queries (n, d) and candidates (K, d) as they are searched (after a closer's
            maps), candidate biases included. Under cosine candidates have one norm.
        totals: (L,) levels E‖ε‖², each at least 0.
        spreads: (n,), dot alone: √(qᵀΣq) of each query, for noise of covariance total · Σ that is
            not isotropic. Isotropic noise has ‖q‖/√d, the default.
        items: (K,) lowest row of each row's item: rivals are rows of other items. None: every row
            is an item.

    Returns:
        :class:`Curve`; None for fewer than 2 candidates, and for cosine below 64 dimensions or with
        candidates of different norms. Below 64 dimensions Euclidean levels are taken one by one by
        ``predict``.

    Raises:
        OptionError: a level that is no variance, spreads under Euclidean search.
        ShapeError: spreads that do not fit the queries.

    Source: D11 and D12 of ``docs/formulas.md``. Cost: one clean search, then a few passes a level
    over the rivals within reach. Memory: a block of scores, and 16 bytes a rival within reach.
    """
    score = ranking.score
    levels = np.asarray(totals, np.float64)
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels >= 0)).all():
        raise OptionError(
            "bad-level", f"totals {totals} are not a list of variances; expected numbers >= 0"
        )
    n = int(ranking.queries.shape[0])
    if spreads is not None:
        if score != "dot":
            raise OptionError(
                "no-formula", f"spreads were given under {score}; they are for dot alone"
            )
        spreads = np.asarray(spreads, np.float64)
        if spreads.shape != (n,):
            raise ShapeError(
                "bad-shape", f"spreads have shape {spreads.shape}; expected one a query, ({n},)"
            )
    count = int(ranking.candidates.shape[0]) if items is None else len(np.unique(items))
    if count < 2:
        return None
    ranking = ranking.on_host()
    if not has_curve(ranking):
        each = [keep_probabilities(ranking, float(level), items=items) for level in levels]
        if any(one is None for one in each):
            return None
        kept = np.stack([one.value for one in each if one is not None])
        unknown = np.full(len(levels), np.nan)
        return Curve(levels, kept.mean(axis=1), kept, unknown, "level by level")
    return swept([Sweep(ranking, levels, spreads, items=items)], ranking)[0]


def consistency_curves(
    queries: Array, candidates: Array, closers: Sequence[Closer], totals: Sequence[float]
) -> list[Curve | None]:
    """:func:`consistency_curve` of many closers on the same rows: one product for all of them.

    Closers that only move rows share the float32 product of the rows
    (:mod:`isthmus.search.shared`); others are mapped and searched one by one.

    Args:
        queries, candidates: (n, d), (K, d) rows before the closers' maps.
        closers: fitted, each with its own score and strength. totals: as above.

    Returns:
        A curve (or None) per closer, in their order.

    Raises:
        OptionError: levels that are no variances. ShapeError: rows of another model.
    """
    out: list[Curve | None] = [None] * len(closers)
    for normalised in (True, False):
        mine = [
            i
            for i, closer in enumerate(closers)
            if (closer.query.normalised and closer.candidate.normalised) == normalised
        ]
        if not mine:
            continue
        sides = (to_numpy(working(side)) for side in (queries, candidates))
        product = Product.of(*(unit(s) if normalised else s for s in sides))
        searches = []
        for closer in (closers[i] for i in mine):
            ranking = closed_ranking(closer, queries, candidates).on_host()
            moved = moved_search(product, closer, ranking, normalised=normalised)
            searches.append((ranking, moved))
        for i, curve in zip(mine, curves_over(product, searches, totals), strict=True):
            out[i] = curve
    return out


def curves_over(
    product: Product, searches: Sequence[tuple[Ranking, Moved | None]], totals: Sequence[float]
) -> list[Curve | None]:
    """The same of searches that are set up already, in NumPy: each with how its scores come from
    the product, None where they do not. No curve of what is not quick."""
    out: list[Curve | None] = [None] * len(searches)
    levels = np.asarray(totals, np.float64)
    sweeps: dict[int, Sweep] = {}
    for i, (ranking, moved) in enumerate(searches):
        if not is_quick(ranking):
            continue
        if moved is None or not has_curve(ranking):
            out[i] = consistency_curve(ranking.single(), totals)
        else:
            like = next((one for one in sweeps.values() if one.score == ranking.score), None)
            sweeps[i] = Sweep(ranking, levels, moved=moved, like=like)
    if sweeps:
        for i, curve in zip(sweeps, swept(list(sweeps.values()), product), strict=True):
            out[i] = curve
    return out


def has_curve(ranking: Ranking) -> bool:
    """Whether the bins are for a search: two candidates at least, under Euclidean and cosine 64
    dimensions at least, under cosine candidates of one norm."""
    if int(ranking.candidates.shape[0]) < 2:
        return False
    if ranking.score == "dot":
        return True
    if ranking.scale is not None:
        scale = to_numpy(ranking.scale)
        if float(scale.max()) > (1 + SAME_NORM) * float(scale.min()) or ranking.bias is not None:
            return False
    return int(ranking.candidates.shape[1]) >= LEAST_DIMENSIONS


def is_quick(ranking: Ranking) -> bool:
    """Whether consistency of a search takes seconds: it has bins, or reaches few pairs of rows."""
    rows, dim = ranking.candidates.shape
    return dim >= LEAST_DIMENSIONS or has_curve(ranking) or len(ranking.queries) * rows <= FEW_PAIRS


def swept(
    searches: Sequence[Sweep],
    product: Product | Ranking,
    aims: Sequence[np.ndarray] = (),
    own_aims: Sequence[Sequence[np.ndarray]] | None = None,
) -> list[Curve]:
    """Every search through the blocks of one product.

    Args:
        product: of the rows that the searches move; of one search that moves none, its ranking.
        aims: (n,) candidates whose chances to be the answer are asked too; -1: none.
        own_aims: for each search some of its own after them, as many for each.
    """
    n = len(product.queries)
    levels = searches[0].levels
    kept, error = (np.empty((len(searches), len(levels), n)) for _ in range(2))
    asked = [[*aims, *own] for own in own_aims or [[]] * len(searches)]
    aimed = np.zeros((len(searches), len(asked[0]), len(levels), n))
    spare = Spare()

    def work(part: slice, products: np.ndarray) -> None:
        rows = np.arange(part.start, part.stop)
        for i, search in enumerate(searches):
            scores = products
            if search.moved is not None:
                scores = search.moved.scores(products, part, spare=spare)
            first = scores.argmax(axis=1)
            kept[i, :, part], error[i, :, part] = search.block(scores, rows, first)
            for a, aim in enumerate(asked[i]):
                aimed[i, a, :, part] = np.where(aim[part] == first, kept[i, :, part], 0.0)
                some = np.flatnonzero((aim[part] != first) & (aim[part] >= 0))
                if len(some):
                    found, _ = search.block(scores[some], rows[some], aim[part][some], behind=True)
                    aimed[i, a, :, part.start + some] = found.T

    over_product(product, work)
    return [
        Curve(levels, k.mean(axis=1), k, e.mean(axis=1), f"bins of leads, {search.score}", a)
        for search, k, e, a in zip(searches, kept, error, aimed, strict=True)
    ]


def over_product(product: Product | Ranking, work: Callable[[slice, np.ndarray], None]) -> None:
    """Call ``work(part, scores (b, K))`` for all queries of a product, or of one ranking."""
    if isinstance(product, Product):
        product.blocks(work)
        return
    n, step = len(product.queries), max(1, BLOCK_ELEMENTS // len(product.candidates))
    step = min(BLOCK_ROWS, step)

    def alone(part: slice) -> None:
        some = replace(product, queries=product.queries[part])
        work(part, next(some.score_blocks(step))[1])

    over_blocks(alone, n, step)
