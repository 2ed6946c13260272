"""Noise on rows, seeded so that the numbers never depend on how the work is cut.

Noise comes in blocks of ``BLOCK_ROWS`` rows. Each block has its own generator, seeded by (seed,
trial, role, level, block), so any block size, any order and any number of processes give the same
noise. Closers under test meet the same noise (common random numbers).

Levels are variances. E‖ε‖² of the whole vector is ``total``; see
:func:`isthmus.core.levels.total_variance` for the other two conventions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""(generator, shape) -> independent numbers of mean 0 and variance 1, float32."""
BLOCK_ROWS = 1024
_ROLES = {"query": 0, "candidate": 1}


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """White Gaussian draws, float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def box(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """White draws within ±√3, float32: the error of a dithered uniform quantiser."""
    return (2 * rng.random(shape, dtype=np.float32) - 1) * np.float32(np.sqrt(3))


def drawn(
    draw: Draw,
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
    """Noise (rows, dim) with E‖ε‖² = ``total`` for each row.

    Args:
        draw: white noise of one block, such as :func:`normal`.
        rows, dim: shape. total: variance of a whole vector.
        seed, trial, role, level: name the stream; ``role`` is ``query`` or ``candidate``.
        dtype: float32 or float64 of what comes out; the draws are the same float32 numbers.
    """
    out = np.empty((rows, dim), dtype)
    scale = np.float32(np.sqrt(total / dim))
    for start, count, rng in _streams(rows, seed, trial, role, level):
        out[start : start + count] = draw(rng, (count, dim)) * scale
    return out


gaussian = partial(drawn, normal)
"""Isotropic Gaussian noise: :func:`drawn` from :func:`normal`."""


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
