"""One product of the rows for many searches: moved rows, moved back by two sums.

Where a map only moves rows (and perhaps divides them by their norms after),

    ⟨r (q + a), g (x + b)⟩ = r g (⟨q, x⟩ + ⟨a, x⟩ + ⟨q, b⟩ + ⟨a, b⟩)

with r a number of the query and g one of the candidate: inner products are taken once, in float32,
and each search adds a number per candidate and, where it matters for the order, one per query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isthmus.core.arrays import Array, row_norms
from isthmus.core.devices import Device
from isthmus.core.threads import Spare, over_blocks
from isthmus.search.scores import Ranking

KEPT = 2**25
"""Scores of a product that are kept for the next search: 128 MB of float32."""
BLOCK = 2**19
"""Scores of a block: 2 MB of float32, which caches hold."""
MULTIPLIED = 4
"""Blocks that are multiplied at once: BLAS rearranges the candidates for every product."""


@dataclass(frozen=True, eq=False)
class Product:
    """Inner products ⟨q, x⟩ of queries (n, d) and candidates (K, d), both float32.

    ``kept``: what was multiplied is kept for the next search, if it is not too large. ``device``:
    where it is multiplied; None: here.
    """

    queries: np.ndarray
    candidates: np.ndarray
    kept: bool = True
    device: Device | None = None

    @classmethod
    def of(
        cls,
        queries: np.ndarray,
        candidates: np.ndarray,
        *,
        kept: bool = True,
        device: Device | None = None,
    ) -> Product:
        """Of rows in any precision."""
        light = np.asarray(queries, np.float32), np.asarray(candidates, np.float32)
        return cls(*light, kept, device)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,): the largest that a query's product can be."""
        return np.asarray(row_norms(self.queries) * row_norms(self.candidates).max())

    def at(self, rows: np.ndarray) -> Product:
        """Of some queries, (m,) row numbers; what was multiplied is not multiplied again."""
        found = replace(self, queries=self.queries[rows])
        if self.whole is not None:
            vars(found)["whole"] = self.whole[rows]
        if "_held" in vars(self):
            vars(found)["_held"] = self._held
        return found

    @property
    def step(self) -> int:
        """Queries of a block."""
        return max(16, BLOCK // max(1, len(self.candidates)))

    def blocks(self, work: Callable[..., None], *others: Product) -> None:
        """Call ``work(part, product (b, K), …)`` for all queries; it leaves a product as it was.

        ``others``: further products of as many rows, of which it is handed the same block.
        """
        all_of_them = self, *others
        spares = [Spare() for _ in all_of_them]
        _ = [one.whole for one in all_of_them]  # found here, once, before threads ask for it

        def several(part: slice) -> None:
            products = [
                one.block(part, spare) for one, spare in zip(all_of_them, spares, strict=True)
            ]
            for start in range(part.start, part.stop, self.step):
                some = slice(start, min(start + self.step, part.stop))
                inside = slice(some.start - part.start, some.stop - part.start)
                work(some, *(product[inside] for product in products))

        over_blocks(several, len(self.queries), MULTIPLIED * self.step)

    def block(self, part: slice, spare: Spare | None = None) -> np.ndarray:
        """The products of some queries, (b, K), where they are not kept in ``spare`` memory."""
        if self.whole is not None:
            return self.whole[part]
        queries = self.queries[part]
        return self.multiplied(queries, (spare or Spare()).of(len(queries), len(self.candidates)))

    def multiplied(self, queries: np.ndarray, out: np.ndarray) -> np.ndarray:
        """The products of any queries (b, d), float32, written into ``out`` (b, K)."""
        if self.device is None:
            return np.matmul(queries, self.candidates.T, out=out)
        out[...] = self.device.product(queries, self._held)
        return out

    @cached_property
    def _held(self) -> Array:
        """The candidates on the device."""
        assert self.device is not None
        return self.device.put(self.candidates)

    @cached_property
    def whole(self) -> np.ndarray | None:
        """All products (n, K), where they are kept."""
        shape = len(self.queries), len(self.candidates)
        if not self.kept or shape[0] * shape[1] > KEPT:
            return None
        out = np.empty(shape, np.float32)

        def work(part: slice) -> None:
            self.multiplied(self.queries[part], out[part])

        over_blocks(work, shape[0], MULTIPLIED * self.step)
        return out


@dataclass(frozen=True, eq=False)
class Moved:
    """How a search of moved rows gets its scores from the products of the rows, all float32.

    ``(product + column + row) · rate · length · scale + offset``, where what is None is left out:
    ``rate`` and ``length`` divide moved rows by their norms, ``scale`` and ``offset`` are the
    score's. ``rest`` (n,) is what the scores of a query lack of the ranking's own: it changes no
    order. ``sizes`` (n,): the largest terms of a query's scores. ``moves``: of both sides.
    """

    column: np.ndarray
    row: np.ndarray | None
    rate: np.ndarray | None
    length: np.ndarray | None
    scale: np.ndarray | None
    offset: np.ndarray | None
    rest: np.ndarray | None
    sizes: np.ndarray
    moves: tuple[np.ndarray | None, np.ndarray | None]

    @classmethod
    def of(
        cls,
        product: Product,
        ranking: Ranking,
        moves: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
        renormalised: tuple[bool, bool] = (False, False),
        lengths: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    ) -> Moved:
        """From what both sides are moved by, (d,) or None, and whether they are divided by their
        norms after; ``ranking`` is the search of the rows so moved. ``lengths`` (n,), (K,): what
        both sides are multiplied by instead."""
        q, x = product.queries, product.candidates
        a, b = (None if move is None else move.astype(np.float32) for move in moves)
        column = np.zeros(len(x), np.float32) if a is None else x @ a
        row = None if b is None else q @ b
        if a is not None and b is not None:
            column += a @ b
        scale, offset = (
            None if term is None else np.asarray(term, np.float32)
            for term in (ranking.scale, ranking.offset)
        )
        rate, length = (None if t is None else t.astype(np.float32) for t in lengths)
        if renormalised[0]:
            rate = 1 / row_norms(q if a is None else q + a)
        if renormalised[1]:
            length = 1 / row_norms(x if b is None else x + b)
        sizes = np.asarray(product.sizes, np.float64)
        sizes = sizes + sum(float(np.abs(t).max()) for t in (column, row) if t is not None)
        sizes = sizes if rate is None else sizes * rate
        for factor in (length, scale):
            sizes = sizes if factor is None else sizes * float(factor.max())
        if offset is not None:
            sizes = sizes + float(np.abs(offset).max())
        if scale is None and rate is None and length is None:
            # a number of the query changes no order
            column = column if offset is None else column + offset
            return cls(column, None, None, None, None, None, row, sizes, (a, b))
        return cls(column, row, rate, length, scale, offset, None, sizes, (a, b))

    def at(self, rows: np.ndarray) -> Moved:
        """Of some queries, (m,) row numbers."""
        row, rate, rest = (None if t is None else t[rows] for t in (self.row, self.rate, self.rest))
        return replace(self, row=row, rate=rate, rest=rest, sizes=self.sizes[rows])

    @property
    def plain(self) -> bool:
        """Whether products and a number per candidate are all of it."""
        return self.rate is None and self.length is None and self.scale is None

    @cached_property
    def bare(self) -> bool:
        """Whether products have the order of the scores, and their differences."""
        if self.rate is not None or self.length is not None:
            return False
        if self.scale is not None and (self.scale != 1).any():
            return False
        return all(x is None or np.ptp(x) == 0 for x in (self.column, self.offset))

    def scores(
        self,
        product: np.ndarray,
        part: slice,
        rows: np.ndarray | None = None,
        spare: Spare | None = None,
    ) -> np.ndarray:
        """Scores of the queries in ``part`` from their products, in ``spare`` memory or new.

        ``product`` (b, K), or (b, c) of the candidates ``rows`` (b, c).
        """

        def own(term: np.ndarray) -> np.ndarray:
            return term if rows is None else term[rows]

        out = np.add(product, own(self.column), out=(spare or Spare()).of(*product.shape))
        if self.row is not None:
            out += self.row[part, None]
        if self.rate is not None:
            out *= self.rate[part, None]
        for factor in (self.length, self.scale):
            if factor is not None:
                out *= own(factor)
        if self.offset is not None:
            out += own(self.offset)
        return out
