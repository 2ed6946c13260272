"""Pools to be searched, made of what a user has: relevance, a third row of each pair, or pairs.

Everything that is chosen (strength, the queries' mean) is chosen on ``fit`` pools; figures are of
``scored`` pools, which hold other queries and, where documents come in pairs, other documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.core.arrays import Facts
from isthmus.core.checks import at_least, in_range, one_of, share
from isthmus.core.seeds import stream
from isthmus.data.labels import names_of
from isthmus.data.moments import Moments
from isthmus.data.row_stats import InputWarning, worst_first
from isthmus.errors import OptionError, ShapeError
from isthmus.search.items import exact_items, items_among, items_of, named_items
from isthmus.search.opening import item_notes, open_task
from isthmus.search.pair_warnings import look_at_pairs
from isthmus.search.relevance import Relevance, relevance_by_judgements
from isthmus.search.task import RetrievalTask

LEAST = 8
"""Queries in either part."""
SCORES = ("cosine", "dot")


@dataclass(frozen=True, eq=False)
class Given:
    """What the caller of ``mixed`` said, checked.

    ``looked_at``: whether rows are in order is known already, and is not looked at again.
    """

    queries: Any
    a: Any
    b: Any
    relevance_a: Any
    relevance_b: Any
    score: str
    names: tuple[str, str]
    share: float
    draws: int
    fit_share: float
    max_queries: int
    seed: int
    query_items: Any = None
    candidate_items_a: Any = None
    candidate_items_b: Any = None
    looked_at: bool = False

    def __post_init__(self) -> None:
        one_of(self.score, SCORES, "score of a mixed pool", "unknown-score")
        if len(set(self.names)) != 2:
            raise OptionError("bad-names", f"names {self.names}; expected two different names")
        in_range(self.share, "share", "not-a-share", above=0, below=1)
        at_least(self.draws, 1, "draws")
        if self.judged and self.queries is None:
            raise OptionError("no-queries", "a relevance was given without queries; give both")

    @property
    def judged(self) -> bool:
        """Whether it was said which documents are right."""
        return self.relevance_a is not None or self.relevance_b is not None

    @property
    def sides(self) -> tuple[tuple[Any, Any, Any, str], ...]:
        """Rows, what is right, items and name of both sides."""
        return (
            (self.a, self.relevance_a, self.candidate_items_a, self.names[0]),
            (self.b, self.relevance_b, self.candidate_items_b, self.names[1]),
        )

    def split(
        self, places: np.ndarray, items: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of queries to choose on and to score, at most ``max_queries``, each sorted;
        queries of one item (n,) are in one part.

        Raises:
            ShapeError: too few in either part.
        """
        drawn = stream("mixed.split", self.seed).permutation(places)[: self.max_queries]
        if items is not None:  # in the order in which their items are drawn
            first = np.unique(items[drawn], return_index=True, return_inverse=True)[1:]
            drawn = drawn[np.argsort(first[0][first[1]], kind="stable")]
        cut = round(share(self.fit_share, "fit share", "bad-share") * len(drawn))
        if items is not None:
            while 0 < cut < len(drawn) and items[drawn[cut]] == items[drawn[cut - 1]]:
                cut += 1
        if min(cut, len(drawn) - cut) < LEAST:
            raise ShapeError(
                "too-few-queries",
                f"fit share {self.fit_share:g} of {len(drawn)} queries that have an answer leaves "
                f"{cut} to choose on and {len(drawn) - cut} to score; expected {LEAST} or more of "
                "each, and some hundreds to see anything",
            )
        return np.sort(drawn[:cut]), np.sort(drawn[cut:])


