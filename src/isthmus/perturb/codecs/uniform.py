"""The two codecs that need no library: one shared range cut into equal bins, and sign bits.

:class:`UniformQuantiser` is the paper's: one range for all coordinates, cut into equal bins.
:class:`SignBits` keeps one bit a coordinate. Both decode, so any score can be taken afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.checks import in_range


@dataclass(frozen=True)
class UniformQuantiser:
    """``bins`` equal cells over [low, high], shared by all coordinates; decodes to cell centres."""

    bins: int
    low: float
    high: float

    @classmethod
    def fit(cls, calibration: np.ndarray, bins: int) -> UniformQuantiser:
        """The range of the calibration rows (n, d); values outside will saturate.

        Raises:
            OptionError: fewer than 2 or more than 65,536 bins.
        """
        in_range(bins, "bins", least=2, most=65536)
        return cls(bins, float(calibration.min()), float(calibration.max()))

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"bins-{self.bins}"

    @property
    def step(self) -> float:
        """Width of a cell."""
        return (self.high - self.low) / self.bins

    @property
    def last_code(self) -> int:
        """The largest code."""
        return self.bins - 1

    def unclipped(self, rows: np.ndarray) -> np.ndarray:
        """Whole numbers (n, d) float64 that :meth:`encode` clips; zero where there is no range."""
        if self.step == 0:
            return np.zeros(rows.shape)
        return np.floor((rows - self.low) / self.step)

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Codes (n, d) uint8 or uint16; outside values take the first or last cell."""
        if self.step == 0:
            return np.zeros(rows.shape, np.uint8)
        cells = np.clip(self.unclipped(rows), 0, self.last_code)
        return cells.astype(np.uint8 if self.bins <= 256 else np.uint16)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Cell centres (n, d) float64."""
        return self.low + (codes + 0.5) * self.step

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the codec gives them back."""
        return self.decode(self.encode(rows))

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row, packed."""
        return dim * np.ceil(np.log2(self.bins)) / 8


@dataclass(frozen=True)
class SignBits:
    """One bit a coordinate: ±``scale``, the mean absolute coordinate of the calibration rows.

    The one scale changes no ranking by sign bits alone (Hamming order); it puts decoded rows in
    the units of a stored bias.
    """

    scale: float

    @property
    def name(self) -> str:
        """Its name in the table."""
        return "sign"

    @classmethod
    def fit(cls, calibration: np.ndarray) -> SignBits:
        """The least-squares scale of the calibration rows (n, d)."""
        return cls(float(np.abs(calibration).mean()))

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Bits (n, ceil(d / 8)) uint8; zero and above is 1."""
        return np.packbits(rows >= 0, axis=1)

    def decode(self, codes: np.ndarray, dim: int) -> np.ndarray:
        """±scale (n, dim) float64."""
        bits = np.unpackbits(codes, axis=1, count=dim)
        return (bits * 2.0 - 1.0) * self.scale

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the codec gives them back."""
        return self.decode(self.encode(rows), rows.shape[1])

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row."""
        return np.ceil(dim / 8)
