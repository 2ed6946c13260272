"""What a codec is, and what the lints ask of one that has ranges."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from isthmus.errors import OptionError, ShapeError


@runtime_checkable
class Codec(Protocol):
    """A fitted, frozen codec of rows. Fit one with :func:`isthmus.perturb.codecs.fit_codec`.

    Two things are optional, because only one store needs them: ``offsets(rows, score, coded)``
    (K,), exact numbers that the store keeps with the codes and adds to the decoded score (``coded``
    are the rows as the codec gives them back), and
    ``query_through(rows)`` (n, d), what the store does to float queries before it compares.
    :func:`isthmus.perturb.codecs.coded_ranking` honours both.
    """

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) as the codec gives them back, float32 or float64."""
        ...

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row of ``dim`` coordinates, packed, codebooks and ranges left out."""
        ...


@runtime_checkable
class RangedCodec(Protocol):
    """A codec that cuts a calibrated range into whole numbers 0 to ``last_code``."""

    @property
    def low(self) -> Any:
        """Lower end of the range, one number or (d,)."""
        ...

    @property
    def high(self) -> Any:
        """Upper end of the range, one number or (d,)."""
        ...

    @property
    def last_code(self) -> int:
        """The largest code."""
        ...

    def unclipped(self, rows: np.ndarray) -> np.ndarray:
        """Whole numbers (n, d) before clipping: outside 0 to ``last_code`` a cast would wrap."""
        ...


def calibration_rows(rows: Any, name: str) -> np.ndarray:
    """Calibration rows (n, d) as a NumPy array.

    Raises:
        ShapeError: no two axes, or no rows. OptionError: a value that is not finite.
    """
    found = np.asarray(rows)
    if found.ndim != 2 or not found.size:
        raise ShapeError(
            "no-rows",
            f"{name} was given calibration rows of shape {found.shape}; expected (n, d), n > 0",
        )
    if not np.isfinite(found).all():
        raise OptionError(
            "not-finite",
            f"{name} was given calibration rows that are not finite; leave those rows out",
        )
    return found


def checked(rows: np.ndarray, dim: int, name: str) -> np.ndarray:
    """Rows (n, dim), or a refusal.

    Raises:
        ShapeError: another number of dimensions than the codec was fitted for.
    """
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ShapeError(
            "wrong-dim",
            f"rows have shape {rows.shape}, but {name} was fitted for {dim} dimensions; "
            "fit it on rows of the same model",
        )
    return rows
