"""One integral for every prediction: the winner's score against each rival's, independently.

    P[keep] = ∫ p_1(v) ∏_{j≠1} S_j(v) dv

over a coordinate v in [-1, 1] of the winner's score. Where the score is nearly normal, v is
t / ``REACH`` and the trapezoid rule halves its step; where it begins at 0, Gauss-Legendre rules
double their nodes. Integrands are analytic, so a rule of twice the nodes has at most about the
square of the error; but one change from rule to rule can be small by accident, so two are asked:
the bound is max(c, c'²), c the last change and c' the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isthmus.theory.tails import REACH

TOLERANCE = 1e-8
CHUNK = 2**16
"""RivalPairs × nodes held at once: half a megabyte a temporary array, which caches hold."""


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
class RivalPairs:
    """Rivals that are not pruned, query by query: ``query`` (p,) ascending, ``rival`` (p,)."""

    query: np.ndarray
    rival: np.ndarray

    @classmethod
    def of(cls, near: np.ndarray) -> RivalPairs:
        """From a mask (n, K)."""
        query, rival = np.nonzero(near)
        return cls(query, rival)

    def counts(self, queries: int) -> np.ndarray:
        """Rivals of each query, (n,)."""
        return np.bincount(self.query, minlength=queries)


@dataclass(frozen=True, eq=False)
class Rule:
    """Nodes v (m,) and weights (m,) that are new, and the share of the last sum that stays."""

    nodes: np.ndarray
    weights: np.ndarray
    stays: float


@lru_cache(maxsize=1)
def trapezoids() -> tuple[Rule, ...]:
    """In t = REACH v: steps 1, ½, ¼, …, each with the nodes that the last had not."""
    rules = []
    for level in range(7):
        step = 0.5**level
        whole = np.arange(-int(REACH / step), int(REACH / step) + 1)
        new = step * (whole if level == 0 else whole[whole % 2 != 0])
        rules.append(Rule(new / REACH, np.full(len(new), step / REACH), 0.5 if level else 0.0))
    return tuple(rules)


@lru_cache(maxsize=1)
def legendres() -> tuple[Rule, ...]:
    """Gauss-Legendre rules of 32, 64, …, 512 nodes on [-1, 1]."""
    return tuple(
        Rule(*np.polynomial.legendre.leggauss(count), 0.0) for count in (32, 64, 128, 256, 512)
    )


Winner = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(queries, v (m,)) -> density of the winner in v, (len(queries), m)."""
Survival = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(pair positions, v (m,)) -> P[the rival does not beat the winner at v], (len(pairs), m)."""


def integrate(
    wanted: np.ndarray,
    pairs: RivalPairs,
    winner: Winner,
    survival: Survival,
    rules: tuple[Rule, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """The integrals of the queries ``wanted`` and bounds of the quadrature's error, (w,) each."""
    value, mass = np.zeros(len(wanted)), np.zeros(len(wanted))
    error, before = np.full(len(wanted), np.inf), np.full(len(wanted), np.inf)
    left = np.arange(len(wanted))
    for level, rule in enumerate(rules):
        part, weight = _sums(wanted[left], pairs, winner, survival, rule)
        now = rule.stays * value[left] + part
        mass[left] = rule.stays * mass[left] + weight
        change = np.abs(now - value[left])
        value[left] = now
        if level > 1:
            error[left] = np.maximum(change, before[left] ** 2) + np.abs(mass[left] - 1.0)
        before[left] = change
        left = left[~(error[left] < TOLERANCE)]
        if not len(left):
            break
    return value, error


def _sums(
    wanted: np.ndarray, pairs: RivalPairs, winner: Winner, survival: Survival, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums over the nodes of density × product, and of the density alone."""
    starts = np.searchsorted(pairs.query, wanted)
    sizes = np.searchsorted(pairs.query, wanted, side="right") - starts
    out, mass = np.zeros(len(wanted)), np.zeros(len(wanted))
    group = np.cumsum(np.maximum(sizes, 1)) // max(1, CHUNK // len(rule.nodes))
    for here in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(group)) + 1):
        if not len(here):
            continue
        density = winner(wanted[here], rule.nodes)
        product = np.ones_like(density)
        full = here[sizes[here] > 0]
        if len(full):
            firsts = np.concatenate([[0], np.cumsum(sizes[full])[:-1]])
            run = np.arange(sizes[full].sum()) + np.repeat(starts[full] - firsts, sizes[full])
            values = survival(run, rule.nodes)
            product[sizes[here] > 0] = np.multiply.reduceat(values, firsts, axis=0)
        out[here] = (density * product) @ rule.weights
        mass[here] = density @ rule.weights
    return out, mass
