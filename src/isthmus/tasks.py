"""Tasks: what a right answer is. One outcome per query comes back; nothing is averaged here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus._arrays import to_numpy
from isthmus.embeddings import checked_labels, checked_relevance, decide_paired
from isthmus.scores import Ranking, first_best

HUBS_AT = 10


@dataclass(frozen=True, eq=False)
class Outcome:
    """What happened to each of n queries in one search.

    ``top1`` (n,): the answer. ``rank`` (n,): place of the first true candidate, 0 is best; -1
    where a query has no truth. ``ties`` (n,): other candidates tied with the answer.
    """

    top1: np.ndarray
    rank: np.ndarray
    ties: np.ndarray

    def hit(self, k: int) -> np.ndarray:
        """(n,) bool: a true candidate is among the first k; only queries with a truth count."""
        judged = self.rank >= 0
        return (self.rank[judged] < k).astype(bool)


@dataclass(frozen=True, eq=False)
class Truth:
    """Which candidates are right for each query, as sorted (query row, candidate row) pairs."""

    task: str
    pairs: np.ndarray  # (m, 2) int64, unique, in query order; m = 0: no truth known
    queries: int
    candidates: int

    def of_query(self) -> list[np.ndarray]:
        """The true candidate rows of each query, n arrays (possibly empty)."""
        cuts = np.searchsorted(self.pairs[:, 0], np.arange(1, self.queries))
        return np.split(self.pairs[:, 1], cuts)

    def correct(self, answers: np.ndarray) -> np.ndarray:
        """(n,) bool for answers (n,), or (t, n) for (t, n): the answer is a true candidate."""
        keys = self.pairs[:, 0] * self.candidates + self.pairs[:, 1]
        asked = np.arange(self.queries) * self.candidates + answers
        return np.isin(asked, keys)

    @property
    def judged(self) -> np.ndarray:
        """(n,) bool: queries that have at least one true candidate."""
        return np.isin(np.arange(self.queries), self.pairs[:, 0])

    def reversed(self) -> Truth:
        """The same truth with the roles exchanged: candidates ask for queries."""
        pairs = np.unique(self.pairs[:, ::-1], axis=0)
        return Truth(self.task, pairs, self.candidates, self.queries)

    def restricted(self, query_rows: np.ndarray, candidate_rows: np.ndarray) -> Truth:
        """The truth among some queries and candidates, renumbered by their places there."""
        q_place = np.full(self.queries, -1)
        q_place[query_rows] = np.arange(len(query_rows))
        c_place = np.full(self.candidates, -1)
        c_place[candidate_rows] = np.arange(len(candidate_rows))
        pairs = np.column_stack([q_place[self.pairs[:, 0]], c_place[self.pairs[:, 1]]])
        kept = np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
        return Truth(self.task, kept.reshape(-1, 2), len(query_rows), len(candidate_rows))


def retrieval_by_pairs(n: int, m: int) -> Truth:
    """Query i's only true candidate is row i.

    Raises:
        NotPaired: n and m differ.
    """
    decide_paired("queries", n, "candidates", m, True)
    rows = np.arange(n)
    return Truth("retrieval", np.column_stack([rows, rows]), n, m)


def retrieval_by_relevance(relevance: Any, n: int, m: int) -> Truth:
    """Many to many: (query row, candidate row) pairs. Raises LabelsError when out of range."""
    return Truth("retrieval", checked_relevance(relevance, n, m), n, m)


def zero_shot(labels: Any, n: int, classes: int) -> Truth:
    """Query i belongs to class ``labels[i]``; candidates are class texts. Raises LabelsError."""
    checked = checked_labels(labels, n, classes)
    return Truth("zero-shot", np.column_stack([np.arange(n), checked]), n, classes)


def no_truth(n: int, m: int) -> Truth:
    """Nothing is known to be right: only flips can be measured."""
    return Truth("retrieval", np.zeros((0, 2), np.int64), n, m)


def run(ranking: Ranking, truth: Truth) -> Outcome:
    """Search every query exactly and place its first true candidate. O(n K d), blocked.

    The place of candidate t counts candidates that score higher, and tied ones of a lower row.
    """
    width = ranking.tie_width
    true_rows = truth.of_query()
    top, rank, ties = [], [], []
    for start, block in ranking.score_blocks():
        scores = to_numpy(block)
        top.append(to_numpy(first_best(block, width)))
        ties.append((scores >= scores.max(axis=1, keepdims=True) - width).sum(axis=1) - 1)
        rank.append(_first_true(scores, true_rows[start : start + len(scores)], width))
    return Outcome(np.concatenate(top).astype(np.int64), np.concatenate(rank), np.concatenate(ties))


def _first_true(scores: np.ndarray, true_rows: list[np.ndarray], width: float) -> np.ndarray:
    places = np.full(len(scores), -1, np.int64)
    for i, right in enumerate(true_rows):
        if len(right) == 0:
            continue
        line = scores[i]
        best = line[right].max()
        first = int(right[line[right] >= best - width].min())
        above = int((line > best + width).sum())
        level = int((np.abs(line[:first] - best) <= width).sum())
        places[i] = above + level
    return places
