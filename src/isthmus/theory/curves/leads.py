"""Leads in bins: how many rivals lie where, and the table that turns counts into a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

BIN = 1 / 6
"""Width of a bin, in units of a lead."""

LogTable = np.ndarray
"""log Φ(-w) in each bin, then its first and half its second derivative in the lead: (3, bins,
nodes), as (3 · bins, nodes); :func:`bent` adds four more."""


@dataclass(frozen=True, eq=False)
class Leads:
    """Leads of some rivals, (p,) each, in the winner's noise t: ``lead`` + t + ``slope`` · t +
    ``bend`` · t²; slope and bend are None where they are 0."""

    lead: np.ndarray
    slope: np.ndarray | None = None
    bend: np.ndarray | None = None

    def among(self, some: np.ndarray) -> Leads:
        """Those of some rivals, a mask or their places."""
        slope, bend = (None if x is None else x[some] for x in (self.slope, self.bend))
        return Leads(self.lead[some], slope, bend)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries with rivals within reach and these, the winner too, (p,) each: ``query`` rising.

    ``bias``: of the candidate; None: there are none. ``weight``: how many rows each stands for;
    None: one.
    """

    query: np.ndarray
    margin: np.ndarray
    bias: np.ndarray | None = None
    weight: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        scores: np.ndarray,
        level: np.ndarray,
        own: np.ndarray,
        ahead: np.ndarray,
        biases: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> Pairs:
        """Of scores (b, K) those of at least ``level`` (b,); ``own`` (b,) are the winners',
        ``ahead`` (b,) the best of the others.

        ``biases``: (K,) or (b, K). ``weights``: (b, K).
        """
        query, candidate, values = reached(scores, level, ahead)
        bias = biases
        if bias is not None:
            bias = bias[candidate] if bias.ndim == 1 else bias[query, candidate]
        weight = None if weights is None else weights[query, candidate]
        return cls(query, own[query] - values, bias, weight)

    def among(self, some: np.ndarray) -> Pairs:
        """Some of them, by their places."""
        bias, weight = (None if x is None else x[some] for x in (self.bias, self.weight))
        return Pairs(self.query[some], self.margin[some], bias, weight)


def best_other(scores: np.ndarray, aimed: np.ndarray) -> np.ndarray:
    """The best (b,) of scores (b, K) without the candidates ``aimed`` (b,)."""
    rows = np.arange(len(scores))
    own = scores[rows, aimed]
    scores[rows, aimed] = -np.inf
    found = scores.max(axis=1)
    scores[rows, aimed] = own
    return np.asarray(found)


def reached(
    scores: np.ndarray, level: np.ndarray, ahead: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, candidates and their scores, of (b, K), of at least ``level`` (b,), (p,) each, where
    others than the one aimed at reach it: the best of these, ``ahead`` (b,), does."""
    some = np.flatnonzero(ahead >= level)
    mine = scores if len(some) == len(scores) else scores[some]
    at = np.flatnonzero(mine >= level[some, None])
    query, candidate = np.divmod(at, scores.shape[1])
    return query if mine is scores else some[query], candidate, mine.ravel()[at]


def rivalled(query: np.ndarray) -> np.ndarray:
    """Which of some pairs (p,) are of a query that has more than one."""
    return np.asarray(np.bincount(query)[query] > 1)


def present(query: np.ndarray, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of some queries, from 0 on, numbers (p,) name, (m,), and the place of each number among
    these."""
    named = np.bincount(query, minlength=queries) > 0
    asked = np.flatnonzero(named)
    return asked, query if len(asked) == queries else (np.cumsum(named) - 1)[query]


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes t (m,) of the integral for rows of ``dim`` coordinates; tables made so far, by key."""

    dim: int
    t: np.ndarray
    tables: dict[tuple[float, int, int, bool], LogTable] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LevelGroup:
    """Levels that are counted in the same bins.

    ``levels``: their numbers, in falling order; ``reach``, ``leads`` (bins,) in units of the last;
    ``own``: the bin of lead 0; ``table`` of all of them, (3 · bins, levels · nodes), under dot.
    """

    levels: np.ndarray
    reach: float
    leads: np.ndarray
    own: int
    table: LogTable | None


def count_leads(
    query: np.ndarray,
    found: Leads,
    queries: int,
    group: LevelGroup,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Rivals in each bin of their lead, and moments inside it: (queries, 3 or 7 · bins).

    ``weight``: how many rows each rival stands for; None: one. A lead below the lowest bin counts
    in it: such a rival is as good as sure to win.
    """
    bins = len(group.leads)
    kind = found.lead.dtype.type
    # what is beyond reach counts in the highest bin, which is as good as nothing
    lead = np.minimum(found.lead, kind(BIN * (bins - 1 - group.own)))
    place = np.rint(lead * kind(1 / BIN))
    if group.own:
        place = np.maximum(place, kind(-group.own))
    key = query * bins
    key += place.astype(np.int64)
    if group.own:
        key += group.own
    place *= kind(BIN)
    rest = lead - place
    moments: list[np.ndarray | None] = [None, rest, rest * rest]
    if found.slope is not None:
        assert found.bend is not None
        moments += [found.slope, found.slope * rest, found.slope**2, found.bend]
    out = np.empty((queries, len(moments) * bins), np.float32)
    for i, moment in enumerate(moments):
        weights = moment if weight is None else weight if moment is None else moment * weight
        found_here = np.bincount(key, weights, queries * bins).reshape(queries, bins)
        out[:, i * bins : (i + 1) * bins] = found_here
    out[:, group.own] -= 1  # the winner is no rival of its own
    return out


def bent(table: LogTable, t: np.ndarray) -> LogTable:
    """The table (3 · bins, nodes) with rows for slopes and bends, (7 · bins, nodes): to the second
    order in what a lead gains, rest + slope · t + bend · t²."""
    _, first, second = np.split(table, 3)
    rows = (table, first * t, 2 * second * t, second * t**2, first * t**2)
    return np.concatenate(rows).astype(np.float32)


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
