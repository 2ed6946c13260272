"""One retrieval task: who asks, what is searched, what is right, and by which score.

:func:`isthmus.search.opening.open_task` makes one of whatever holds rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from isthmus.core.arrays import Facts, near_unit
from isthmus.core.devices import Device
from isthmus.core.threads import Spare
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import OptionError, ShapeError
from isthmus.search.inputs import Input
from isthmus.search.items import both_items, exact_items, items_among, one_row_each
from isthmus.search.outcomes import best_listed
from isthmus.search.relevance import Relevance, no_relevance
from isthmus.search.scores import Ranking, top1, total_variance_of
from isthmus.search.settled import Settled
from isthmus.search.shared import Moved, Product

LEAST = 2
"""Queries in a part of a split."""
FINE = 1e-13
"""Resolution of moments whose products are in float64."""

Watch = Callable[[int, slice, np.ndarray, Settled], None]


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """Queries (n, d) and candidates (K, d) as float64 rows, what is right, and how it is searched.

    Attributes:
        queries, candidates: rows as they are searched: unit rows where ``normalised``.
        relevance: what is right; ``Relevance`` without pairs where nothing is known.
        score: how the user searches today: dot, cosine or euclidean.
        normalised: rows were divided by their norms.
        candidate_calibration, query_calibration: sorted row numbers that codecs are fitted on;
            drawn by :meth:`calibrated`, never silently all rows.
        lists: (n, c), for multiple choice: the candidate rows each query chooses among.
        direction: what the table of a stress run calls it.
        query_input, candidate_input: where the rows came from; None for rows made in memory.
        pair: moments of pairs over all rows of both inputs, where they are paired.
        query_items, candidate_items: (n,), (K,) lowest row of each row's item, where rows of one
            item differ (crops, chunks, views); None: every row is an item. An answer is an item:
            its lowest row stands for it.
        facts: what was found of the rows, shared with all tasks made from this one.
        device: where products of the rows are taken; None: here.
    """

    queries: np.ndarray
    candidates: np.ndarray
    relevance: Relevance
    score: str = "cosine"
    normalised: bool = True
    candidate_calibration: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    query_calibration: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    lists: np.ndarray | None = None
    direction: str = "queries_to_candidates"
    query_input: Input | None = None
    candidate_input: Input | None = None
    pair: PairMoments | None = None
    query_items: np.ndarray | None = None
    candidate_items: np.ndarray | None = None
    facts: Facts = field(default_factory=Facts, repr=False)
    device: Device | None = None

    @classmethod
    def of(
        cls,
        queries: np.ndarray,
        candidates: np.ndarray,
        relevance: Relevance | None = None,
        **options: Any,
    ) -> RetrievalTask:
        """A task of rows in memory, as they are. Whether they are unit rows is looked at.

        Args:
            relevance: None: nothing is known to be right. options: any other attribute.
        """
        sides = queries, candidates
        options.setdefault("normalised", all(near_unit(rows) for rows in sides))
        right = relevance or no_relevance(len(queries), len(candidates))
        return cls(queries, candidates, right, **options)

    @cached_property
    def query_moments(self) -> Moments:
        """Of all rows of the queries' input where it was summarised, else of the rows held."""
        return _moments(self.query_input, self.queries, self.normalised)

    @cached_property
    def candidate_moments(self) -> Moments:
        """The same for candidates."""
        return _moments(self.candidate_input, self.candidates, self.normalised)

    @cached_property
    def held_moments(self) -> Moments:
        """Of the candidates that are held, in float64: those of the input where it is they."""
        found = self.candidate_moments
        alike = found.count == len(self.candidates) and found.normalised == self.normalised
        if alike and found.resolution <= FINE:
            return found
        return Moments.of(self.candidates, precise=True, normalised=self.normalised)

    @cached_property
    def candidate_square_norm(self) -> float:
        """Mean squared norm of the candidates."""
        return float(np.einsum("ij,ij->", self.candidates, self.candidates)) / len(self.candidates)

    @property
    def candidate_variance(self) -> float:
        """Total variance of the candidates."""
        return total_variance_of(self.candidates, self.candidates.shape[1], self.facts)

    @cached_property
    def unit_rows(self) -> bool:
        """Whether all rows are of unit norm, normalised here or before."""
        return self.normalised or (near_unit(self.queries) and near_unit(self.candidates))

    @property
    def paired(self) -> bool:
        """Row i of the queries belongs to row i of the candidates, and no row is left out."""
        return self.relevance.is_paired

    def best(self, ranking: Ranking, *, ties: bool = True) -> np.ndarray:
        """The answer to every query, (n,): of its own list, or of all candidates.

        ``ties=False`` skips the look for ties: independent noise on candidates leaves none. Where
        rows are not items, the answer is the lowest row of the best row's item.
        """
        if self.lists is not None:
            rows = best_listed(ranking, self.lists)
        elif ties:
            rows = top1(ranking)
        else:
            rows = np.concatenate([s.argmax(axis=1) for _, s in ranking.score_blocks()])
        return self.items(rows)

    def items(self, rows: np.ndarray) -> np.ndarray:
        """The lowest row of the item of each of some candidate rows; -1 stays."""
        if self.candidate_items is None:
            return rows
        return np.where(rows < 0, rows, self.candidate_items[rows])

    def plain(self, score: str | None = None) -> Ranking:
        """Exact search on the rows as they are, by the task's score or another."""
        return Ranking.of(self.queries, self.candidates, score or self.score, facts=self.facts)

    def today(self, score: str | None = None) -> np.ndarray:
        """(n,): the answers of plain exact search."""
        plain = self.plain(score)
        sides = self.queries, self.candidates, self.lists, self.candidate_items
        return self.facts.of(
            f"answers by {plain.score}",
            lambda: self.answers([(plain, Moved.of(self.product, plain))])[0],
            *(side for side in sides if side is not None),
        )

    @property
    def product(self) -> Product:
        """Inner products of the rows in float32, which searches of moved rows share."""
        rows = self.queries, self.candidates
        return self.facts.of("product", lambda: Product.of(*rows, device=self.device), *rows)

    def answers(
        self,
        searches: Sequence[tuple[Ranking, Moved | None]],
        product: Product | None = None,
        watch: Watch | None = None,
        off: Sequence[np.ndarray | float] = (),
    ) -> list[np.ndarray]:
        """The answers of several float64 searches of these rows, (n,) each, ties as in ``best``.

        A search of moved rows takes its scores from the product, and near ties are settled in
        float64.

        Args:
            product: that of the task's rows by default; that of coded rows, for example.
            watch: called with (number of the search, queries, their scores (b, K), how these are
                settled) of all searches that take their scores from the product.
            off: for each search by how much two scores may lie apart otherwise than the ranking's.
        """
        product = product or self.product
        found: list[np.ndarray | None] = [None] * len(searches)
        shared: list[tuple[int, Settled, Moved]] = []
        for i, (ranking, moved) in enumerate(searches):
            slack = off[i] if off else 0.0
            settled = None if moved is None else Settled.of(ranking, moved.sizes, slack)
            if settled is None or moved is None or self.lists is not None or not settled.fits:
                found[i] = self.best(ranking)
            else:
                shared.append((i, settled, moved))
        rows, spare = np.empty((len(shared), len(self.queries)), np.int64), Spare()

        def work(part: slice, products: np.ndarray) -> None:
            for row, (i, settled, moved) in zip(rows, shared, strict=True):
                scores = products if moved.bare else moved.scores(products, part, spare=spare)
                if watch is not None:
                    watch(i, part, scores, settled)
                row[part] = settled.best(scores, part)

        if shared:
            product.blocks(work)
        for row, (i, _, _) in zip(rows, shared, strict=True):
            found[i] = self.items(row)
        return [answers for answers in found if answers is not None]

    def without_pairs(self) -> RetrievalTask:
        """The same rows, of which nothing is known to be right."""
        nothing = no_relevance(len(self.queries), len(self.candidates))
        return replace(self, relevance=nothing, pair=None)

    def reversed(self) -> RetrievalTask:
        """The same task with the roles exchanged: candidates ask for queries.

        Raises:
            OptionError: multiple choice has one direction.
        """
        if self.lists is not None:
            raise OptionError("one-direction", "multiple choice cannot be turned round")
        names = {"a_to_b": "b_to_a", "b_to_a": "a_to_b"}
        return replace(
            self,
            queries=self.candidates,
            candidates=self.queries,
            relevance=self.relevance.reversed(),
            candidate_calibration=self.query_calibration,
            query_calibration=self.candidate_calibration,
            direction=names.get(self.direction, self.direction),
            query_input=self.candidate_input,
            candidate_input=self.query_input,
            pair=None if self.pair is None else self.pair.reversed(),
            query_items=self.candidate_items,
            candidate_items=self.query_items,
        )

    def distinct(self, *, queries: bool = True) -> RetrievalTask:
        """The same task by items: rows that repeat an earlier one exactly are left out.

        What is right for one row of an item, named or repeated, is right for all. Rows that repeat
        but are named as different items stay, and so do the candidates of multiple choice, and the
        rows of a side that is one row again and again.
        ``queries=False`` keeps all queries.
        """
        asked, stored = np.arange(len(self.queries)), np.arange(len(self.candidates))
        if queries:
            asked = _twins(self.query_input, self.queries, self.query_items)
        if self.lists is None:
            stored = _twins(self.candidate_input, self.candidates, self.candidate_items)
        asked, stored = (
            np.arange(len(side)) if len(np.unique(side)) < LEAST else side
            for side in (asked, stored)
        )
        right = self.relevance.shared(self.query_items, self.candidate_items)
        if one_row_each(asked) and one_row_each(stored):
            return self if right is self.relevance else replace(self, relevance=right)
        rows, kept = np.unique(asked), np.unique(stored)
        merged = replace(self, relevance=right.merged(asked, stored)).restricted(rows)
        given = self.candidate_input
        return replace(
            merged,
            candidates=self.candidates[kept],
            relevance=merged.relevance.restricted(np.arange(len(rows)), kept),
            candidate_calibration=np.zeros(0, np.int64),
            candidate_input=None if given is None else given.at(kept),
            candidate_items=items_among(self.candidate_items, kept),
        )

    def restricted(self, query_rows: np.ndarray, *, multiplied: bool = False) -> RetrievalTask:
        """The task of some queries, (m,) row numbers of this task, against all candidates.

        Calibration rows are drawn anew by :meth:`calibrated` where they are needed.
        ``multiplied``: this task's product is needed anyway, and its own is taken from it.
        """
        every = np.arange(len(self.candidates))
        given = self.query_input
        found = replace(
            self,
            queries=self.queries[query_rows],
            relevance=self.relevance.restricted(query_rows, every),
            query_calibration=np.zeros(0, np.int64),
            lists=None if self.lists is None else self.lists[query_rows],
            query_input=None if given is None else given.at(query_rows),
            query_items=items_among(self.query_items, query_rows),
        )
        if multiplied:
            rows = found.queries, found.candidates
            self.facts.of("product", lambda: self.product.at(query_rows), *rows)
        return found

    def sample(
        self, most: int, rng: np.random.Generator, *, multiplied: bool = False
    ) -> RetrievalTask:
        """At most ``most`` queries, drawn by ``rng`` and kept in order; all candidates stay.

        ``multiplied``: as :meth:`restricted` has it.
        """
        if len(self.queries) <= most:
            return self
        rows = np.sort(rng.permutation(len(self.queries))[:most])
        return self.restricted(rows, multiplied=multiplied)

    def split(self, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of queries: (train, test), disjoint and sorted; ``share`` of them train.

        Closers and codecs are fitted on the train queries, figures are reported on the others.
        Settings are chosen on train queries too (validation). At share 0 both are all queries.
        Queries that are one item are in one part.

        Raises:
            ShapeError: fewer than 2 queries in either part.
        """
        if self.query_items is not None and share:
            return self._split_by_item(self.query_items, share, rng)
        count = len(self.queries)
        order = rng.permutation(count)
        if share == 0:
            return np.arange(count), np.arange(count)
        cut = round(share * count)
        if min(cut, count - cut) < LEAST:
            raise ShapeError(
                "too-few-queries",
                f"fit share {share:g} of {count} queries leaves {cut} to fit on and "
                f"{count - cut} to score; expected {LEAST} of each at least, and some hundreds "
                "to see anything",
            )
        return np.sort(order[:cut]), np.sort(order[cut:])

    def _split_by_item(
        self, items: np.ndarray, share: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        first = np.unique(items)
        train, _ = replace(self, query_items=None).restricted(first).split(share, rng)
        inside = np.isin(items, first[train])
        return np.flatnonzero(inside), np.flatnonzero(~inside)

    def scored(
        self, fit_share: float, most: int, rng: np.random.Generator
    ) -> tuple[RetrievalTask, Moments]:
        """The queries that figures are of, and moments of those that closers are fitted on.

        Args:
            fit_share: part of the queries that is fitted on and not scored; 0: all are both.
            most: queries scored at most, a sample. rng: of the split, the sample, the codec rows.

        Raises:
            ShapeError: fewer than 2 queries in either part.
        """
        train, test = self.split(fit_share, rng)
        moments = self.query_moments
        if fit_share:
            moments = _moments(None, self.queries[train], self.normalised)
        return self.restricted(test).sample(most, rng).calibrated(rng), moments

    def calibrated(self, rng: np.random.Generator) -> RetrievalTask:
        """The same task with a drawn half of each side as the rows that codecs are fitted on."""
        candidates, queries = (
            np.sort(rng.permutation(count)[: max(1, count // 2)])
            for count in (len(self.candidates), len(self.queries))
        )
        return replace(self, candidate_calibration=candidates, query_calibration=queries)


def _moments(given: Input | None, rows: np.ndarray, normalised: bool) -> Moments:
    if given is not None and given.moments is not None:
        return given.moments
    return Moments.of(rows, precise=True, normalised=normalised)


def _twins(given: Input | None, rows: np.ndarray, items: np.ndarray | None) -> np.ndarray:
    """Place of the first row with the same values as read, and of the same item, (n,)."""
    if given is not None:
        return np.arange(len(rows)) if given.twins is None else given.twins
    exact = exact_items(rows)
    return exact if items is None else both_items(exact, items)
