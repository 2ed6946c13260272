"""Do a codec's ranges fit the rows that it is to code?

Ranges fitted on the other modality are the common mistake: the two means differ most in a few
coordinates, and these leave the range. A codec here saturates; a cast without clipping wraps
around, which turns the largest value into the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isthmus.errors import OptionError
from isthmus.perturb.codecs.base import Codec, RangedCodec
from isthmus.perturb.codecs.rotation import Rotated

OUTSIDE_VALUES = 0.015
"""Above it ranges do not fit: like rows leave 2 / (n + 1) outside ranges of n calibration rows."""


@dataclass(frozen=True)
class RangeLint:
    """How rows of one modality lie in a codec's ranges; shares from 0 to 1.

    Attributes:
        modality: the name given. codec: the codec's name. values: how many numbers were looked at.
        outside: share of values outside the range. outside_rows: share of rows with at least one.
        wrapped: share of values whose code a cast without clipping would wrap around.
        wrapped_rows: share of rows with at least one.
        worst: the dimension with most values outside, and the share of its values outside.
    """

    modality: str
    codec: str
    values: int
    outside: float
    outside_rows: float
    wrapped: float
    wrapped_rows: float
    worst: tuple[int, float]

    @property
    def fits(self) -> bool:
        """At most 1.5 % of the values outside.

        Ranges of each coordinate over n calibration rows leave 2 / (n + 1) of the values of like
        rows outside, on average: 0.8 % for 250.
        """
        return self.outside <= OUTSIDE_VALUES

    @property
    def words(self) -> str:
        """One sentence for a person."""
        found = (
            f"{self.outside:.2%} of the {self.modality} values, in {self.outside_rows:.0%} of the "
            f"rows, lie outside the ranges of {self.codec}"
        )
        wraps = f"a cast without clipping would wrap {self.wrapped:.2%} of the values"
        if self.fits:
            return f"{found}; {wraps}."
        dimension, share = self.worst
        return (
            f"{found} (dimension {dimension}: {share:.0%}): they saturate here, and {wraps}; fit "
            f"the ranges on {self.modality} rows, or on both modalities."
        )


def range_lints(codec: Codec, sides: Mapping[str, np.ndarray]) -> list[RangeLint]:
    """One lint per named set of rows (n, d): test rows, not the calibration rows; O(n d).

    Empty for a codec that has no ranges (half floats, sign bits, codebooks).

    Raises:
        OptionError: a side with no rows. ShapeError: dimensions that do not fit.
    """
    lints = []
    for modality, rows in sides.items():
        inside, stored = (
            (codec.inner, codec.turned(rows)) if isinstance(codec, Rotated) else (codec, rows)
        )
        if not isinstance(inside, RangedCodec):
            return []
        found = np.asarray(stored)
        if not found.size:
            raise OptionError("no-rows", f"side '{modality}' has no rows; give at least one")
        lints.append(_lint(inside, found, modality, codec.name))
    return lints


def _lint(codec: RangedCodec, rows: np.ndarray, modality: str, name: str) -> RangeLint:
    codes = codec.unclipped(rows)
    wrapped = (codes < 0) | (codes > codec.last_code)
    if isinstance(codec.low, np.ndarray):  # compared in the dtype the ranges are kept in
        rows = rows.astype(codec.low.dtype)
    outside = (rows < codec.low) | (rows > codec.high)
    by_dimension = outside.mean(axis=0)
    worst = int(by_dimension.argmax())
    return RangeLint(
        modality,
        name,
        int(rows.size),
        float(outside.mean()),
        float(outside.any(axis=1).mean()),
        float(wrapped.mean()),
        float(wrapped.any(axis=1).mean()),
        (worst, float(by_dimension[worst])),
    )
