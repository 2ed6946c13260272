"""Row beside row: how far each moved, how all moved together, and whether they are in order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from isthmus.core.arrays import EPS32, row_norms, unit
from isthmus.core.seeds import stream
from isthmus.core.statistics import quantiles
from isthmus.errors import first_rows
from isthmus.search.scores import Ranking

WORST = 5
CHECKED = 2000
NEARER = 0.5  # another row explains a new row where it leaves less than half of 1 - cosine
DISPLACED = 0.01


def paired_figures(
    before: np.ndarray,
    after: np.ndarray,
    searched_before: np.ndarray,
    searched_after: np.ndarray,
    others: np.ndarray,
) -> dict[str, Any]:
    """Cosine and norm of each pair, and the mean move. O(n d).

    Args:
        before, after: (n, d) rows as given. searched_before, searched_after: as they enter the
            score (unit rows under cosine). others: the other role's rows, for the gap.

    ``error`` is ‖after - before‖ of the rows as searched, ``relative_error`` its root mean square
    over that of the rows. ``mean_shift`` δ is the difference of the means: ``share`` is ‖δ‖² over
    the mean squared error (1: all rows moved alike), ``along_gap`` is ⟨δ, g⟩² / (‖δ‖² ‖g‖²) with g
    the gap to ``others``; a random direction has 1/d.
    """
    lengths = row_norms(before), row_norms(after)
    whole = (lengths[0] > 0) & (lengths[1] > 0)  # a zero row has no cosine
    apart = unit(before[whole]) - unit(after[whole])
    distance = 0.5 * (apart**2).sum(axis=1)  # keeps its digits where rows all but agree
    cosine = 1 - distance
    ratio = lengths[1][whole] / lengths[0][whole]
    moves = searched_after - searched_before
    squares = (moves**2).sum(axis=1)
    shift = moves.mean(axis=0)
    gap = searched_before.mean(axis=0) - others.mean(axis=0)
    length, gap_square = float(shift @ shift), float(gap @ gap)
    places = np.flatnonzero(whole)
    lowest = np.argsort(cosine, kind="stable")[:WORST]
    energy = float(squares.mean())
    return {
        "cosine": {
            "mean": float(cosine.mean()) if len(cosine) else None,
            "least": float(cosine.min()) if len(cosine) else None,
            **(quantiles(cosine) if len(cosine) else {}),
        },
        "cosine_distance": quantiles(distance) if len(cosine) else None,
        "worst": [
            {"row": int(places[i]), "cosine": float(cosine[i]), "norm_ratio": float(ratio[i])}
            for i in lowest
        ],
        "norm_ratio": quantiles(ratio) if len(ratio) else None,
        "zero_rows": int((~whole).sum()),
        "identical_rows": int((before == after).all(axis=1).sum()),
        "error": {"largest": float(np.sqrt(squares.max())), **quantiles(np.sqrt(squares))},
        "relative_error": float(np.sqrt(energy / max((searched_before**2).sum(1).mean(), 1e-300))),
        "mean_shift": {
            "norm": float(np.sqrt(length)),
            "share": length / energy if energy else 0.0,
            "along_gap": (
                float(shift @ gap) ** 2 / (length * gap_square) if length * gap_square else None
            ),
            "by_chance": 1 / before.shape[1],
            "gap": float(np.sqrt(gap_square)),
        },
    }


def order_of(before: np.ndarray, after: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Are new rows found at another old row than their own? O(min(n, 2000) n d).

    A new row is displaced where some other old row leaves less than half of its 1 - cosine. Noise
    and codecs do not do that (their own row stays nearest); an export in another order, or one row
    dropped in the middle, does. A rotation and another order at once cannot be seen here.
    ``offset`` is the place found minus the own, where one value holds for more than half.
    """
    rng = stream("compare.rows", seed)
    count = len(before)
    rows = np.arange(count) if count <= CHECKED else np.sort(rng.permutation(count)[:CHECKED])
    old, new = unit_or_zero(before), unit_or_zero(after[rows])
    own = np.einsum("ij,ij->i", new, old[rows])
    best, where = np.full(len(rows), -2.0), np.zeros(len(rows), np.int64)
    for start, scores in Ranking.of(new, old, "dot").score_blocks():
        stop = start + len(scores)
        best[start:stop], where[start:stop] = scores.max(axis=1), scores.argmax(axis=1)
    left = 1 - own
    away = (1 - best < NEARER * left) & (left > 64 * EPS32)
    displaced, found = rows[away], where[away]
    share = len(displaced) / len(rows)
    wrong = len(displaced) >= 2 and share > DISPLACED
    offset = None
    if wrong:
        value, times = Counter((found - displaced).tolist()).most_common(1)[0]
        offset = int(value) if times > len(displaced) / 2 else None
    named = first_rows([int(r) for r in displaced[:5]], len(displaced)) if wrong else ""
    steps = f", mostly {abs(offset or 0)} row(s) {'on' if (offset or 0) > 0 else 'back'}"
    return {
        "checked": len(rows),
        "displaced": len(displaced),
        "first": [{"row": int(r), "found_at": int(f)} for r, f in zip(displaced[:5], found[:5])],
        "offset": offset,
        "out_of_order": bool(wrong),
        "words": (
            f"the rows of the two versions seem to be in another order: {len(displaced)} of "
            f"{len(rows)} new rows lie at another old row than their own{steps if offset else ''} "
            f"({named}); every figure below compares row i with row i: align them first"
            if wrong
            else ""
        ),
    }


def unit_or_zero(rows: np.ndarray) -> np.ndarray:
    """Unit rows; zero rows stay zero."""
    out = np.zeros_like(rows)
    whole = row_norms(rows) > 0
    out[whole] = unit(rows[whole])
    return out
