"""Rows are summarised once: count, mean and scatter, as records that merge.

Nearly the whole gap report and every closer's fit need nothing else, so a file larger than
memory, a thousand shards or a cluster are a fold of :meth:`Moments.merge` (Chan, Golub and
LeVeque's pairwise update, https://doi.org/10.1080/00031305.1983.10483115).

Precision. Rows are shifted by a pivot near their mean before anything is multiplied, the
products of one chunk are formed in the rows' own working dtype (float32 for float16 and float32
rows, float64 for float64 rows), and everything beyond a chunk is summed in float64. A shift by a
nearby pivot is exact in floating point, so a mean 100 times the standard deviation costs nothing;
the pivot is a number of the rows' own dtype, so that float16 rows keep their short mantissas and
equal products do not all round the same way.
``precise=True`` forms the products in float64 as well, which the exact rank of a small gallery
needs (:attr:`Moments.resolution` remembers which it was).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from isthmus.core.arrays import EPS32, EPS64, Array, namespace, to_numpy
from isthmus.data.chunk_sums import Side
from isthmus.data.saved import Parts, SavedRecord
from isthmus.errors import NotPaired, ShapeError, ValuesError

CHUNK = 8192
"""Rows multiplied at once: large enough for BLAS, small enough that float32 sums stay short."""

SUBSPACE_K = 10
"""Leading directions whose overlap is measured."""


@dataclass(frozen=True, eq=False)
class Moments(SavedRecord):
    """Count, mean (d,) and scatter (d, d) of one modality; float64, frozen, mergeable.

    ``scatter`` is the sum of ``(x - mean)(x - mean)ᵀ`` over the rows. ``resolution`` is the
    relative size below which an eigenvalue of it is rounding: about 1e-13 for float64 products,
    1e-6 for float32 ones. ``normalised`` says whether the rows were divided by their norms before
    they were summed; None: not known (rows of a caller who did not say, or an old file).
    """

    KIND: ClassVar[str] = "moments"
    MADE_BY: ClassVar[str] = "Moments.save"
    OLDEST: ClassVar[int | None] = 1

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    resolution: float = 0.0
    normalised: bool | None = None

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """Moments of no rows: the neutral element of :meth:`merge`."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    @classmethod
    def of(cls, rows: Array, *, precise: bool = False, normalised: bool | None = None) -> Moments:
        """Moments of rows in memory, (n, d) of any float dtype; O(n d²) time, O(d²) memory.

        NumPy arrays and array-API tensors take the same code and stay on their device; only the
        (d,) and (d, d) results of each chunk come to the host. Rows are taken as they are:
        ``normalised`` is what the caller knows of them.
        """
        return cls.over([rows], int(rows.shape[1]), precise=precise, normalised=normalised)

    @classmethod
    def over(
        cls,
        blocks: Iterable[Array],
        dim: int,
        *,
        precise: bool = False,
        normalised: bool | None = None,
    ) -> Moments:
        """Moments of a stream of blocks, each (b, d) with any b, also 0."""
        fold = Fold(dim, None, precise, normalised)
        for block in blocks:
            fold.add(block, None)
        return fold.moments_a()

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of rows. Associative and commutative up to float64 rounding.

        Where only one of the two says whether its rows were normalised, the result does not.

        Raises:
            ShapeError: the dimensions differ.
            ValuesError: rows of one were normalised and rows of the other were not.
        """
        _same_dim(self.dim, other.dim)
        if self.count == 0:
            return other
        if other.count == 0:
            return self
        count = self.count + other.count
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(delta, delta) * (self.count * (other.count / count))
        mean = self.mean + delta * (other.count / count)
        if {self.normalised, other.normalised} == {True, False}:
            raise ValuesError(
                "normalised-differs",
                "moments of normalised rows cannot be merged with moments of rows that were not "
                "normalised; sum both over rows of one kind",
            )
        normalised = self.normalised if self.normalised == other.normalised else None
        return Moments(count, mean, scatter, max(self.resolution, other.resolution), normalised)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return len(self.mean)

    def covariance(self, *, ddof: int = 0) -> np.ndarray:
        """Covariance (d, d); ``ddof=0`` is the population form the gap metrics use."""
        return self.scatter / max(self.count - ddof, 1)

    @property
    def total_variance(self) -> float:
        """Trace of the population covariance: mean squared distance to the mean."""
        return float(np.trace(self.scatter)) / max(self.count, 1)

    def variance_along(self, direction: np.ndarray) -> float:
        """Population variance along a direction (d,) of any length; 0 for the zero direction."""
        length = float(direction @ direction)
        if length == 0:
            return 0.0
        along = float(direction @ self.scatter @ direction)  # rounding may leave it below zero
        return max(along, 0.0) / length / max(self.count, 1)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues (d,) of the population covariance, largest first, with vectors (d, d)."""
        values, vectors = np.linalg.eigh(self.covariance())
        return np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])

    @property
    def rank(self) -> int:
        """Directions in which rows differ by more than rounding (affine hull's dimension)."""
        values = self.spectrum[0]
        floor = max(self.resolution, EPS64 * self.dim) * (values[0] if len(values) else 0.0)
        return int(min((values > floor).sum(), max(self.count - 1, 0)))

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the normalised spectrum (Roy and Vetterli 2007)."""
        values = self.spectrum[0]
        total = values.sum()
        if total <= 0:
            return 0.0
        share = values[values > 0] / total
        return float(np.exp(-(share * np.log(share)).sum()))

    @property
    def participation_ratio(self) -> float:
        """(tr Σ)² / ‖Σ‖²_F: how many equal directions would give the same spectrum."""
        norm = float((self.scatter**2).sum())
        return float(np.trace(self.scatter)) ** 2 / norm if norm > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """What is to be read of them, without their arrays."""
        variance = self.total_variance
        about = {"count": self.count, "dim": self.dim, "total_variance": variance}
        return about | {"normalised": self.normalised}

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, _tensors(self, "")

    @classmethod
    def _from_parts(cls, parts: Parts) -> Moments:
        return _from_tensors(parts, "")


@dataclass(frozen=True, eq=False)
class PairMoments(SavedRecord):
    """Moments of two paired modalities and their cross scatter (d_a, d_b).

    ``cross`` is the sum of ``(x - mean_a)(y - mean_b)ᵀ`` over pairs.
    """

    KIND: ClassVar[str] = "pair-moments"
    MADE_BY: ClassVar[str] = "PairMoments.save"
    OLDEST: ClassVar[int | None] = 1

    a: Moments
    b: Moments
    cross: np.ndarray

    @classmethod
    def empty(cls, dim_a: int, dim_b: int) -> PairMoments:
        """Moments of no pairs."""
        return cls(Moments.empty(dim_a), Moments.empty(dim_b), np.zeros((dim_a, dim_b)))

    @classmethod
    def of(
        cls, a: Array, b: Array, *, precise: bool = False, normalised: bool | None = None
    ) -> PairMoments:
        """Moments of pairs in memory: row i of ``a`` (n, d_a) belongs to row i of ``b`` (n, d_b).

        Raises:
            NotPaired: the lengths differ.
        """
        dims = int(a.shape[1]), int(b.shape[1])
        return cls.over([(a, b)], *dims, precise=precise, normalised=normalised)

    @classmethod
    def over(
        cls,
        blocks: Iterable[tuple[Array, Array]],
        dim_a: int,
        dim_b: int,
        *,
        precise: bool = False,
        normalised: bool | None = None,
    ) -> PairMoments:
        """Moments of a stream of pairs of blocks."""
        fold = Fold(dim_a, dim_b, precise, normalised)
        for a, b in blocks:
            fold.add(a, b)
        return fold.pair_moments()

    def merge(self, other: PairMoments) -> PairMoments:
        """Moments of both sets of pairs."""
        a, b = self.a.merge(other.a), self.b.merge(other.b)
        if not (self.count and other.count):
            return self if self.count else other
        weight = self.count * (other.count / a.count)
        jump = np.outer(other.a.mean - self.a.mean, other.b.mean - self.b.mean)
        return PairMoments(a, b, self.cross + other.cross + jump * weight)

    def reversed(self) -> PairMoments:
        """The same pairs with the sides exchanged."""
        return PairMoments(self.b, self.a, self.cross.T)

    @property
    def count(self) -> int:
        """Number of pairs."""
        return self.a.count

    @property
    def normalised(self) -> bool | None:
        """Whether rows of both sides were normalised; None: not known, or the sides differ."""
        return self.a.normalised if self.a.normalised == self.b.normalised else None

    @property
    def matched_dot(self) -> float:
        """Mean of ⟨x_i, y_i⟩: the mean matched cosine where rows are unit."""
        return float(np.trace(self.cross)) / max(self.count, 1) + float(self.a.mean @ self.b.mean)

    def to_dict(self) -> dict[str, Any]:
        """What is to be read of them, without their arrays."""
        return {"count": self.count, "a": self.a.to_dict(), "b": self.b.to_dict()}

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {**_tensors(self.a, "a."), **_tensors(self.b, "b."), "cross": self.cross}

    @classmethod
    def _from_parts(cls, parts: Parts) -> PairMoments:
        a, b = (_from_tensors(parts, side) for side in ("a.", "b."))
        if a.count != b.count:
            raise ValueError(f"counts are {a.count} and {b.count}")
        return cls(a, b, parts.array("cross", a.dim, b.dim))


class Fold:
    """The running sums behind ``over``: chunk products about a pivot, float64 beyond one chunk.

    With P = Σ(x-p)(x-p)ᵀ and m = mean(x-p) about the pivot p, a chunk's scatter is P - c m mᵀ.
    The pivot is the running mean (at the start, that of the first rows), so it costs no extra pass
    over the rows; chunks are then merged as :meth:`Moments.merge` does.
    """

    def __init__(
        self, dim_a: int, dim_b: int | None, precise: bool, normalised: bool | None
    ) -> None:
        self.precise = precise
        self.normalised = normalised
        self.a = Side(dim_a)
        self.b = Side(dim_b) if dim_b is not None else None
        self.cross = np.zeros((dim_a, dim_b)) if dim_b is not None else None
        self.resolution = 0.0

    def add(self, block_a: Array, block_b: Array | None) -> None:
        rows = int(block_a.shape[0])
        _same_dim(self.a.dim, int(block_a.shape[1]))
        if self.b is not None and block_b is not None:
            _same_dim(self.b.dim, int(block_b.shape[1]))
            if int(block_b.shape[0]) != rows:
                raise NotPaired(
                    "unequal-lengths",
                    f"{rows} rows on one side and {int(block_b.shape[0])} on the other; "
                    "pairs need row i of both",
                )
        sides = [block_a] if block_b is None else [block_a, block_b]
        # a cross product needs one dtype, so one double side makes both double
        double = self.precise or any(side.dtype == namespace(side).float64 for side in sides)
        for start in range(0, rows, CHUNK):
            stop = min(start + CHUNK, rows)
            y = None if block_b is None else block_b[start:stop, :]
            self._chunk(block_a[start:stop, :], y, double, stop - start)

    def _chunk(self, x: Array, y: Array | None, double: bool, count: int) -> None:
        shifted, about, jump, weight = self.a.step(x, double, count)
        self._note_dtype(shifted)
        if y is None or self.b is None or self.cross is None:
            return
        shifted_y, about_y, jump_y, _ = self.b.step(y, double, count)
        self._note_dtype(shifted_y)
        xp = namespace(shifted, shifted_y)
        self.cross += to_numpy(xp.matmul(xp.matrix_transpose(shifted), shifted_y))
        self.cross -= np.outer(about * count, about_y)
        self.cross += np.outer(jump * weight, jump_y)

    def _note_dtype(self, shifted: Array) -> None:
        single = shifted.dtype == namespace(shifted).float32
        self.resolution = max(self.resolution, 8 * EPS32 if single else 64 * EPS64)

    def moments_a(self) -> Moments:
        return _moments(self.a, self.resolution, self.normalised)

    def pair_moments(self) -> PairMoments:
        assert self.b is not None
        assert self.cross is not None
        about = self.resolution, self.normalised
        return PairMoments(_moments(self.a, *about), _moments(self.b, *about), self.cross)


def _moments(side: Side, resolution: float, normalised: bool | None) -> Moments:
    scatter = (side.scatter + side.scatter.T) / 2
    return Moments(side.count, side.mean, scatter, resolution, normalised)


def _same_dim(expected: int, got: int) -> None:
    if expected != got:
        raise ShapeError(
            "unequal-dimensions",
            f"moments of {expected} dimensions cannot take rows of {got} dimensions",
        )


def _tensors(moments: Moments, prefix: str) -> dict[str, np.ndarray]:
    tensors = {
        f"{prefix}count": np.array([moments.count], np.int64),
        f"{prefix}mean": moments.mean,
        f"{prefix}scatter": moments.scatter,
        f"{prefix}resolution": np.array([moments.resolution]),
    }
    if moments.normalised is not None:
        tensors[f"{prefix}normalised"] = np.array([moments.normalised])
    return tensors


def _from_tensors(parts: Parts, prefix: str) -> Moments:
    (count,), (resolution,) = (parts.array(prefix + n, 1) for n in ("count", "resolution"))
    mean = parts.array(f"{prefix}mean", None)
    scatter = parts.array(f"{prefix}scatter", len(mean), len(mean))
    name = f"{prefix}normalised"
    normalised = bool(parts.array(name, 1)[0]) if name in parts.arrays else None
    if count < 0 or resolution < 0 or not len(mean):
        raise ValueError(f"count {count}, resolution {resolution}, {len(mean)} dimensions")
    return Moments(int(count), mean, scatter, float(resolution), normalised)


def subspace_overlap(a: Moments, b: Moments, k: int = SUBSPACE_K) -> float | None:
    """(1/k) ‖U_aᵀ U_b‖²_F of the k leading principal directions: 1 the same, k/d by chance."""
    k = min(k, a.rank, b.rank)
    if k == 0:
        return None
    product = a.spectrum[1][:, :k].T @ b.spectrum[1][:, :k]
    return float((product**2).sum() / k)