@dataclass(frozen=True, eq=False)
class Pool:
    """Queries of one kind and the pool they search.

    ``ids``: their places in ``side``, all rows of their kind, which draws share. ``asks``: 0 or 1
    where they are rows of that side, None where of a third kind. ``items`` (K,): lowest row of each
    document's item, None where documents are items.
    """

    queries: np.ndarray
    documents: np.ndarray
    is_a: np.ndarray
    relevance: Relevance
    side: np.ndarray
    ids: np.ndarray
    asks: int | None = None
    items: np.ndarray | None = None
    facts: Facts = field(default_factory=Facts, repr=False)

    def of_side(
        self, name: str, find: Callable[[np.ndarray], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """What is found of each row of the side, found once for all draws, of the queries."""
        found = self.facts.of(name, lambda: find(self.side), self.side)
        return [column[self.ids] for column in found]


@dataclass(frozen=True, eq=False)
class Part:
    """Draws of pools that ``size`` queries ask."""

    draws: Sequence[Sequence[Pool]]
    size: int


@dataclass(frozen=True, eq=False)
class Pools:
    """What is searched, and what closings are made of.

    ``moments``: of documents of either side. ``query_means``: by side that asks, or under None.
    """

    setting: str
    fit: Part
    scored: Part
    moments: tuple[Moments, Moments]
    query_means: dict[int | None, np.ndarray]
    documents: tuple[int, int]
    warnings: tuple[InputWarning, ...] = ()


def pools_of(given: Given) -> Pools:
    """Open the rows and make the pools."""
    return _judged(given) if given.judged else _paired(given)


def _judged(given: Given) -> Pools:
    """All documents of both sides in one pool; closings are made of these documents' moments."""
    tasks, found = [], []
    for side, right, items, name in given.sides:
        opened = open_task(
            given.queries,
            side,
            relevance=right,
            paired=False if right is None else None,
            score=given.score,
            names=("queries", name),
            query_items=given.query_items,
            candidate_items=items,
            distinct=False,
        )
        found += look_at_pairs(opened, ("queries", name), relevance=right)[1]
        tasks.append(opened.distinct())
        found += [note for note in item_notes(tasks[-1]) if note not in found]
    first, second = (len(task.candidates) for task in tasks)
    asked, documents = tasks[0].queries, np.vstack([task.candidates for task in tasks])
    pairs = np.vstack([task.relevance.pairs for task in tasks])
    pairs[len(tasks[0].relevance.pairs) :, 1] += first  # documents of b stand after those of a
    grades = [task.relevance.grades for task in tasks]
    graded = None
    if any(one is not None for one in grades):  # a judgement without a grade counts as 1
        graded = np.concatenate(
            [np.ones(len(t.relevance.pairs)) if g is None else g for t, g in zip(tasks, grades)]
        )
    right = relevance_by_judgements(pairs, len(asked), len(documents), graded)
    every = np.arange(len(documents))
    is_a = every < first
    items = _items(given, tasks)
    parts = given.split(np.flatnonzero(right.judged), tasks[0].query_items)
    fit, scored = (
        Part([[Pool(q, documents, is_a, some, q, np.arange(len(q)), items=items)]], len(q))
        for q, some in ((asked[p], right.restricted(p, every)) for p in parts)
    )
    moments = [Moments.of(task.candidates, precise=True) for task in tasks]
    means: dict[int | None, np.ndarray] = {None: asked[parts[0]].mean(axis=0)}
    return Pools(
        "relevance",
        fit,
        scored,
        (moments[0], moments[1]),
        means,
        (first, second),
        worst_first(found),
    )


def _items(given: Given, tasks: Sequence[RetrievalTask]) -> np.ndarray | None:
    """Lowest document of each document's item among those of a, then of b, (K_a + K_b,): documents
    with one name are one item, also across the sides."""
    names: list[str] = []
    for task, (_, _, named, side) in zip(tasks, given.sides, strict=True):
        assert task.candidate_input is not None
        kept = task.candidate_input.rows
        if named is None:
            names += [f"row {row} of {side}" for row in kept]
        else:
            every = names_of(named, task.candidate_input.source.rows, "candidate_items")
            names += [f"item {name}" for name in every[kept]]
    return items_among(np.unique(names, return_inverse=True)[1], np.arange(len(names)))


def _once(given: Given, sides: Sequence[np.ndarray]) -> np.ndarray:
    """Pairs (m,) that are kept: the first of those that share an item, on either side."""
    kept = np.ones(len(sides[0]), bool)
    for rows, (_, _, named, _) in zip(sides, given.sides, strict=True):
        items = exact_items(rows) if named is None else named_items(named, len(rows), "items")
        kept &= items == np.arange(len(rows))
    return np.flatnonzero(kept)


def _paired(given: Given) -> Pools:
    """Documents in two forms, of which one is stored; closings are made of the other half."""
    asked = [(given.a, given.b, given.names)]
    if given.queries is not None:
        asked = [(given.queries, side, ("queries", name)) for side, _, _, name in given.sides]
    tasks, found = [], []
    for first, second, names in asked:
        task = open_task(first, second, paired=True, score=given.score, names=names, distinct=False)
        if not given.looked_at:
            found += look_at_pairs(task, names, paired=True)[1]
        tasks.append(task)
    rows = (tasks[0].queries if len(tasks) == 1 else tasks[0].candidates), tasks[-1].candidates
    third = None if len(tasks) == 1 else tasks[0].queries
    kept = _once(given, rows)
    if len(kept) < len(rows[0]):
        text = f"{len(rows[0]) - len(kept)} of {len(rows[0])} pairs hold an item of an earlier pair"
        found.append(InputWarning("duplicates", f"{text}; each item is stored once"))
    named = given.query_items
    parts = given.split(kept, items_of(named, len(rows[0]), "query_items"))
    fit, scored = (
        Part(_mixtures(given, [None if r is None else r[p] for r in (*rows, third)], i), len(p))
        for i, p in enumerate(parts)
    )
    on = parts[0]
    moments = Moments.of(rows[0][on], precise=True), Moments.of(rows[1][on], precise=True)
    means: dict[int | None, np.ndarray] = {0: moments[0].mean, 1: moments[1].mean}
    if third is not None:
        means = {None: third[on].mean(axis=0)}
    stored = round(given.share * scored.size)
    setting = "other form" if third is None else "third row"
    return Pools(
        setting, fit, scored, moments, means, (stored, scored.size - stored), worst_first(found)
    )


def _mixtures(given: Given, sides: Sequence[np.ndarray | None], which: int) -> list[list[Pool]]:
    """Draws of which documents are stored as a: of each a pool per kind of query.

    ``sides``: rows of a, of b, and of the third kind or None, of the documents of one part.
    """
    a, b, third = sides
    assert a is not None
    assert b is not None
    facts, draws = Facts(), []
    who: list[tuple[int | None, np.ndarray, np.ndarray]]
    for draw in range(given.draws):
        order = stream("mixed.draws", given.seed, draw, which).permutation(len(a))
        is_a = np.zeros(len(a), bool)
        is_a[order[: round(given.share * len(a))]] = True
        documents = np.where(is_a[:, None], a, b)
        who = [(0, a, np.flatnonzero(~is_a)), (1, b, np.flatnonzero(is_a))]
        if third is not None:
            who = [(None, third, np.arange(len(a)))]
        pools = []
        for asks, side, ids in who:
            if len(ids):
                pairs = np.column_stack([np.arange(len(ids)), ids])
                right = relevance_by_judgements(pairs, len(ids), len(a))
                pool = Pool(side[ids], documents, is_a, right, side, ids, asks, facts=facts)
                pools.append(pool)
        draws.append(pools)
    return draws
