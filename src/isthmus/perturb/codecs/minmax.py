"""One byte a coordinate from each coordinate's own minimum and maximum.

These are the ``int8`` and ``uint8`` precisions of sentence-transformers' ``quantize_embeddings``:
255 steps between the extremes of the calibration rows, cut towards zero. Inside the ranges the
codes are the same; outside, that function's cast wraps around and here they saturate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.perturb.codecs.base import calibration_rows, checked

STEPS = 255


@dataclass(frozen=True, eq=False)
class MinMaxBytes:
    """Codes 0 to 255 (``uint8``) or -128 to 127 (``int8``) between ``low`` and ``high``, (d,) each.

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
        rows = calibration_rows(calibration, "int8" if signed else "uint8").astype(np.float64)
        return cls(rows.min(axis=0), rows.max(axis=0), signed, decoded)

    @property
    def name(self) -> str:
        """Its name in the table."""
        return ("int8" if self.signed else "uint8") + ("" if self.decoded else "-codes")

    @property
    def step(self) -> np.ndarray:
        """Width of a cell of each coordinate, (d,)."""
        return (self.high - self.low) / STEPS

    @property
    def last_code(self) -> int:
        """The largest code, counted from zero."""
        return STEPS

    def unclipped(self, rows: np.ndarray) -> np.ndarray:
        """Whole numbers (n, d) float64, counted from zero, before clipping."""
        rows = checked(np.asarray(rows), len(self.low), self.name)
        step = self.step
        cells = (rows - self.low) / np.where(step > 0, step, np.inf)
        return np.trunc(cells - 128) + 128 if self.signed else np.trunc(cells)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Codes (n, d) int8 or uint8; outside values take the first or last."""
        codes = np.clip(self.unclipped(rows), 0, STEPS)
        constant = self.step == 0  # the one value there is takes the first code
        codes[:, constant] = 0
        return (codes - 128).astype(np.int8) if self.signed else codes.astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Middles of cells (n, d) float64; the first and last code of int8 are the extremes.

        Cutting towards zero makes the cell of int8's code 0 twice as wide as the others.
        """
        cells = codes.astype(np.float64)
        middle = cells + (0.5 * np.sign(cells) if self.signed else 0.5)
        first, last = (-128.0, 127.0) if self.signed else (0.0, 255.0)
        middle = np.where(cells == last, last, middle)
        if self.signed:
            middle = np.where(cells == first, first, middle)
        out = self.low + (middle - first) * self.step
        return np.clip(out, self.low, self.high)

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 as the codec gives them back."""
        codes = self.encode(rows)
        return self.decode(codes) if self.decoded else codes.astype(np.float64)

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row."""
        return float(dim)
