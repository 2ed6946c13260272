"""What kind of error a codec makes on rows: its size, its covariance, and whether it leans on x.

Additive-noise theory (flip probabilities, certified radii, the ridge query shift) takes e = x̂ - x
to be unrelated to x. An unbiased quantiser has ⟨x, e⟩ about 0. A codebook whose entries are means
of their cells has E[x | x̂] = x̂, so ⟨x, e⟩ = -‖e‖² on average: rows are pulled in, badly coded rows
most, and the theory does not apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from isthmus.errors import ShapeError
from isthmus.perturb.codecs.base import Codec

ErrorKind = Literal["none", "additive", "residual", "clipped", "leaning"]

SMALL_SLOPE = 0.02
RESIDUAL = (-1.15, -0.55)
BLOCK = 512
"""Rows whose errors are held at once: caches hold them."""


@dataclass(frozen=True, eq=False)
class CodecError:
    """The error e = x̂ - x of a codec over rows x, all about means over the rows where it says so.

    Attributes:
        rows: how many rows were coded.
        mean: E e, (d,). One constant moves every candidate alike and changes no dot ranking.
        variance: of e per dimension about its mean, (d,). covariance: full, (d, d), or None.
        squared: E‖e‖². inner: E⟨x, e⟩. ratio: inner / squared, with x and e as they are.
        correlation: of ⟨x, e⟩ with ‖e‖² over rows, as they are; NaN where one is constant.
        centred_ratio: tr Cov(x, e) / tr Cov(e): 0 for unbiased quantisers, -1 for the means of
            cells, below where clipping is most of the error.
        slope: tr Cov(x, e) / tr Cov(x): by which share scores shrink (negative) or grow.
    """

    rows: int
    mean: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray | None
    squared: float
    inner: float
    ratio: float
    correlation: float
    centred_ratio: float
    slope: float

    @property
    def per_dimension(self) -> float:
        """Mean variance per dimension: σ² of the ridge query shift."""
        return float(self.variance.mean())

    @property
    def shaped(self) -> np.ndarray:
        """Σ_ε (d, d): the full covariance where it was asked for, else the diagonal one."""
        return np.diag(self.variance) if self.covariance is None else self.covariance

    @property
    def kind(self) -> ErrorKind:
        """``none``, ``additive``, ``residual``, ``clipped`` or ``leaning``; see ``words``."""
        if not self.variance.any():
            return "none"
        if abs(self.slope) <= SMALL_SLOPE:
            return "additive"
        low, high = RESIDUAL
        if self.centred_ratio < low:
            return "clipped"
        return "residual" if self.centred_ratio <= high else "leaning"

    @property
    def words(self) -> str:
        """Whether additive-noise theory applies, in one sentence."""
        change = f"{abs(self.slope):.0%} {'smaller' if self.slope < 0 else 'larger'}"
        return {
            "none": "The codec gives these rows back up to a constant.",
            "additive": (
                f"The error does not lean on the row (slope {self.slope:+.4f}): additive-noise "
                f"theory applies with variance {self.per_dimension:.3g} per dimension."
            ),
            "residual": (
                f"The error is the row's own residual (⟨x, e⟩ = {self.centred_ratio:.2f} ‖e‖² "
                f"about the mean, scores {change}): additive-noise theory does not apply; badly "
                "coded rows are pulled in most."
            ),
            "clipped": (
                f"Clipping is most of the error (⟨x, e⟩ = {self.centred_ratio:.2f} ‖e‖² about the "
                f"mean, scores {change}): additive-noise theory does not apply; fit the ranges on "
                "rows like these."
            ),
            "leaning": (
                f"The error leans on the row (scores {change}, ⟨x, e⟩ = {self.centred_ratio:+.2f} "
                "‖e‖² about the mean): additive-noise theory holds only roughly."
            ),
        }[self.kind]


def measure_error(
    codec: Codec, rows: np.ndarray, *, full: bool = False, coded: np.ndarray | None = None
) -> CodecError:
    """The error of a codec on rows (n, d) float; O(n d), or O(n d²) for the ``full`` covariance.

    Measure it on rows the codec was not fitted on, in the same place: codecs of centred rows on
    centred rows. ``coded``: the rows as the codec gives them back, where they are known already.

    Raises:
        ShapeError: fewer than 2 rows, or dimensions that do not fit.
    """
    x = np.asarray(rows, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ShapeError(
            "too-few-rows", f"rows have shape {x.shape}; the error needs (n, d) with 2 rows or more"
        )
    inner, squared = np.empty(len(x)), np.empty(len(x))
    mean, middle, variance = np.zeros((3, x.shape[1]))
    covariance, first = np.zeros((x.shape[1],) * 2) if full else None, np.zeros(x.shape[1])
    shared = spread = 0.0
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        some = slice(start, start + len(part))
        e = np.asarray(codec.through(part) if coded is None else coded[some], np.float64) - part
        inner[some], squared[some] = _products(part, e), _products(e, e)
        first = first if start else e[0].copy()
        e -= first  # a constant error leaves no rounding
        mean += e.sum(axis=0)
        middle += part.sum(axis=0)
        variance += np.einsum("ij,ij->j", e, e)
        shared += float(_products(part, e).sum())
        spread += float(_products(part, part).sum())
        if covariance is not None:
            covariance += e.T @ e
    mean, middle = mean / len(x), middle / len(x)
    variance = np.maximum(variance / len(x) - mean * mean, 0.0)
    shared, spread = (
        shared - len(x) * float(middle @ mean),
        spread - len(x) * float(middle @ middle),
    )
    own = float(variance.sum()) * len(x)
    varied = bool(inner.std() > 0 and squared.std() > 0)
    return CodecError(
        rows=len(x),
        mean=mean + first,
        variance=variance,
        covariance=None if covariance is None else covariance / len(x) - np.outer(mean, mean),
        squared=float(squared.mean()),
        inner=float(inner.mean()),
        ratio=_over(float(inner.mean()), float(squared.mean())),
        correlation=float(np.corrcoef(inner, squared)[0, 1]) if varied else float("nan"),
        centred_ratio=_over(shared, own),
        slope=_over(shared, spread),
    )


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
