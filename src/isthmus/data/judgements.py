"""What is right, as ids and row numbers say it: judgements, and the rows that they name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from isthmus.data.labels import checked_relevance
from isthmus.errors import LabelsError

IDS_WORD = "ids"
"""As relevance: candidates with a query's id are right for it."""
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
"""A whole number in words."""


@dataclass(frozen=True, eq=False)
class Judgements:
    """Judgements as they were given.

    Attributes:
        what: how messages call them. queries, candidates: (m,) row numbers, or ids as words.
        grades: (m,), how relevant; 0 or less is judged and not relevant. None: all are relevant.
        named: whole numbers among ``queries`` and ``candidates`` are ids where rows have ids.
    """

    what: str
    queries: np.ndarray
    candidates: np.ndarray
    grades: np.ndarray | None = None
    named: bool = False

    def rows(
        self, queries: int, candidates: int, ids: tuple[np.ndarray | None, np.ndarray | None]
    ) -> tuple[np.ndarray, np.ndarray | None, str]:
        """Pairs (m', 2) of rows that are relevant, unique and in order, their grades, and a note.

        Args:
            queries, candidates: how many rows there are. ids: of either side, or None.

        Raises:
            LabelsError: words for rows without ids, rows out of range, or nothing known.
        """
        asked, found = (
            _places(column, known, self.named, f"{self.what}, {role} column")
            for column, known, role in (
                (self.queries, ids[0], "query"),
                (self.candidates, ids[1], "candidate"),
            )
        )
        which, q, c = _crossed(asked, found)
        known = np.unique(which)
        if not len(known):
            raise LabelsError(
                "unknown-ids",
                f"{self.what}: none of {len(self.queries)} judgements names a query and a "
                f"candidate that are among the rows, the first '{self.queries[0]}' and "
                f"'{self.candidates[0]}'; give judgements of these rows",
            )
        note = ""
        if lost := len(self.queries) - len(known):
            first = int(np.setdiff1d(np.arange(len(self.queries)), known)[0])
            note = (
                f"{self.what}: {lost} of {len(self.queries)} judgements name an id that is not "
                f"among the rows, the first '{self.queries[first]}' with "
                f"'{self.candidates[first]}'; they are left out"
            )
        pairs, grades = np.column_stack([q, c]), None
        if self.grades is not None:
            grades = self.grades[which]
            pairs, grades = pairs[grades > 0], grades[grades > 0]
            if not len(pairs):
                raise LabelsError("no-relevance", f"{self.what}: no grade of these rows is above 0")
        checked_relevance(pairs, queries, candidates)
        return *unique_pairs(pairs, grades), note


def unique_pairs(
    pairs: np.ndarray, grades: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Each pair once, in order; of several grades the highest."""
    if grades is None or not len(pairs):
        return np.unique(pairs, axis=0).reshape(-1, 2), grades
    order = np.lexsort((-grades, pairs[:, 1], pairs[:, 0]))
    pairs, grades = pairs[order], grades[order]
    first = np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)]
    return pairs[first], grades[first]


def _places(
    column: np.ndarray, ids: np.ndarray | None, named: bool, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """(which entries, the rows they name), each (m',): a name is of one row, several or none."""
    words = column.dtype.kind == "U" and not all(map(WHOLE.fullmatch, column.tolist()))
    every = np.arange(len(column))
    if ids is not None and (named or words):
        return rows_named(column.astype(np.str_), ids)
    if words:
        word = next(w for w in column.tolist() if not WHOLE.fullmatch(w))
        raise LabelsError(
            "no-ids",
            f"{what}: '{word}' is the id of a row, but these rows have no ids; give rows that have "
            "(docs/files.md: ids), such as FILE.ids.txt beside FILE, or row numbers",
        )
    return every, column.astype(np.int64)


def rows_named(names: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which names, the row of each), for names (m,) and ids (n,): every row that has the name.

    O((m + n) log n) comparisons of words.
    """
    known = ids.astype(np.str_)
    order = np.argsort(known, kind="stable")
    low, high = (np.searchsorted(known[order], names, side) for side in ("left", "right"))
    return np.repeat(np.arange(len(names)), high - low), order[_runs(low, high)]


def _runs(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """low[0] … high[0] - 1, low[1] … high[1] - 1, … one after another."""
    sizes = high - low
    starts = np.repeat(low - np.r_[0, np.cumsum(sizes)[:-1]], sizes)
    return starts + np.arange(int(sizes.sum()))


def _crossed(
    asked: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(judgement, query row, candidate row): every pair of rows that one judgement names."""
    low, high = (np.searchsorted(found[0], asked[0], side) for side in ("left", "right"))
    sizes = high - low
    return (np.repeat(asked[0], sizes), np.repeat(asked[1], sizes), found[1][_runs(low, high)])
