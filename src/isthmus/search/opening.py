"""Opening a task: whatever holds rows, and however it is said what is right, becomes one.

Rows are arrays, tensors, files or shards; what is right is pairs, labels, relevance judgements,
multiple choice or nothing. What would make every later number wrong is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isthmus.core.arrays import near_unit, unit
from isthmus.core.devices import Device
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.data import Rows
from isthmus.data.moments import Moments, PairMoments
from isthmus.data.row_checks import check_same_space
from isthmus.data.row_stats import InputWarning, RowStats
from isthmus.data.summary import opened, summarise
from isthmus.errors import ValuesError
from isthmus.search.inputs import Input
from isthmus.search.items import both_items, exact_items, items_among, named_items
from isthmus.search.pair_warnings import look_at_pairs
from isthmus.search.relevance import Relevance, relevance_of
from isthmus.search.scores import check_score
from isthmus.search.task import RetrievalTask

SIDES = ("queries", "candidates")
"""What the two sides are called where nothing else is said."""
ONE_VECTOR = 1e-6
"""Rows as near to each other as this share of their length are one vector, as float32 sees them."""


@dataclass(frozen=True)
class Right:
    """What is right, and which rows are one item, as verbs of the facade take it: the options of
    these names of :func:`open_task`."""

    relevance: Any = None
    labels: Any = None
    paired: bool | None = None
    query_items: Any = None
    candidate_items: Any = None

    @property
    def said(self) -> dict[str, Any]:
        """What is right, without the items."""
        return {"relevance": self.relevance, "labels": self.labels, "paired": self.paired}

    def open(
        self, queries: Any, candidates: Any, called: tuple[str, str] = SIDES, **options: Any
    ) -> tuple[RetrievalTask, list[InputWarning]]:
        """The task of rows as they were given, and what they say about what is said to be right;
        rows that were taken for pairs and are none are no pairs of the task.

        ``called``: what messages call both sides. ``options``: of :func:`open_task`.
        """
        task = open_task(queries, candidates, **vars(self), distinct=False, **options)
        no_pairs, found = look_at_pairs(task, called, **self.said)
        return task.without_pairs() if no_pairs else task, found


def open_task(
    queries: Any,
    candidates: Any,
    *,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    score: str = "cosine",
    names: tuple[str, str] = SIDES,
    direction: str = "queries_to_candidates",
    max_rows: int | None = None,
    unit_tolerance: float | None = None,
    query_items: Any = None,
    candidate_items: Any = None,
    distinct: bool = True,
    summarised: bool = False,
    searched: bool = True,
    seed: int = 0,
    engine: Any = None,
    progress: Progress | None = None,
) -> RetrievalTask:
    """Open both sides, refuse what makes every later number wrong, and keep the rows to be scored.

    Args:
        queries, candidates: (n, d) and (K, d) arrays or tensors, paths, globs or ``Rows``.
        relevance: a ``Relevance``; (r, 2) integers (query row, candidate row); pairs of ids; three
            columns (query, candidate, grade); a mapping of query id to candidate id to grade; a
            file of any of these, qrels of TREC and BEIR too; or ``"ids"``: candidates with a
            query's id are right for it.
        labels: (n,) integers or a file of them: query i belongs to candidate ``labels[i]``. Or (n,)
            names of classes, which are ids of the candidates or stand beside: (labels, names).
        paired: query i belongs to candidate i; None takes equal lengths as pairs.
        score: how the user searches today; under cosine rows are normalised here.
        max_rows: most rows kept of a side, a seeded sample that keeps what is right together.
        unit_tolerance: rows whose norms are all this near 1 are normalised under any score.
        query_items, candidate_items: (n,), (K,) whole numbers or words, or a file of them: rows
            with one name are one item (crops, chunks, views). An answer is an item, and what is
            right for one row of an item is right for all.
        distinct: rows that repeat an earlier row exactly are one item, and the task holds it once
            (:meth:`RetrievalTask.distinct`); ``query_input.rows`` and ``candidate_input.rows`` say
            which rows it holds. False: rows and what is right as they were given.
        searched: rows are to be told apart, so a side that is one vector is refused.
        summarised: also sum moments over *all* rows of both inputs, in one streaming pass.

    Raises:
        IsthmusError: as the sentence says.
    """
    check_score(score)
    first, second = opened(queries, names[0]), opened(candidates, names[1])
    check_same_space(names[0], first.dim, names[1], second.dim)
    right = relevance_of(
        first.rows,
        second.rows,
        relevance=relevance,
        labels=labels,
        paired=paired,
        names=names,
        sources=(first, second),
    )
    sides = (
        _Side(names[0], first, _named(query_items, first, "query_items")),
        _Side(names[1], second, _named(candidate_items, second, "candidate_items")),
    )
    normalised = score == "cosine"
    pair = None
    if summarised:
        say = progress or quiet
        watch: dict[str, Any] = {"normalised": normalised, "engine": engine}
        watch["on_partition"] = lambda done, of: say("moments", done, of)
        as_pairs = relevance is None and labels is None and right.is_paired
        sides, pair = _summed(sides, as_pairs, watch)
    places = _places(right, max_rows, seed)
    kept = [side.kept(rows, normalised) for side, rows in zip(sides, places, strict=True)]
    rows, normalised = _as_searched([read for read, _ in kept], normalised, unit_tolerance)
    for side, name in zip(rows, names, strict=True) if searched else ():
        refuse_one_vector(side, name)
    task = RetrievalTask(
        rows[0],
        rows[1],
        right.restricted(*places),
        score,
        normalised,
        direction=direction,
        query_input=kept[0][1],
        candidate_input=kept[1][1],
        pair=pair,
        query_items=items_among(sides[0].items, places[0]),
        candidate_items=items_among(sides[1].items, places[1]),
        device=Device.of(queries, candidates),
    )
    return task.distinct() if distinct else task


@dataclass(frozen=True, eq=False)
class _Side:
    """One input, and what was found where all its rows were summed.

    ``items`` (n,): lowest row of each row's item, of all rows; None where nothing is named.
    """

    name: str
    source: Rows
    items: np.ndarray | None
    stats: RowStats | None = None
    moments: Moments | None = None

    def kept(self, rows: np.ndarray, cosine: bool) -> tuple[np.ndarray, Input]:
        """Some rows as float64, and the input with them; rows that cannot be used are refused."""
        source, named = self.source, self.items
        read = source.read() if len(rows) == source.rows else source.take(rows)
        seen = self.stats or _stats_of(read, rows)
        seen.refuse(self.name, cosine=cosine, source=source)
        twins, apart = exact_items(read) if seen.duplicates else None, 0
        if twins is not None and named is not None:
            alike, twins = twins, both_items(twins, named[rows])
            apart = len(np.unique(twins)) - len(np.unique(alike))
        given = Input(self.name, source, seen, rows, self.moments, twins, apart, named)
        return read.astype(np.float64), given


def _named(names: Any, source: Rows, what: str) -> np.ndarray | None:
    return None if names is None else named_items(names, source.rows, what)


def _summed(
    sides: tuple[_Side, _Side], as_pairs: bool, watch: dict[str, Any]
) -> tuple[tuple[_Side, _Side], PairMoments | None]:
    """Both sides with statistics and moments of all their rows, and the moments of their pairs.

    Rows that cannot be used are refused before any are kept.
    """
    first, second = sides
    pair = None
    if as_pairs:
        both = summarise(first.source, second.source, **watch)
        assert both.pair is not None
        assert both.stats_b is not None
        pair, stats, moments = both.pair, (both.stats_a, both.stats_b), (both.pair.a, both.pair.b)
    else:
        one, other = (summarise(side.source, **watch) for side in sides)
        stats, moments = (one.stats_a, other.stats_a), (one.a, other.a)
    for side, seen in zip(sides, stats, strict=True):
        seen.refuse(side.name, cosine=watch["normalised"], source=side.source)
    return (
        replace(first, stats=stats[0], moments=moments[0]),
        replace(second, stats=stats[1], moments=moments[1]),
    ), pair


def _as_searched(
    sides: list[np.ndarray], normalised: bool, tolerance: float | None
) -> tuple[list[np.ndarray], bool]:
    """Rows as they are searched, and whether they are normalised: asked for, or nearly so."""
    if not normalised and tolerance is not None:
        normalised = all(near_unit(rows, tolerance) for rows in sides)
    return [np.asarray(unit(rows)) for rows in sides] if normalised else sides, normalised


def refuse_one_vector(rows: np.ndarray, name: str) -> None:
    """Refuse rows (n, d) that are one vector: no search can tell them apart. O(n d).

    Raises:
        ValuesError: several rows, all within :data:`ONE_VECTOR` of their length of the first.
    """
    most = ONE_VECTOR * np.abs(rows[:1]).max(initial=0.0)
    alike = (np.abs(some - rows[:1]).max(initial=0.0) <= most for some in (rows[:16], rows))
    if len(rows) > 1 and all(alike):
        raise ValuesError(
            "one-vector",
            f"{name}: all {len(rows)} rows are one vector to {ONE_VECTOR:g} of its length; "
            "expected rows that differ: an encoder that fails, or lacks its last step, gives these",
        )


def item_notes(task: RetrievalTask) -> list[InputWarning]:
    """What is said of ids and judgements, and of each side whose rows are not items."""
    found = list(task.relevance.notes)
    for given, items in (
        (task.query_input, task.query_items),
        (task.candidate_input, task.candidate_items),
    ):
        if given is None:
            continue
        found += given.stats.repeated(given.name, given.apart)
        count = 0 if items is None else len(np.unique(items))
        if items is not None and len(items) - count != given.stats.duplicates:
            text = f"{given.name}: {len(items)} rows are {count} items, as they are named"
            found.append(InputWarning("duplicates", text))
    return found


def _stats_of(rows: np.ndarray, kept: np.ndarray) -> RowStats:
    """Statistics of some rows of an input; bad rows are named by their number there."""
    seen = RowStats.of(rows)
    wild, zero = (
        tuple(int(kept[row]) for row in found) for found in (seen.nonfinite_first, seen.zeros_first)
    )
    return replace(seen, nonfinite_first=wild, zeros_first=zero)


def _places(relevance: Relevance, most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers kept of each side: all, or a seeded sample that keeps what is right together."""
    n, m = relevance.queries, relevance.candidates
    if most is None or (n <= most and m <= most):
        return np.arange(n), np.arange(m)
    rng = stream("audit.sample", seed)
    kept = np.sort(rng.permutation(n)[:most]) if n > most else np.arange(n)
    if m <= most:
        return kept, np.arange(m)
    wanted = np.unique(relevance.pairs[np.isin(relevance.pairs[:, 0], kept), 1])
    others = np.setdiff1d(rng.permutation(m)[: 2 * most], wanted, assume_unique=True)
    rng.shuffle(others)
    rng.shuffle(wanted)
    return kept, np.sort(np.concatenate([wanted, others])[:most])
