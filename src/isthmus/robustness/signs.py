"""Sign codes of both sides: their scores are whole numbers, which tie exactly.

Rows of ±1 have whole inner products of at most d. Float32 sums of them are exact up to 2^24, so the
largest one, the lowest candidate where several have it, is the answer of a float64 search: nothing
is near it that is not tied. Two queries share a number: with a step above 2d,

    ⟨s + step · t, x⟩ = ⟨s, x⟩ + step · ⟨t, x⟩

is taken apart by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.devices import Device
from isthmus.core.threads import Spare
from isthmus.search.scores import Ranking
from isthmus.search.shared import Product

ONE = np.float32(1)
WHOLE = 2**24
"""Whole numbers up to this are float32 numbers."""


@dataclass(frozen=True, eq=False)
class SignProduct(Product):
    """Inner products (n, K) of rows of ±1, float32, two queries at once."""

    @cached_property
    def _step(self) -> int:
        """A power of 2 above twice the largest product; 1 where two products do not fit."""
        dim = self.queries.shape[1]
        step = 2 ** (2 * dim).bit_length()
        return step if (step + 1) * dim <= WHOLE else 1

    def block(self, part: slice, spare: Spare | None = None) -> np.ndarray:
        """The products of some queries, (b, K), in ``spare`` memory."""
        queries = self.queries[part]
        half, step = len(queries) // 2, self._step
        if step == 1 or not half:
            return super().block(part, spare)
        first, rest = queries[:half], queries[half:]
        together = rest.copy()
        together[:half] += step * first
        out = (spare or Spare()).of(len(queries), len(self.candidates))
        low, high = out[half:], out[:half]
        self.multiplied(together, low)
        np.rint(np.multiply(low[:half], np.float32(1 / step), out=high), out=high)
        low[:half] -= step * high
        return out


def sign_product(ranking: Ranking, device: Device | None = None) -> SignProduct:
    """The product of the signs of a ranking's rows."""

    def of(rows: np.ndarray) -> np.ndarray:
        return ranking.facts.of("signs", lambda: np.where(rows > 0, ONE, -ONE), rows)

    return SignProduct(of(ranking.queries), of(ranking.candidates), False, device)


def even(ranking: Ranking) -> bool:
    """Whether a ranking's terms are alike for all candidates, so that products alone rank them."""
    terms = ranking.scale, ranking.offset
    return all(term is None or bool((term == term[0]).all()) for term in terms)
