"""One search under all levels: its reach and nodes, and the probabilities of a block of queries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.core.arrays import EPS32
from isthmus.search.scores import TIE_ULPS, Ranking
from isthmus.search.shared import Moved
from isthmus.theory.curves import leads as binning
from isthmus.theory.curves.leads import (
    Leads,
    LevelGroup,
    Nodes,
    Pairs,
    best_other,
    count_leads,
    present,
    tabulated,
)
from isthmus.theory.curves.noise import CosineNoise, DotNoise, EuclideanNoise

STEP, LAST = 0.25, 5.0
MANY = 10_000  # from so many rivals on the product is steeper in t, and the step .2
LEFT_OUT = 1e-5
"""Chance that any rival beyond reach beats the winner: at most this."""
TOGETHER = 16.0
"""Levels within this factor share their bins under dot, where only the unit of a lead changes."""
BINS_AND_NODES = 1e-5
"""What bins and nodes change in a probability, at most: found by halving them (in the tests)."""
SLOPED = 0.01
"""Times the mean square of the slopes that candidate biases give to leads: error of the expansion,
as found against the exact integral."""
STEEPEST = 0.4
"""A probability changes by at most φ(0) = .4 per unit that all leads change by."""


class Sweep:
    """What is the same for all queries: reach, bins, nodes; and the probabilities of a block."""

    def __init__(
        self,
        ranking: Ranking,
        levels: np.ndarray,
        spreads: np.ndarray | None = None,
        *,
        moved: Moved | None = None,
        like: Sweep | None = None,
        items: np.ndarray | None = None,
        count: int | None = None,
        most_bias: float | None = None,
    ) -> None:
        """``moved``: where blocks are float32 products of other rows. ``like``: one of as many
        candidates, dimensions and levels, whose tables are taken. ``count``, ``most_bias``: of the
        candidates, and the greatest of their biases, where those given stand for others."""
        from scipy.special import ndtri

        self.levels, self.score, self.items, self.moved = levels, ranking.score, items, moved
        count = count or len(ranking.candidates)
        self.reach = -float(ndtri(LEFT_OUT / (count - 1))) * np.sqrt(2)
        step = STEP if count <= MANY else 0.8 * STEP
        t = step * np.arange(-round(LAST / step), round(LAST / step) + 1)
        weights = np.exp(-0.5 * t**2)
        self.weights = (weights / weights.sum()).astype(np.float32)
        widths = ranking.tie_widths if moved is None else ranking.rounding(EPS32)
        self.rounding = widths[:, 0].astype(np.float64) / TIE_ULPS
        self.bias = ranking.bias if ranking.score == "euclidean" else None
        if moved is not None:
            self.rounding = np.maximum(self.rounding, moved.sizes * EPS32)
            self.bias = None if self.bias is None else self.bias.astype(np.float32)
        if self.bias is not None and most_bias is None:
            most_bias = float(self.bias.max())
        self.most_bias = most_bias
        self.norm = 0.0 if ranking.scale is None else float(np.mean(1 / ranking.scale))
        self.squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries).astype(np.float64)
        dim = int(ranking.candidates.shape[1])
        self.spreads = np.sqrt(self.squares / dim) if spreads is None else spreads
        # bins and tables depend on how many candidates there are, not on which
        self.nodes: Nodes = Nodes(dim, t) if like is None else like.nodes
        self.groups: dict[bool, list[LevelGroup]] = {} if like is None else like.groups

    def grouped(self, behind: bool) -> list[LevelGroup]:
        """Levels that are counted in the same bins, from the most noise to the least."""
        if behind not in self.groups:
            self.groups[behind] = list(self._groups(behind))
        return self.groups[behind]

    def _groups(self, behind: bool) -> Iterator[LevelGroup]:
        factor = TOGETHER if self.score == "dot" else 1.0
        left = [i for i in np.argsort(-self.levels, kind="stable") if self.levels[i] > 0]
        while left:
            mine = [i for i in left if self.levels[i] * factor >= self.levels[left[0]]]
            left = left[len(mine) :]
            units = np.sqrt(self.levels[mine] / self.levels[mine[-1]])
            bins = round(self.reach * units[0] / binning.BIN)
            own = bins if behind else 0
            leads = binning.BIN * np.arange(-own, bins + 1)
            table = None
            if self.score == "dot":
                each = [tabulated(self._plain, leads / one, 1 / one) for one in units]
                table = np.concatenate(each, axis=1)
            yield LevelGroup(np.array(mine), float(self.reach * units[0]), leads, own, table)

    def _plain(self, lead: np.ndarray) -> np.ndarray:
        return np.asarray(-lead - self.nodes.t)

    def block(
        self,
        scores: np.ndarray,
        part: np.ndarray,
        aimed: np.ndarray,
        weights: np.ndarray | None = None,
        biases: np.ndarray | None = None,
        *,
        behind: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """P[the candidate ``aimed`` (b,) is the answer] and its error of the queries ``part`` (b,),
        (L, b), from scores (b, K), which are written to and left as they were.

        Args:
            aimed: the best candidates, whose chance is that of keeping the answer, or others, which
                may be ``behind``.
            weights: (b, K) how many candidates each score stands for; None: one.
            biases: (b, K) of the candidates that scores are of, where these are not the search's
                and have some that count.
        """
        rows = np.arange(len(scores))
        own = scores[rows, aimed]
        biases = self.bias if biases is None else biases
        own_bias = None
        if biases is not None:
            own_bias = biases[aimed] if biases.ndim == 1 else biases[rows, aimed]
        if self.items is not None:  # other rows of the winner's item are no rivals
            scores = np.where(self.items[aimed][:, None] == self.items, -np.inf, scores)
            scores[rows, aimed] = own
        ahead = best_other(scores, aimed)
        kept, error = np.ones((2, len(self.levels), len(own)))
        error[:] = 0.0
        pairs: Pairs | None = None
        for group in self.grouped(behind):
            noise = self.noise(group.levels[-1], own, part, own_bias)
            silent = noise.scale == 0  # a query of length 0 meets no noise
            most = noise.margins(group.reach).astype(scores.dtype)
            lost = own + most < ahead  # so far behind that it has no chance
            if pairs is None:  # less noise, fewer rivals: all are among these, and the winner too
                level = np.where(silent | lost, np.inf, own - most)
                pairs = Pairs.of(scores, level, own, ahead, biases, weights)
            else:
                pairs = pairs.among(np.flatnonzero(pairs.margin <= most[pairs.query]))
            chance, bent = np.ones((len(own), len(group.levels))), np.zeros(len(own))
            if len(pairs.query):
                found = noise.leads(pairs.margin, pairs.query, pairs.bias)
                if found.slope is not None:  # margins tell less of such leads
                    near = np.flatnonzero(found.lead <= group.reach)
                    found, pairs = found.among(near), pairs.among(near)
                asked, place = present(pairs.query, len(own))
                counted = count_leads(place, found, len(asked), group, pairs.weight)
                chance[asked] = np.exp(noise.logs(counted, group, asked)) @ self.weights
                bent[asked] = self.bent(place, found, len(asked))
            chance[lost] = 0.0
            kept[group.levels] = np.where(silent, own >= ahead, chance.T)
            rounding = STEEPEST * self.rounding[part] / np.where(silent, 1.0, noise.scale)
            all_in = noise.error + LEFT_OUT + BINS_AND_NODES + rounding + bent
            error[group.levels] = np.where(silent, 0.0, all_in)
        return np.clip(kept, 0.0, 1.0), error

    def bent(self, query: np.ndarray, found: Leads, queries: int) -> np.ndarray:
        """(queries,): error of the expansion in the slopes that candidate biases give to leads."""
        if self.most_bias is None or found.slope is None:
            return np.zeros(queries)
        rivals = np.maximum(np.bincount(query, minlength=queries), 1)
        return np.asarray(SLOPED * np.bincount(query, found.slope**2, queries) / rivals)

    def noise(
        self,
        number: int,
        own: np.ndarray,
        part: np.ndarray,
        bias: np.ndarray | None,
        squares: np.ndarray | None = None,
        stored: int | None = None,
    ) -> DotNoise | EuclideanNoise | CosineNoise:
        """What noise of a level does to the queries ``part`` (b,) whose answers score ``own`` and
        have the candidate biases ``bias`` (b,), None where these do not count.

        ``squares`` (b,): ‖q‖² of other queries over the ``stored`` noisy coordinates, in place of
        those of ``part``.
        """
        level, dtype = float(self.levels[number]), own.dtype
        variance = level / self.nodes.dim
        if self.score == "dot":
            spreads = self.spreads[part] if squares is None else np.sqrt(squares / stored)
            return DotNoise(np.sqrt(level) * spreads, dtype)
        score = own.astype(np.float64)
        if self.moved is not None and self.moved.rest is not None:
            score += self.moved.rest[part]
        squares = self.squares[part] if squares is None else squares
        if self.score == "cosine":
            return CosineNoise(score, np.sqrt(squares), self.norm, variance, self.nodes, dtype)
        square, lifts = squares - 2 * score, None
        if bias is not None:
            assert self.most_bias is not None
            lifts = bias.astype(np.float64), self.most_bias
            square = square + 2 * lifts[0]
        return EuclideanNoise(np.maximum(square, 0.0), variance, self.nodes, dtype, lifts)
