"""First answers of several searches of one product at once.

Searches that only add a number to the products of a candidate (:attr:`Moved.plain`) differ little:
once each search's mean number is taken off, which changes no order, a candidate has a least and a
most that any search adds. Who falls behind the best with the most is first in none of them, and
few candidates are left, often one: it is looked at for every search, as :mod:`~.settled` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.core.threads import Spare
from isthmus.search.settled import Settled
from isthmus.search.shared import Moved

MOST = 0.1
"""Share of the candidates that may be left; with more, each search looks at all."""
ROUNDED = 1.1
"""What is settled of a search lies this much nearer than what is left here: sums are rounded."""


@dataclass(frozen=True, eq=False)
class Several:
    """Searches that add numbers to a product: ``low``, ``high`` (K,), the least and the most of a
    candidate; ``near`` (n,): so far behind the best may a candidate be that is settled."""

    searches: Sequence[tuple[Settled, Moved]]
    low: np.ndarray
    high: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, searches: Sequence[tuple[Settled, Moved]]) -> Several:
        """Of one search or more; all are ``plain``."""
        numbers = np.stack([moved.column for _, moved in searches])
        numbers -= numbers.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
        near = ROUNDED * np.max([settled.near for settled, _ in searches], axis=0)
        return cls(searches, numbers.min(axis=0), numbers.max(axis=0), near)

    def best(self, products: np.ndarray, part: slice, spare: Spare) -> list[np.ndarray] | None:
        """The answers (b,) of each search to the queries in ``part``, whose products (b, K) these
        are; None where too many candidates are left. ``spare``: memory for (b, K)."""
        scores = np.add(products, self.high, out=spare.of(*products.shape))
        rows = np.arange(len(scores))
        first = scores.argmax(axis=1)
        level = products[rows, first] + self.low[first] - self.near[part]
        among = scores >= level[:, None]
        most = int(np.count_nonzero(among, axis=1).max())
        if most == 1:
            return [first] * len(self.searches)
        if most > MOST * scores.shape[1]:
            return None
        query, column = among.nonzero()
        place = np.arange(len(query)) - np.searchsorted(query, rows)[query]
        listed = np.zeros((len(scores), most), np.int64)
        left = np.full(listed.shape, -np.inf, np.float32)
        listed[query, place], left[query, place] = column, products[query, column]
        return [
            settled.best(moved.scores(left, part, listed), part, listed)
            for settled, moved in self.searches
        ]
