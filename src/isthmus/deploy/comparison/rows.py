"""Row against row: how far each moved, how all moved together, and whether they are in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import EPS32, row_norms, to_numpy, unit, working
from isthmus.core.seeds import stream
from isthmus.core.statistics import quantiles
from isthmus.data import Rows
from isthmus.data.row_stats import RowStats
from isthmus.data.source import id_at, ids_of
from isthmus.data.summary import opened
from isthmus.errors import NotPaired, ShapeError, first_rows
from isthmus.search.items import exact_items, items_of
from isthmus.search.scores import Ranking

WORST = 5
CHECKED = 2000
NEARER = 0.5  # another row explains a new row where it leaves less than half of 1 - cosine
DISPLACED = 0.01


@dataclass(frozen=True, eq=False)
class Version:
    """One version of one side.

    Attributes:
        name: what messages call it. source: where its rows lie. stats: what one pass found.
        given: (n, d) float64 rows as they are. searched: (n, d), as they enter the score: unit
            rows under cosine.
    """

    name: str
    source: Rows
    stats: RowStats
    given: np.ndarray
    searched: np.ndarray

    @classmethod
    def of(cls, rows: Any, name: str, score: str) -> Version:
        """Open and check rows. Raises as ``open_rows`` and ``RowStats.refuse``."""
        cosine = score == "cosine"
        source = opened(rows, name)
        read = source.read()
        stats = RowStats.of(read)
        stats.refuse(name, cosine=cosine, source=source)
        given = to_numpy(working(read, double=True))
        return cls(name, source, stats, given, np.asarray(unit(given)) if cosine else given)

    def items(self, named: Any, what: str) -> np.ndarray | None:
        """Lowest row of each row's item, as named or by equal rows; None: every row is its own."""
        if named is None and self.stats.duplicates:
            return exact_items(self.given)
        return items_of(named, len(self), what)

    def __len__(self) -> int:
        return len(self.given)

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return self.given.shape[1]


def check_same_items(old: Version, new: Version) -> None:
    """Refuse versions that cannot be of the same items.

    Raises:
        NotPaired: unequal lengths. ShapeError: unequal dimensions.
    """
    if len(old) != len(new):
        raise NotPaired(
            "unequal-lengths",
            f"{old.name} has {len(old)} rows and {new.name} has {len(new)}; expected two versions "
            "of the same items, row i of one being row i of the other: drop what only one has",
        )
    if old.dim != new.dim:
        raise ShapeError(
            "unequal-dimensions",
            f"{old.name} has {old.dim} dimensions and {new.name} has {new.dim}; expected two "
            "versions of the same vectors: rows of another length cannot meet the old index",
        )


def paired_figures(before: Version, after: Version, others: Version) -> dict[str, Any]:
    """Cosine and norm of each pair, and the mean move. O(n d).

    ``others`` is the other role, for the gap. ``error`` is ‖after - before‖ of the rows as
    searched, ``relative_error`` its root mean square over that of the rows.
    """
    lengths = row_norms(before.given), row_norms(after.given)
    whole = (lengths[0] > 0) & (lengths[1] > 0)  # a zero row has no cosine
    apart = unit(before.given[whole]) - unit(after.given[whole])
    distance = 0.5 * (apart**2).sum(axis=1)  # keeps its digits where rows all but agree
    cosine = 1 - distance
    ratio = lengths[1][whole] / lengths[0][whole]
    squares = ((after.searched - before.searched) ** 2).sum(axis=1)
    places = np.flatnonzero(whole)
    lowest = np.argsort(cosine, kind="stable")[:WORST]
    size = max((before.searched**2).sum(1).mean(), 1e-300)
    some, ids = len(cosine) > 0, ids_of(before.source)
    return {
        "cosine": {
            "mean": float(cosine.mean()) if some else None,
            "least": float(cosine.min()) if some else None,
            **(quantiles(cosine) if some else {}),
        },
        "cosine_distance": quantiles(distance) if some else None,
        "worst": [
            {
                "row": int(places[i]),
                "id": id_at(ids, int(places[i])),
                "cosine": float(cosine[i]),
                "norm_ratio": float(ratio[i]),
            }
            for i in lowest
        ],
        "norm_ratio": quantiles(ratio) if some else None,
        "zero_rows": int((~whole).sum()),
        "identical_rows": int((before.given == after.given).all(axis=1).sum()),
        "error": {"largest": float(np.sqrt(squares.max())), **quantiles(np.sqrt(squares))},
        "relative_error": float(np.sqrt(squares.mean() / size)),
        "mean_shift": _mean_shift(before.searched, after.searched, others.searched),
    }


