"""What fitters share: what they are given, the candidates' hull, and promises."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.maps import AffineMap, RowMap
from isthmus.core.checks import in_range
from isthmus.data.moments import Moments
from isthmus.errors import CloserError, OptionError

NEGLIGIBLE = 1e-10
FINE = 1e-9


@dataclass(frozen=True, eq=False)
class Given:
    """What every method is fitted on, and for.

    Attributes:
        method: its name.
        queries, candidates: moments of the rows as they enter the maps.
        score: the score that the closer is to be searched with.
        strength: 0 leaves everything as it is, 1 closes fully.
        normalised: the maps begin by normalising rows.
    """

    method: str
    queries: Moments
    candidates: Moments
    score: str
    strength: float = 1.0
    normalised: bool = True

    @property
    def dim(self) -> int:
        """d."""
        return self.queries.dim

    @property
    def gap(self) -> np.ndarray:
        """g = μ_q - μ_c, (d,): what brings candidates to the queries."""
        return self.queries.mean - self.candidates.mean

    @property
    def fixed(self) -> AffineMap:
        """Rows stay as they are."""
        return AffineMap(self.dim, normalised=self.normalised)

    def moved(self, offset: np.ndarray, renormalised: bool = False) -> AffineMap:
        """Rows plus an offset (d,)."""
        some = offset if offset.any() else None
        return AffineMap(self.dim, None, some, self.normalised, renormalised)

    def blended(
        self, matrix: np.ndarray, offset: np.ndarray, renormalised: bool = False
    ) -> AffineMap:
        """(1 - s)·identity + s·(matrix, offset): the plain identity at strength 0."""
        if self.strength == 0:
            return self.fixed
        if self.strength != 1:
            matrix = (1 - self.strength) * np.eye(self.dim) + self.strength * matrix
        moved = self.strength * offset if offset.any() else None
        return AffineMap(self.dim, matrix, moved, self.normalised, renormalised)

    def exact(self, condition: str) -> Guarantee:
        """An exact promise; maps that normalise keep the answers of unit candidates only."""
        if self.normalised and self.score != "cosine":
            condition += "; candidates of unit norm"
        return Guarantee(self.score, "exact", condition)

    def no_promise(self, why: str) -> Guarantee:
        """Answers change."""
        return Guarantee(self.score, "none", why)

    def closer(
        self,
        query: RowMap,
        candidate: RowMap,
        promise: Guarantee,
        bias: np.ndarray | None = None,
        *,
        memo: int = 0,
        **facts: Any,
    ) -> Closer:
        """The fitted closer; the weights of a bias that are all zero are none."""
        some = None if bias is None or not bias.any() else bias
        made = Closer(
            self.method, self.score, self.strength, query, candidate, promise, some, facts, memo
        )
        if made.telling is None:
            return made
        sides = {"along_queries": self.queries, "along_candidates": self.candidates}
        means = {name: float(side.mean @ made.telling) for name, side in sides.items()}
        return replace(made, facts={**facts, **means})

    def untouched(self, why: str = "strength 0: nothing is changed", **facts: Any) -> Closer:
        """A closer that changes nothing."""
        return self.closer(self.fixed, self.fixed, self.exact(why), **facts)

    def is_on(self) -> bool:
        """Whether a closer that has no half-way form is on. Raises OptionError."""
        if self.strength not in (0, 1):
            text = f"{self.method} has strength 0 (off) or 1 (on), got {self.strength:g}"
            raise OptionError("option-range", text)
        return bool(self.strength)

    def share_of_gap(self, part: np.ndarray) -> float:
        """‖part‖² over ‖g‖²; 0 where there is no gap."""
        total = float(self.gap @ self.gap)
        return float(part @ part) / total if total else 0.0

    def variation(self, step: np.ndarray) -> tuple[float, float]:
        """How much ⟨step, x⟩ varies over candidates: deviation, and the most two can differ.

        (a_i - a_j)² <= 2 Σ (a - mean)² for any two of n numbers; unit rows are at most 2 apart.
        """
        variance = max(self.candidates.variance_along(step), 0.0)
        if not full_sight(self.candidates):
            variance += self.candidates.resolution * float(self.candidates.spectrum[0][0])
        return length(step) * float(np.sqrt(variance)), length(step) * self._reach(variance)

    def reach_off(self, rank: int) -> float:
        """The most that two fitted candidates can differ outside their first directions."""
        values = self.candidates.spectrum[0]
        left = float(values[rank:].sum())
        if not full_sight(self.candidates):
            left += self.candidates.resolution * self.dim * float(values[0])
        return self._reach(left)

    def _reach(self, variance: float) -> float:
        reach = float(np.sqrt(2 * self.candidates.count * variance))
        return min(reach, 2.0) if self.normalised else reach

    def spans_hull(self, rank: int) -> bool:
        """Whether the first directions surely hold all differences of the candidates."""
        found = self.candidates
        return rank >= found.rank and (full_sight(found) or rank == found.dim)


def length(vector: np.ndarray) -> float:
    """‖v‖."""
    return float(np.linalg.norm(vector))


def full_sight(candidates: Moments) -> bool:
    """Whether the moments' products are fine enough to tell rounding from small directions."""
    return candidates.resolution <= FINE


def hull_rank(candidates: Moments, variance: float | None) -> int:
    """Directions kept as the candidates' hull: the exact rank, or those holding ``variance``."""
    if variance is not None:
        in_range(variance, "variance", above=0, most=1)
    if variance is None or variance == 1:
        if not full_sight(candidates) and candidates.count <= candidates.dim:
            raise CloserError(
                "moments-too-coarse",
                "these moments were formed in float32, which cannot tell rounding from the "
                "smallest directions of the hull; compute them with precise=True",
            )
        return candidates.rank
    values = candidates.spectrum[0]
    held = np.cumsum(values) / max(float(values.sum()), np.finfo(float).tiny)
    kept = int(np.searchsorted(held, variance - 1e-12)) + 1
    return min(kept, candidates.rank)


def off_hull(candidates: Moments, vector: np.ndarray, rank: int) -> np.ndarray:
    """The part of a vector (d,) orthogonal to the candidates' first ``rank`` directions.

    Projected twice, so that what is left is orthogonal to rounding; what is shorter than 1e-10 of
    the vector is rounding itself and becomes exactly zero.
    """
    basis = candidates.spectrum[1][:, :rank]
    part = vector - basis @ (basis.T @ vector)
    part = part - basis @ (basis.T @ part)
    if length(part) <= NEGLIGIBLE * length(vector):
        return np.zeros_like(part)
    return part
