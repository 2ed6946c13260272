"""A codec behind a random rotation: rows are turned, coded, decoded and turned back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.perturb.codecs.base import Codec, calibration_rows, checked


def random_rotation(dim: int, seed: int = 0) -> np.ndarray:
    """A random orthogonal matrix (dim, dim) float64, uniform over all of them; O(dim³).

    The QR factor of Gaussian numbers with the signs of R's diagonal taken out (Mezzadri, "How to
    generate random matrices from the classical compact groups", 2007).
    """
    normal = np.random.default_rng(seed).standard_normal((dim, dim))
    q, r = np.linalg.qr(normal)
    return q * np.sign(np.diag(r))


@dataclass(frozen=True, eq=False)
class Rotated:
    """``inner`` codes rows @ ``rotation``.T; what comes back is turned back.

    Rotations keep dot products and distances, so only the codec's own loss changes: a mean that
    lies in a few coordinates is spread over all of them.
    """

    inner: Codec
    rotation: np.ndarray

    @property
    def name(self) -> str:
        """Its name in the table."""
        return f"rotated-{self.inner.name}"

    def turned(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) as the inner codec sees them, float64."""
        rows = checked(np.asarray(rows, np.float64), len(self.rotation), self.name)
        return rows @ self.rotation.T

    def through(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) float64 as the codec gives them back."""
        return self.inner.through(self.turned(rows)).astype(np.float64) @ self.rotation

    def bytes_per_vector(self, dim: int) -> float:
        """Storage of one row: the inner codec's."""
        return self.inner.bytes_per_vector(dim)

    def offsets(
        self, rows: np.ndarray, score: str, coded: np.ndarray | None = None
    ) -> np.ndarray | None:
        """The inner codec's exact numbers with the codes, (K,), or None."""
        ask = getattr(self.inner, "offsets", None)
        return None if ask is None else ask(self.turned(rows), score)

    def query_through(self, rows: np.ndarray) -> np.ndarray:
        """Float queries (n, d) as the inner codec compares them."""
        ask = getattr(self.inner, "query_through", None)
        if ask is None:
            return rows
        return np.asarray(ask(self.turned(rows)), np.float64) @ self.rotation


def turned_calibration(
    calibration: np.ndarray, name: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rotation, calibration rows turned by it).

    Raises:
        ShapeError, OptionError: no rows, or values that are not finite.
    """
    rows = calibration_rows(calibration, name).astype(np.float64)
    rotation = random_rotation(rows.shape[1], seed)
    return rotation, rows @ rotation.T
