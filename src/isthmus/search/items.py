"""Rows that are one item: a picture stored once per caption, crops, chunks, views.

An answer is an item, not a row. A search that returns another row of the same item has not changed
its answer, and a twin of a right row is right. Every item is stood for by its lowest row, so that
answers of two searches can be compared as row numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.labels import names_of

SUMMED = 512
"""Rows whose bits are summed at once."""


def exact_items(rows: np.ndarray) -> np.ndarray:
    """Lowest row with the same values as each row, (n,) int64; 0.0 and -0.0 are one value.

    Rows (n, d) are compared bit by bit in their own dtype, where the sums of their bits are one.
    O(n d), and O(m log m) comparisons of the m rows that share a sum.
    """
    items, zero = np.arange(len(rows)), rows.dtype.type(0)
    if rows.shape[1] == 0:
        return items
    bits = np.dtype(f"u{rows.dtype.itemsize}")
    sums = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), SUMMED):
        part = np.ascontiguousarray(rows[start : start + SUMMED]) + zero
        sums[start : start + SUMMED] = part.view(bits).sum(axis=1, dtype=np.uint64)
    _, place, count = np.unique(sums, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(count[place] > 1)
    if len(alike):
        plain = np.ascontiguousarray(rows[alike]) + zero
        whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
        items[alike] = alike[_lowest(np.unique(whole, return_inverse=True)[1])]
    return items


def named_items(names: Any, rows: int, what: str) -> np.ndarray:
    """Lowest row with the same name as each row, (n,) int64.

    Args:
        names: (n,) words or whole numbers, or a file of them. what: what a refusal calls them.

    Raises:
        LabelsError: not names, or another number than ``rows``. FileError: an unreadable file.
    """
    return _lowest(np.unique(names_of(names, rows, what), return_inverse=True)[1])


def items_of(given: Any, rows: int, what: str) -> np.ndarray | None:
    """The same; None where nothing is named, or every row by itself. Raises as above."""
    if given is None:
        return None
    items = named_items(given, rows, what)
    return None if one_row_each(items) else items


def both_items(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Lowest row that is one item with each row by both of two namings, (n,) int64."""
    return _lowest(np.unique(first * len(first) + second, return_inverse=True)[1])


def items_among(items: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """The items of some rows, renumbered by their places; None where each row is its own."""
    if items is None:
        return None
    kept = _lowest(np.unique(items[rows], return_inverse=True)[1])
    return None if one_row_each(kept) else kept


def _lowest(groups: np.ndarray) -> np.ndarray:
    groups = groups.reshape(-1)
    first = np.full(int(groups.max()) + 1 if len(groups) else 0, len(groups), np.int64)
    np.minimum.at(first, groups, np.arange(len(groups)))
    return first[groups]


def one_row_each(items: np.ndarray | None) -> bool:
    """Every item has one row, so rows are items."""
    return items is None or bool((items == np.arange(len(items))).all())


@dataclass(frozen=True, eq=False)
class ItemColumns:
    """Turns scores of rows into scores of items, each that of its best row.

    Attributes:
        rows: (G,) the lowest row of each item, ascending: what stands for column g.
        order, starts: (K,), (G,): rows sorted by item, and where each item begins.
    """

    rows: np.ndarray
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, items: np.ndarray) -> ItemColumns:
        """From the lowest row of each row's item, (K,)."""
        order = np.argsort(items, kind="stable")
        rows, starts = np.unique(items[order], return_index=True)
        return cls(rows, order, starts)

    def best(self, scores: np.ndarray) -> np.ndarray:
        """(b, K) scores of rows -> (b, G) scores of items."""
        return np.asarray(np.maximum.reduceat(scores[:, self.order], self.starts, axis=1))


def rows_for(items: np.ndarray, k: int) -> int:
    """How many best rows are sure to hold the k best items."""
    largest = int(np.unique(items, return_counts=True)[1].max())
    return min(len(items), (k - 1) * largest + 1)


def best_items(rows: np.ndarray, items: np.ndarray | None, k: int, missing: int = -1) -> np.ndarray:
    """The first k different items of ranked rows (n, r), best first, (n, k); ``missing`` fills up.

    An item counts once, at its best row.
    """
    if items is None or one_row_each(items):
        found = rows[:, :k]
        lack = k - found.shape[1]
        return np.pad(found, ((0, 0), (0, lack)), constant_values=missing) if lack > 0 else found
    named = np.where(rows >= 0, items[np.maximum(rows, 0)], -1)
    out = np.full((len(rows), k), missing, np.int64)
    for i, line in enumerate(named):
        _, first = np.unique(line, return_index=True)
        kept = line[np.sort(first)]
        kept = kept[kept >= 0][:k]
        out[i, : len(kept)] = kept
    return out
