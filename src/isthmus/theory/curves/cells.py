"""Leads in cells: how many rivals lie where, and the table that turns counts into a product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CELL = 1 / 6
"""Width of a cell, in units of a lead."""

Table = np.ndarray
"""log Φ(-w) in each cell, then its first and half its second derivative in the lead: (3, cells,
nodes), as (3 · cells, nodes)."""


def count_leads(query: np.ndarray, lead: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rivals in each cell of their lead, and two moments inside it: (queries, 3 · cells)."""
    count, cells = shape
    cell = np.rint(lead * lead.dtype.type(1 / CELL))
    rest = lead - cell * lead.dtype.type(CELL)
    key = query * cells + cell.astype(np.int64)
    out = np.empty((count, 3 * cells), np.float32)
    for i, weights in enumerate((None, rest, rest * rest)):
        found = np.bincount(key, weights, count * cells).reshape(shape)
        out[:, i * cells : (i + 1) * cells] = found
    out[:, 0] -= 1  # the winner is no rival of its own
    return out


def tabulated(w: Callable[[np.ndarray], np.ndarray], leads: np.ndarray, unit: float = 1.0) -> Table:
    """log Φ(-w) at (cells, nodes) and the two coefficients of the parabola inside each cell.

    ``unit`` is that of the cells, in leads.
    """
    from scipy.special import log_ndtr

    half = CELL / 2
    low, middle, high = (log_ndtr(-w(leads[:, None] + x * unit)) for x in (-half, 0.0, half))
    parts = (middle, (high - low) / CELL, (high - 2 * middle + low) / (2 * half**2))
    return np.concatenate(parts).astype(np.float32)
