"""One search under all levels: its reach and nodes, and the probabilities of a block of queries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.search.scores import TIE_ULPS, Ranking
from isthmus.theory.curves import leads as binning
from isthmus.theory.curves.leads import LevelGroup, Nodes, count_leads, tabulated
from isthmus.theory.curves.noise import DotNoise, EuclideanNoise

STEP, LAST = 0.25, 5.0
MANY = 10_000  # from so many rivals on the product is steeper in t, and the step .2
LEFT_OUT = 1e-5
"""Chance that any rival beyond reach beats the winner: at most this."""
TOGETHER = 16.0
"""Levels within this factor share their bins under dot, where only the unit of a lead changes."""
BINS_AND_NODES = 1e-5
"""What bins and nodes change in a probability, at most: found by halving them (in the tests)."""
STEEPEST = 0.4
"""A probability changes by at most φ(0) = .4 per unit that all leads change by."""


class Sweep:
    """What is the same for all queries: reach, bins, nodes; and the probabilities of a block."""

    column: np.ndarray | None = None
    """What to add to each candidate's score (K,), and ``row`` to each query's, (n,)."""
    row: np.ndarray

    def __init__(
        self,
        ranking: Ranking,
        levels: np.ndarray,
        spreads: np.ndarray | None,
        like: Sweep | None = None,
        items: np.ndarray | None = None,
    ) -> None:
        from scipy.special import ndtri

        self.levels, self.score, self.items = levels, ranking.score, items
        self.reach = -float(ndtri(LEFT_OUT / (len(ranking.candidates) - 1))) * np.sqrt(2)
        step = STEP if len(ranking.candidates) <= MANY else 0.8 * STEP
        t = step * np.arange(-round(LAST / step), round(LAST / step) + 1)
        weights = np.exp(-0.5 * t**2)
        self.weights = (weights / weights.sum()).astype(np.float32)
        self.rounding = ranking.tie_widths[:, 0].astype(np.float64) / TIE_ULPS
        self.squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries).astype(np.float64)
        self.euclidean = self.score == "euclidean"
        dim = int(ranking.candidates.shape[1])
        self.spreads = np.sqrt(self.squares / dim) if spreads is None else spreads
        # bins and tables depend on how many candidates there are, not on which
        self.nodes: Nodes = Nodes(dim, t) if like is None else like.nodes
        self.groups: list[LevelGroup] = list(self._groups()) if like is None else like.groups

    def _groups(self) -> Iterator[LevelGroup]:
        """Levels that are counted in the same bins, from the most noise to the least."""
        factor = 1.0 if self.euclidean else TOGETHER
        left = [i for i in np.argsort(-self.levels, kind="stable") if self.levels[i] > 0]
        while left:
            mine = [i for i in left if self.levels[i] * factor >= self.levels[left[0]]]
            left = left[len(mine) :]
            units = np.sqrt(self.levels[mine] / self.levels[mine[-1]])
            leads = binning.BIN * np.arange(round(self.reach * units[0] / binning.BIN) + 1)
            table = None
            if not self.euclidean:
                each = [tabulated(self._plain, leads / one, 1 / one) for one in units]
                table = np.concatenate(each, axis=1)
            yield LevelGroup(np.array(mine), float(self.reach * units[0]), leads, table)

    def _plain(self, lead: np.ndarray) -> np.ndarray:
        return np.asarray(-lead - self.nodes.t)

    def block(self, scores: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """P[keep] and its error of the queries in ``part``, (L, b), from their scores (b, K)."""
        best = scores.max(axis=1)
        if self.items is not None:  # other rows of the winner's item are no rivals
            first = scores.argmax(axis=1)
            scores = np.where(self.items[first][:, None] == self.items, -np.inf, scores)
            scores[np.arange(len(first)), first] = best
        kept, error = np.ones((2, len(self.levels), len(best)))
        error[:] = 0.0
        query = margin = np.empty(0)
        for number, group in enumerate(self.groups):
            noise = self._noise(float(self.levels[group.levels[-1]]), best, part)
            if not number:  # less noise, fewer rivals: all are among these, and the winner too
                widest = noise.margins(group.reach).astype(scores.dtype)
                within = scores >= (best - widest)[:, None]
                query = np.repeat(np.arange(len(best)), np.count_nonzero(within, axis=1))
                margin = best[query] - scores.ravel()[np.flatnonzero(within)]
            lead = noise.leads(margin, query)
            near = lead <= group.reach
            if not near.all():
                query, margin, lead = query[near], margin[near], lead[near]
            counted = count_leads(query, lead, (len(best), len(group.leads)))
            chance = np.exp(noise.logs(counted, group)) @ self.weights  # (b, levels of the group)
            silent = noise.scale == 0  # a query of length 0 meets no noise
            kept[group.levels] = np.where(silent, 1.0, chance.T)
            rounding = STEEPEST * self.rounding[part] / np.where(silent, 1.0, noise.scale)
            all_in = noise.error + LEFT_OUT + BINS_AND_NODES + rounding
            error[group.levels] = np.where(silent, 0.0, all_in)
        return np.clip(kept, 0.0, 1.0), error

    def _noise(self, level: float, best: np.ndarray, part: slice) -> DotNoise | EuclideanNoise:
        if not self.euclidean:
            return DotNoise(np.sqrt(level) * self.spreads[part], best.dtype)
        square = np.maximum(self.squares[part] - 2 * best.astype(np.float64), 0.0)
        return EuclideanNoise(square, level / self.nodes.dim, self.nodes, best.dtype)