def _mean_shift(before: np.ndarray, after: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """The difference δ of the means, rows as searched.

    ``share`` is ‖δ‖² over the mean squared error (1: all rows moved alike), ``along_gap`` is
    ⟨δ, g⟩² / (‖δ‖² ‖g‖²) with g the gap to ``others``; a random direction has 1/d.
    """
    moves = after - before
    energy = float((moves**2).sum(axis=1).mean())
    shift = moves.mean(axis=0)
    gap = before.mean(axis=0) - others.mean(axis=0)
    length, gap_square = float(shift @ shift), float(gap @ gap)
    known = length * gap_square
    return {
        "norm": float(np.sqrt(length)),
        "share": length / energy if energy else 0.0,
        "along_gap": float(shift @ gap) ** 2 / known if known else None,
        "by_chance": 1 / before.shape[1],
        "gap": float(np.sqrt(gap_square)),
    }


def order_of(
    before: np.ndarray, after: np.ndarray, *, ids: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Are new rows found at another old row than their own? O(min(n, 2000) n d).

    A new row is displaced where some other old row leaves less than half of its 1 - cosine. Noise
    and codecs do not do that (their own row stays nearest); an export in another order, or one row
    dropped in the middle, does. A rotation and another order at once cannot be seen here.
    ``ids`` (n,): of the rows, for the words. ``offset`` is the place found minus the own, where
    one value holds for more than half.
    """
    rng = stream("compare.rows", seed)
    count = len(before)
    rows = np.arange(count) if count <= CHECKED else np.sort(rng.permutation(count)[:CHECKED])
    old, new = unit_or_zero(before), unit_or_zero(after[rows])
    left = 1 - np.einsum("ij,ij->i", new, old[rows])
    best, where = np.full(len(rows), -2.0), np.zeros(len(rows), np.int64)
    for start, scores in Ranking.of(new, old, "dot").score_blocks():
        stop = start + len(scores)
        best[start:stop], where[start:stop] = scores.max(axis=1), scores.argmax(axis=1)
    away = (1 - best < NEARER * left) & (left > 64 * EPS32)
    displaced, found = rows[away], where[away]
    wrong = len(displaced) >= 2 and len(displaced) / len(rows) > DISPLACED
    offset = None
    if wrong:
        value, times = Counter((found - displaced).tolist()).most_common(1)[0]
        offset = int(value) if times > len(displaced) / 2 else None
    return {
        "checked": len(rows),
        "displaced": len(displaced),
        "first": [
            {"row": int(r), "found_at": int(f), "id": id_at(ids, int(r))}
            for r, f in zip(displaced[:5], found[:5])
        ],
        "offset": offset,
        "out_of_order": bool(wrong),
        "words": _order_words(displaced, len(rows), offset, ids) if wrong else "",
    }


def _order_words(
    displaced: np.ndarray, checked: int, offset: int | None, ids: np.ndarray | None
) -> str:
    named = first_rows([int(r) for r in displaced[:5]], len(displaced), ids)
    steps = f", mostly {abs(offset)} row(s) {'on' if offset > 0 else 'back'}" if offset else ""
    return (
        f"the rows of the two versions seem to be in another order: {len(displaced)} of "
        f"{checked} new rows lie at another old row than their own{steps} "
        f"({named}); every figure below compares row i with row i: align them first"
    )


def other_ids(old: Version, new: Version) -> str | None:
    """That row i of two versions has two ids, in a sentence; None where ids agree or lack."""
    first, second = ids_of(old.source), ids_of(new.source)
    if first is None or second is None:
        return None
    apart = np.flatnonzero(first.astype(np.str_) != second.astype(np.str_))
    if not len(apart):
        return None
    row = int(apart[0])
    same = set(first.astype(np.str_).tolist()) == set(second.astype(np.str_).tolist())
    return (
        f"{len(apart)} of {len(first)} rows have another id in {new.name} than in {old.name} (row "
        f"{row}: {first[row]} and {second[row]}); rows were compared by their numbers, so "
        + ("put both files into one order of ids" if same else "check that these are one item")
    )


def unit_or_zero(rows: np.ndarray) -> np.ndarray:
    """Unit rows; zero rows stay zero."""
    out = np.zeros_like(rows)
    whole = row_norms(rows) > 0
    out[whole] = unit(rows[whole])
    return out
