"""Rows that are one item: a picture stored once per caption, crops, chunks, views.

An answer is an item, not a row. A search that returns another row of the same item has not changed
its answer, and a twin of a right row is right. Every item is stood for by its lowest row, so that
answers of two searches can be compared as row numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import LabelsError


def exact_items(rows: np.ndarray) -> np.ndarray:
    """Lowest row with the same values as each row, (n,) int64; 0.0 and -0.0 are one value.

    Rows (n, d) are compared bit by bit in their own dtype. O(n log n) comparisons of rows.
    """
    plain = np.ascontiguousarray(rows) + rows.dtype.type(0)
    if plain.shape[0] == 0 or plain.shape[1] == 0:
        return np.arange(len(plain))
    whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    return _lowest(np.unique(whole, return_inverse=True)[1])


def named_items(names: Any, rows: int, what: str) -> np.ndarray:
    """Lowest row with the same name as each row, (n,) int64.

    Args:
        names: (n,) integers or strings, one for each row. what: what a refusal calls them.

    Raises:
        LabelsError: another number of names than rows, or more than one axis.
    """
    given = np.asarray(names)
    if given.shape != (rows,):
        raise LabelsError(
            "items-do-not-fit",
            f"{what} has shape {given.shape} for {rows} rows; expected one item name per row",
        )
    if given.dtype.kind not in "iuUSO":
        raise LabelsError(
            "items-not-names",
            f"{what} holds {given.dtype}; expected whole numbers or words that name items",
        )
    if given.dtype.kind == "O":
        given = given.astype(str)
    return _lowest(np.unique(given, return_inverse=True)[1])


def _lowest(groups: np.ndarray) -> np.ndarray:
    groups = groups.reshape(-1)
    first = np.full(int(groups.max()) + 1 if len(groups) else 0, len(groups), np.int64)
    np.minimum.at(first, groups, np.arange(len(groups)))
    return first[groups]


def one_row_each(items: np.ndarray | None) -> bool:
    """Every item has one row, so rows are items."""
    return items is None or bool((items == np.arange(len(items))).all())


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
