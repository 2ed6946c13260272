"""One byte a coordinate from each coordinate's own minimum and maximum.

These are the ``int8`` and ``uint8`` precisions of sentence-transformers' ``quantize_embeddings``
since its version 6: 255 steps between the extremes of the calibration rows, cut down, clipped.
Versions up to 5.7 cast without clipping, so that values outside the ranges wrap around, and cut
``int8`` towards zero, which makes its cell 0 twice as wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.perturb.codecs.base import calibration_rows, checked

STEPS = 255


@dataclass(frozen=True, eq=False)
class MinMaxBytes:
    """Codes 0 to 255 (``uint8``) or -128 to 127 (``int8``) between ``low`` and ``high``, (d,)
    float32 each.

    ``decoded=False`` gives the codes back as they are, as numbers: what a store compares that takes
    int8 vectors and knows nothing of ranges. Each coordinate is then divided by its own range, so
    scores are not scores of the rows any more.
    """

    low: np.ndarray
    high: np.ndarray
    signed: bool = True
    decoded: bool = True

    @classmethod
    def fit(
        cls, calibration: np.ndarray, *, signed: bool = True, decoded: bool = True
    ) -> MinMaxBytes:
        """Each coordinate's range over the calibration rows (n, d).

        Raises:
            ShapeError, OptionError: no rows, or values that are not finite.
        """
        rows = calibration_rows(calibration, "int8" if signed else "uint8")
        low, high = (rows.min(axis=0), rows.max(axis=0))
        return cls(low.astype(np.float32), high.astype(np.float32), signed, decoded)

    @property
    def name(self) -> str:
        """Its name in the table."""
        return ("int8" if self.signed else "uint8") + ("" if self.decoded else "-codes")

    @property
    def step(self) -> np.ndarray:
        """Width of a cell of each coordinate, (d,); 1 where there is no range."""
        step = (self.high - self.low) / np.float32(STEPS)
        return np.where(step == 0, np.float32(1), step)

    @property
    def last_code(self) -> int:
        """The largest code, counted from zero."""
        return STEPS

    def unclipped(self, rows: np.ndarray) -> np.ndarray:
        """Whole numbers (n, d), counted from zero, as a cast cuts them, before clipping."""
        rows = checked(np.asarray(rows), len(self.low), self.name)
        return np.trunc((rows - self.low) / self.step)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Codes (n, d) int8 or uint8; outside values take the first or last."""
        codes = np.clip(self.unclipped(rows), 0, STEPS)
        return (codes - 128).astype(np.int8) if self.signed else codes.astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Middles of cells (n, d) float64; the last code is the maximum, a constant is itself."""
        cells = codes.astype(np.float64) + (128 if self.signed else 0)
        found: np.ndarray = self.low + np.minimum(cells + 0.5, STEPS) * self.step.astype(np.float64)
        return np.clip(found, self.low, self.high)

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 as the codec gives them back."""
        codes = self.encode(rows)
        return self.decode(codes) if self.decoded else codes.astype(np.float64)

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row."""
        return float(dim)
