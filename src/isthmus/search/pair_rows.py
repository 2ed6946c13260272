"""The rows of a task on which its pairs, labels or relevance are tested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.core.arrays import unit
from isthmus.data import Rows
from isthmus.data.source import ids_of
from isthmus.errors import with_id
from isthmus.search.inputs import Input
from isthmus.search.items import exact_items
from isthmus.search.task import RetrievalTask

MOST_ROWS = 4000
"""Rows of a side that are looked at: all, or so many in :data:`WINDOWS` stretches."""
WINDOWS = 8


@dataclass(frozen=True, eq=False)
class PairRows:
    """Unit rows of both sides, pairs among them, and what their numbers are in the inputs.

    ``queries`` (n, d) and ``candidates`` (K, d) are float32; ``pairs`` (m, 2) are places in them,
    in the order of the input; ``query_rows`` (n,) and ``candidate_rows`` (K,) are row numbers,
    ``query_items`` and ``candidate_items`` their items, where rows are not items; the sources know
    ids.
    ``paired``: row i of one side is paired with row i of the other. ``complete``: every row was
    looked at, not stretches alone.
    """

    queries: np.ndarray
    candidates: np.ndarray
    pairs: np.ndarray
    query_rows: np.ndarray
    candidate_rows: np.ndarray
    paired: bool
    complete: bool
    query_items: np.ndarray | None = None
    candidate_items: np.ndarray | None = None
    query_source: Rows | None = None
    candidate_source: Rows | None = None

    def query(self, place: int) -> str:
        """The number of a query's row, with its id where it has one."""
        return with_id(int(self.query_rows[place]), ids_of(self.query_source))

    def candidate(self, place: int) -> str:
        """The same for a candidate."""
        return with_id(int(self.candidate_rows[place]), ids_of(self.candidate_source))

    def reversed(self) -> PairRows:
        """The same with the roles exchanged, in the order of the candidates' pairs."""
        return PairRows(
            self.candidates,
            self.queries,
            self.pairs[:, ::-1],
            self.candidate_rows,
            self.query_rows,
            self.paired,
            self.complete,
            self.candidate_items,
            self.query_items,
            self.candidate_source,
            self.query_source,
        )


def pair_rows(task: RetrievalTask) -> PairRows | None:
    """Rows and pairs to test, or None where nothing is said to be right.

    Shifts of rows can only be seen among neighbours, so a large input is looked at in contiguous
    stretches of the file, evenly spread, and not in the sample of rows that is scored.
    """
    pairs = task.relevance.pairs
    if task.lists is not None or len(pairs) < 2:
        return None
    query_places, candidate_places = _places(task.query_input), _places(task.candidate_input)
    sources = _count(task.query_input, task.queries), _count(task.candidate_input, task.candidates)
    if query_places is not None:
        pairs = np.column_stack([query_places[pairs[:, 0]], pairs[:, 1]])
    if candidate_places is not None:
        pairs = np.column_stack([pairs[:, 0], candidate_places[pairs[:, 1]]])
    paired = sources[0] == sources[1] and bool((pairs[:, 0] == pairs[:, 1]).all())
    if paired:
        rows = _stretches(sources[0])
        pairs, query_rows, candidate_rows = np.column_stack([rows, rows]), rows, rows
    else:
        candidate_rows = _stretches(sources[1])
        pairs = pairs[np.isin(pairs[:, 1], candidate_rows)]
        pairs = pairs[_stretches(len(pairs))]
        query_rows = np.unique(pairs[:, 0])
        if sources[0] <= MOST_ROWS:  # neighbours of those that are judged, for shifts
            query_rows = np.arange(sources[0])
    if len(pairs) < 2:
        return None
    places = np.column_stack(
        [np.searchsorted(query_rows, pairs[:, 0]), np.searchsorted(candidate_rows, pairs[:, 1])]
    )
    queries = _rows(task.query_input, task.queries, query_rows)
    candidates = _rows(task.candidate_input, task.candidates, candidate_rows)
    return PairRows(
        queries,
        candidates,
        places,
        query_rows,
        candidate_rows,
        paired,
        max(*sources, len(task.relevance.pairs)) <= MOST_ROWS,
        _items(queries, task.query_items, query_places, query_rows),
        _items(candidates, task.candidate_items, candidate_places, candidate_rows),
        *(None if g is None else g.source for g in (task.query_input, task.candidate_input)),
    )


def rows_in_order(first: Rows, second: Rows) -> PairRows | None:
    """The same where nothing is said: row i with row i, of two sides that have equally many."""
    if first.rows != second.rows or first.rows < 2:
        return None
    rows = _stretches(first.rows)
    a, b = (_unit(source.take(rows)) for source in (first, second))
    pairs = np.repeat(np.arange(len(rows))[:, None], 2, axis=1)
    complete = first.rows <= MOST_ROWS
    items = exact_items(a), exact_items(b)
    return PairRows(a, b, pairs, rows, rows, True, complete, *items, first, second)


def _items(
    rows: np.ndarray, named: np.ndarray | None, places: np.ndarray | None, wanted: np.ndarray
) -> np.ndarray:
    """Items of the rows looked at: by their names where every row has one, else by their values."""
    return exact_items(rows) if named is None or places is not None else named[wanted]


def _stretches(count: int) -> np.ndarray:
    """All of ``count`` rows, or contiguous stretches of them, evenly spread."""
    if count <= MOST_ROWS:
        return np.arange(count)
    size = MOST_ROWS // WINDOWS
    starts = np.linspace(0, count - size, WINDOWS).round().astype(np.int64)
    return np.unique(starts[:, None] + np.arange(size))


def _count(given: Input | None, rows: np.ndarray) -> int:
    return len(rows) if given is None else given.source.rows


def _places(given: Input | None) -> np.ndarray | None:
    """Row numbers of the rows a task holds, where they are not all rows."""
    return None if given is None or len(given.rows) == given.source.rows else given.rows


def _rows(given: Input | None, held: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    everything = given is None or len(given.rows) == given.source.rows
    rows = held[wanted] if everything else given.source.take(wanted)  # type: ignore[union-attr]
    return _unit(rows)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(unit(rows.astype(np.float32))))
