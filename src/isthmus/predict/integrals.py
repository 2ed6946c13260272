"""One integral for every prediction: the winner's score against each rival's, independently.

    P[keep] = ∫ p_1(t) ∏_{j≠1} S_j(t) dt

over a coordinate t in which the winner's score is standard normal or nearly so. The trapezoid rule
halves its step until two steps agree: for these integrands (entire or analytic, falling like a
Gaussian) it converges faster than any power, so the last difference bounds the error with room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

REACH = 8.5
STEPS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
TOLERANCE = 1e-8
CHUNK = 2**20
"""Pairs × nodes held at once: 8 MB a temporary array."""


@dataclass(frozen=True, eq=False)
class Kept:
    """P[the answer survives] of each query.

    ``value`` (n,). ``error_bound`` (n,): quadrature, pruned candidates and series of tails; the
    exact probability is within it of ``value`` (0 where a closed form was used). ``standard_error``
    (n,): of the draws, 0 where there were none. ``method``: one line that says what was computed.
    """

    value: np.ndarray
    error_bound: np.ndarray
    standard_error: np.ndarray
    method: str


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rivals that are not pruned, query by query: ``query`` (p,) ascending, ``rival`` (p,)."""

    query: np.ndarray
    rival: np.ndarray

    @classmethod
    def of(cls, near: np.ndarray) -> Pairs:
        """From a mask (n, K)."""
        query, rival = np.nonzero(near)
        return cls(query, rival)

    def of_queries(self, wanted: np.ndarray) -> np.ndarray:
        """Positions of the pairs whose query is in the mask ``wanted`` (n,)."""
        return np.flatnonzero(wanted[self.query])


Winner = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(queries, t (m,)) -> density of the winner in t, (len(queries), m)."""
Survival = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(pair positions, t (m,)) -> P[the rival does not beat the winner at t], (len(pairs), m)."""


def integrate(
    count: int, pairs: Pairs, winner: Winner, survival: Survival
) -> tuple[np.ndarray, np.ndarray]:
    """The integral of ``count`` queries and the last change of the trapezoid rule, (n,) each."""
    value = np.full(count, np.nan)
    change = np.full(count, np.inf)
    wanted = np.arange(count)
    sums = np.zeros(count)
    mass = np.zeros(count)
    for step in STEPS:
        nodes = _new_nodes(step)
        part, weight = _sums(wanted, pairs, winner, survival, nodes)
        sums[wanted] += part
        mass[wanted] += weight
        now = step * sums[wanted]
        change[wanted] = np.abs(now - value[wanted]) + np.abs(step * mass[wanted] - 1.0)
        change[wanted[np.isnan(change[wanted])]] = np.inf
        value[wanted] = now
        wanted = wanted[~(change[wanted] < TOLERANCE)]
        if not len(wanted):
            break
    return value, change


def _new_nodes(step: float) -> np.ndarray:
    """Nodes of a step that twice the step does not have."""
    last = int(REACH / step)
    whole = np.arange(-last, last + 1)
    return step * (whole if step == STEPS[0] else whole[whole % 2 != 0])


def _sums(
    wanted: np.ndarray, pairs: Pairs, winner: Winner, survival: Survival, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the nodes of density × product, and of the density alone."""
    starts = np.searchsorted(pairs.query, wanted)
    sizes = np.searchsorted(pairs.query, wanted, side="right") - starts
    out, mass = np.empty(len(wanted)), np.empty(len(wanted))
    budget = max(1, CHUNK // len(nodes))
    group = np.cumsum(np.maximum(sizes, 1)) // budget
    for here in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(group)) + 1):
        density = winner(wanted[here], nodes)
        product = np.ones_like(density)
        full = here[sizes[here] > 0]
        if len(full):
            runs = [np.arange(a, a + b) for a, b in zip(starts[full], sizes[full], strict=True)]
            values = survival(np.concatenate(runs), nodes)
            firsts = np.concatenate([[0], np.cumsum(sizes[full])[:-1]])
            product[sizes[here] > 0] = np.multiply.reduceat(values, firsts, axis=0)
        out[here] = (density * product).sum(axis=1)
        mass[here] = density.sum(axis=1)
    return out, mass
