"""Gaussian noise on rows, seeded so that the numbers never depend on how the work is cut.

Noise comes in blocks of ``BLOCK_ROWS`` rows. Each block has its own generator, seeded by (seed,
trial, role, level, block), so any block size, any order and any number of processes give the same
noise. Closers under test meet the same noise (common random numbers).

Levels are variances. E‖ε‖² of the whole vector is ``total``; see
:func:`isthmus.core.levels.total_variance` for the other two conventions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

BLOCK_ROWS = 1024
_ROLES = {"query": 0, "candidate": 1}


def gaussian(
    rows: int,
    dim: int,
    total: float,
    *,
    seed: int,
    trial: int,
    role: str,
    level: float,
    dtype: type[np.floating] = np.float32,
) -> np.ndarray:
    """Isotropic Gaussian noise (rows, dim) with E‖ε‖² = ``total`` for each row.

    Args:
        rows, dim: shape. total: variance of a whole vector.
        seed, trial, role, level: name the stream; ``role`` is ``query`` or ``candidate``.
        dtype: float32 or float64 of what comes out; the draws are the same float32 numbers.
    """
    out = np.empty((rows, dim), dtype)
    for start, block in gaussian_blocks(
        rows, dim, total, seed=seed, trial=trial, role=role, level=level
    ):
        out[start : start + len(block)] = block
    return out


def uniform(
    rows: int, dim: int, total: float, *, seed: int, trial: int, role: str, level: float
) -> np.ndarray:
    """Noise from a box, (rows, dim) float32: as :func:`gaussian`, the same E‖ε‖² = ``total``.

    Each coordinate is uniform within ±√(3 total / d), the error of a dithered uniform quantiser.
    """
    half = np.float32(np.sqrt(3 * total / dim))
    out = np.empty((rows, dim), np.float32)
    for start, count, rng in _streams(rows, seed, trial, role, level):
        drawn = rng.random((count, dim), dtype=np.float32)
        out[start : start + count] = (2 * drawn - 1) * half
    return out


def gaussian_blocks(
    rows: int, dim: int, total: float, *, seed: int, trial: int, role: str, level: float
) -> Iterator[tuple[int, np.ndarray]]:
    """The same noise block by block: (first row, (b, dim) float32), b <= ``BLOCK_ROWS``."""
    scale = np.float32(np.sqrt(total / dim))
    for start, count, rng in _streams(rows, seed, trial, role, level):
        yield start, rng.standard_normal((count, dim), dtype=np.float32) * scale


def _streams(
    rows: int, seed: int, trial: int, role: str, level: float
) -> Iterator[tuple[int, int, np.random.Generator]]:
    """(first row, rows, generator) of each block."""
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        rng = np.random.Generator(np.random.SFC64(stream(seed, trial, role, level, block)))
        yield start, min(BLOCK_ROWS, rows - start), rng


def stream(seed: int, trial: int, role: str, level: float, block: int) -> np.random.SeedSequence:
    """The seed of one noise block. The level enters by its bits, so a grid may grow freely."""
    low, high = struct.unpack("<II", struct.pack("<d", float(level)))
    return np.random.SeedSequence([seed, trial, _ROLES[role], low, high, block])
