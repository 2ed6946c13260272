"""Made-up rows, for timing and memory only. No figure of quality is ever taken from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MADE_UP = "made-up correlated rows, for timing only"
BLOCK = 8192


def blocks(rows: int, dim: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Correlated float32 rows with a common offset, block by block (b, dim)."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dim, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    offset = rng.standard_normal(dim, dtype=np.float32)
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        yield rng.standard_normal((count, dim), dtype=np.float32) @ mix + offset


def array(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """The same rows (rows, dim) in memory."""
    out = np.empty((rows, dim), np.float32)
    for number, block in enumerate(blocks(rows, dim, seed)):
        out[number * BLOCK : number * BLOCK + len(block)] = block
    return out


def pairs(rows: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sides that share a signal and lie apart: unit rows (rows, dim) each."""
    rng = np.random.default_rng([seed, 1])
    common = array(rows, dim, seed)
    sides = []
    for _ in range(2):
        own = rng.standard_normal((rows, dim), dtype=np.float32)
        apart = rng.standard_normal(dim, dtype=np.float32)
        side = common + np.float32(0.8) * own + np.float32(0.7) * apart
        sides.append(side / np.linalg.norm(side, axis=1, keepdims=True))
    return sides[0], sides[1]
