"""Leads in bins: how many rivals lie where, and the table that turns counts into a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

BIN = 1 / 6
"""Width of a bin, in units of a lead."""

LogTable = np.ndarray
"""log Φ(-w) in each bin, then its first and half its second derivative in the lead: (3, bins,
nodes), as (3 · bins, nodes)."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes t (m,) of the integral for rows of ``dim`` coordinates; tables made so far, by key."""

    dim: int
    t: np.ndarray
    tables: dict[tuple[float, int], LogTable] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LevelGroup:
    """Levels that are counted in the same bins.

    ``levels``: their numbers, in falling order; ``reach``, ``leads`` (bins,) in units of the last;
    ``table`` of all of them, (3 · bins, levels · nodes), under dot.
    """

    levels: np.ndarray
    reach: float
    leads: np.ndarray
    table: LogTable | None


def count_leads(query: np.ndarray, lead: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rivals in each bin of their lead, and two moments inside it: (queries, 3 · bins)."""
    count, bins = shape
    place = np.rint(lead * lead.dtype.type(1 / BIN))
    rest = lead - place * lead.dtype.type(BIN)
    key = query * bins + place.astype(np.int64)
    out = np.empty((count, 3 * bins), np.float32)
    for i, weights in enumerate((None, rest, rest * rest)):
        found = np.bincount(key, weights, count * bins).reshape(shape)
        out[:, i * bins : (i + 1) * bins] = found
    out[:, 0] -= 1  # the winner is no rival of its own
    return out


def tabulated(
    w: Callable[[np.ndarray], np.ndarray], leads: np.ndarray, unit: float = 1.0
) -> LogTable:
    """log Φ(-w) at (bins, nodes) and the two coefficients of the parabola inside each bin.

    ``unit`` is that of the bins, in leads.
    """
    from scipy.special import log_ndtr

    half = BIN / 2
    low, middle, high = (log_ndtr(-w(leads[:, None] + x * unit)) for x in (-half, 0.0, half))
    parts = (middle, (high - low) / BIN, (high - 2 * middle + low) / (2 * half**2))
    return np.concatenate(parts).astype(np.float32)
