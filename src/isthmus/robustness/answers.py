"""Undisturbed answers of many closers, of whose mapped rows none is kept.

Float32 scores come from the product of the rows where a closer only moves them, else from
candidates that are mapped in float32. What is near the best is mapped and scored again in float64,
so that answers are those of a float64 search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.maps import AffineMap
from isthmus.core.arrays import row_norms
from isthmus.core.threads import Spare
from isthmus.robustness.searches import closed_searches, entering_rows, mapped_rows
from isthmus.search.scores import Ranking, linear_terms, norms_of, single
from isthmus.search.settled import Settled
from isthmus.search.shared import Moved, Product
from isthmus.search.task import RetrievalTask
from isthmus.theory.rows import moved_search, moves_only

LOOSE = 1e3
"""Where a map lets rounding grow by more than this, candidates are mapped in float64."""
ROUNDED = 1e-12
"""Queries that lie by this share of the largest number beside a line lie on it."""

Multiplied = tuple[np.ndarray, Product]
"""Queries (n, r) in float64 and their product."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sketch(Ranking):
    """A search whose candidates are mapped in float64 when they are asked for.

    Attributes:
        candidates: (K, r), mapped in float32; (K, d) before the map where it only moves them.
        scale, offset: of mapped ones, from norms in float32. norms: these, (K,).
        growth: how much larger the terms are that float32 rounds than what comes of them.
        exact: from numbers of candidates (m,) the float64 search of these alone.
    """

    norms: np.ndarray
    growth: float
    exact: Callable[[np.ndarray], Ranking]

    @classmethod
    def of_closer(cls, task: RetrievalTask, closer: Closer) -> Sketch | None:
        """None where candidates go through several maps, or float32 rows would leave much open."""
        first, *more = closer.candidate.steps
        if more:
            return None
        step, score = replace(first, normalised=False), closer.score
        entering = entering_rows(task, closer.candidate, task.candidates)
        rows, known = single(entering, task.facts), norms_of(entering, task.facts)
        if step.renormalised and moves_only(closer, normalised=task.normalised):
            norms, growth = np.ones(len(rows)), 1.0
        else:
            mapped = np.asarray(replace(step, renormalised=False)(rows))
            norms = known if mapped is rows else row_norms(mapped)
            least = float(norms.min() if step.renormalised else norms.max())
            growth = _reach(step, float(known.max())) / least if least > 0 else np.inf
            rows = mapped
            if step.renormalised and least > 0:
                rows, norms = rows / norms[:, None], np.ones(len(rows))
        if not growth <= LOOSE:
            return None
        queries = mapped_rows(task, closer.query, task.queries)
        bias = None if closer.bias_weights is None else closer.entered_bias(entering)

        def exact(some: np.ndarray) -> Ranking:
            own = None if bias is None else bias[some]
            return Ranking.of(queries, np.asarray(step(entering[some])), score, own)

        scale, offset = linear_terms(score, lambda: norms)
        if bias is not None:
            offset = bias if offset is None else offset + bias
        light = Ranking(queries, rows, score, scale, offset, bias)
        return cls(**vars(light), norms=norms, growth=max(growth, 1.0), exact=exact)

    @property
    def lengths(self) -> np.ndarray:
        """Norms of the mapped candidates, (K,)."""
        return self.norms

    def scores_of(self, answers: np.ndarray, queries: np.ndarray | None = None) -> np.ndarray:
        """As of every ranking, in float64."""
        rows, places = np.unique(answers, return_inverse=True)
        return self.exact(rows).scores_of(places, queries)


@dataclass(frozen=True, eq=False, kw_only=True)
class Blend(Product):
    """Products of queries that lie between those of two other products of the same candidates:
    ``(1 - weight) · one + weight · other``."""

    one: Product
    other: Product
    weight: float

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,): the largest that the terms of a query's product can be."""
        return abs(1 - self.weight) * self.one.sizes + abs(self.weight) * self.other.sizes

    def block(self, part: slice, spare: Spare | None = None) -> np.ndarray:
        """The products of some queries, (b, K), in ``spare`` memory."""
        one, other = self.one.block(part), self.other.block(part)
        out = (spare or Spare()).of(*one.shape)
        np.multiply(one, np.float32(1 - self.weight), out=out)
        out += np.float32(self.weight) * other
        return out


def closed_answers(task: RetrievalTask, closers: Sequence[Closer]) -> list[np.ndarray]:
    """The answers to all queries after each closing, (n,) each: ``clean_top1`` of the searches that
    :func:`isthmus.robustness.closed_searches` sets up, without their rows.

    A closer whose queries lie between those of today and those of the closer before it, as at
    another strength, needs no product of its own.
    """
    found: dict[int, np.ndarray] = {}
    shared: dict[int, tuple[Sketch, Moved]] = {}
    before: Multiplied | None = None
    for i, closer in enumerate(closers):
        sketch = None if task.lists is not None else Sketch.of_closer(task, closer)
        if sketch is None:
            found[i] = closed_searches(task, [closer])[0].clean_top1
            continue
        moved = moved_search(task.product, closer, sketch, normalised=task.normalised)
        product = None
        if moved is None:
            product, before = _product(task, closer, sketch, before)
            moved = Moved.of(product, sketch)
        moved = replace(moved, sizes=moved.sizes * sketch.growth)
        if not Settled.of(sketch, moved.sizes).fits:
            found[i] = closed_searches(task, [closer])[0].clean_top1
        elif product is None:
            shared[i] = sketch, moved
        else:
            found[i] = task.answers([(sketch, moved)], product)[0]
    found |= dict(zip(shared, task.answers(list(shared.values())), strict=True))
    return [found[i] for i in range(len(closers))]


def _product(
    task: RetrievalTask, closer: Closer, sketch: Sketch, before: Multiplied | None
) -> tuple[Product, Multiplied]:
    """That of a closer's queries, from the one before where this is enough, and what the next may
    be made from."""
    if before is not None and before[1].candidates is sketch.candidates:
        queries, known = before
        today = entering_rows(task, closer.query, task.queries)
        weight = _between(sketch.queries, today, queries)
        if weight is not None and known.whole is not None:
            ends = known.queries, known.candidates
            return Blend(*ends, False, one=task.product, other=known, weight=weight), before
    product = Product.of(sketch.queries, sketch.candidates, device=task.device)
    return product, (sketch.queries, product)


def _between(rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> float | None:
    """The weight w of rows (n, d) = (1 - w) · one + w · other; None where they are not."""
    if rows.shape != one.shape:
        return None
    whole, part = other - one, rows - one
    size = float(np.vdot(whole, whole))
    weight = float(np.vdot(whole, part)) / size if size else 0.0
    off = np.abs(part - weight * whole).max()
    return (
        weight if off <= ROUNDED * max(np.abs(side).max() for side in (rows, one, other)) else None
    )


def _reach(step: AffineMap, longest: float) -> float:
    """The largest terms that a map sums up for a row of norm ``longest``: what float32 rounds is a
    share of it."""
    size = longest
    if step.picked is not None:
        size *= float(np.abs(step.picked[1]).max())
    elif step.matrix is not None:
        size *= float(np.linalg.norm(step.matrix))
    return size + (0.0 if step.offset is None else float(np.linalg.norm(step.offset)))
