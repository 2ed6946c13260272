"""What is kept of the scores of coded searches while they pass: answers, the best of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.perturb.codecs import rescore
from isthmus.robustness.searches import HEAD, ClosedSearch
from isthmus.search.scores import Ranking, top_k
from isthmus.search.settled import Settled, largest
from isthmus.search.shared import Moved, Product
from isthmus.search.task import RetrievalTask

Again = dict[int, tuple[np.ndarray, np.ndarray]]
"""How many were ranked again in float -> the answers (n,), and (n,) whether the answer of the float
search was among those."""


class Watch:
    """What is kept of a search's scores while they pass."""

    def __init__(self, search: ClosedSearch, tabled: bool, depths: Sequence[int]) -> None:
        self.search, self.tabled, self.depths = search, tabled, depths
        self.answers = np.empty(0, np.int64)
        self.tops: list[tuple[int, np.ndarray]] = []
        count = len(search.queries)
        self.lists = {depth: np.full((count, depth), -1, np.int64) for depth in depths}

    def see(self, part: slice, scores: np.ndarray, settled: Settled | None) -> None:
        """Called with all scores, block by block; ``settled`` None: they are exact."""
        if self.tabled and part.start < HEAD:
            self.tops.append((part.start, self.search.top_of(scores[: HEAD - part.start])))
        for depth, rows in self.lists.items():
            rows[part] = (
                np.sort(largest(scores, depth), axis=1)
                if settled is None
                else settled.leading(scores, part, depth)
            )

    def found(self, task: RetrievalTask, ranking: Ranking) -> tuple[np.ndarray, float, Again]:
        """Answers, overlap, and what comes of ranking the best again in float."""
        again = {}
        for depth, rows in self.lists.items():
            if depth and rows[0, 0] < 0:  # no scores passed
                rows = top_k(ranking, depth).rows
            inside = (task.items(rows) == self.search.clean_top1[:, None]).any(axis=1)
            again[depth] = task.items(_again(task, self.search, rows)), inside
        return self.answers, self._overlap(ranking), again

    def _overlap(self, ranking: Ranking) -> float:
        if not self.tabled:
            return float("nan")
        if not self.tops:
            return self.search.overlap(ranking.single())
        tops = [top for _, top in sorted(self.tops, key=lambda one: one[0])]
        return self.search.overlap_of(np.concatenate(tops))


@dataclass(frozen=True, eq=False)
class Look:
    """A search, its scores from a product, and how far these may be ``off`` the search's own;
    ``moved`` None: whole numbers, which are exact."""

    watch: Watch
    ranking: Ranking
    moved: Moved | None
    off: np.ndarray | float = 0.0


def look_at(task: RetrievalTask, product: Product, looks: Sequence[Look]) -> None:
    """Search several rankings by one product."""
    whole = [look.watch for look in looks if look.moved is None]
    if whole:
        _count(task, product, whole)
    rest = [(look, look.moved) for look in looks if look.moved is not None]
    answers = task.answers(
        [(look.ranking, moved) for look, moved in rest],
        product,
        lambda i, *block: rest[i][0].watch.see(*block),
        [look.off for look, _ in rest],
    )
    for (look, _), found in zip(rest, answers, strict=True):
        look.watch.answers = found


def _count(task: RetrievalTask, product: Product, watches: Sequence[Watch]) -> None:
    """Search by whole numbers, which rank alike in all searches; ties by the lowest row."""
    first = watches[0]
    answers = np.empty(len(task.queries), np.int64)

    def work(part: slice, scores: np.ndarray) -> None:
        first.see(part, scores, None)
        answers[part] = scores.argmax(axis=1)

    product.blocks(work)
    for watch in watches:
        watch.answers, watch.tops, watch.lists = task.items(answers), first.tops, first.lists


def _again(task: RetrievalTask, search: ClosedSearch, rows: np.ndarray) -> np.ndarray:
    """The best by float of each query's rows (n, depth), (n,)."""
    moved = search.moved
    if moved is None or task.product.whole is None:
        return rescore(rows, search.clean, 1)[:, 0]
    settled = Settled.of(search.clean, moved.sizes)
    if not settled.fits:
        return rescore(rows, search.clean, 1)[:, 0]
    every = slice(0, len(rows))
    products = np.take_along_axis(task.product.whole, rows, axis=1)
    return settled.best(moved.scores(products, every, rows), every, rows)
