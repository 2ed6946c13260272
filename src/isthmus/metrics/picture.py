"""The gap picture: both modalities seen along the gap and across it."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.seeds import stream

MOST = 600
MOST_PAIRS = 40
DIGITS = 4


def gap_picture(
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    mean_a: np.ndarray,
    mean_b: np.ndarray,
    *,
    seed: int,
    most: int = MOST,
    paired: bool = False,
) -> dict[str, Any]:
    """Two coordinates per row: along the gap, and the widest direction across it.

    The origin is the midpoint of the means, side b lies towards positive x. The second axis is the
    leading principal direction of the drawn rows, each side about its own mean, after the gap
    direction is taken out; its sign makes its largest entry positive. Where the means coincide
    there is no gap direction, and the two leading principal directions are drawn.

    Args:
        rows_a, rows_b: (n, d) and (m, d) float64 rows as they were measured.
        mean_a, mean_b: (d,) means of all rows of each side.
        seed: of the sample of rows where a side has more than ``most``.
        most: rows drawn of each side at most.
        paired: row i of a belongs to row i of b; the same rows are then drawn on both sides.

    Returns:
        ``a`` and ``b``: ``x`` and ``y`` of each row drawn; ``means``: the same of the two means;
        ``axes``: what x and y are; ``rows``: points in all; ``pairs``: that many first points of
        a and b belong together (0 where unpaired); ``y_share``: share of the drawn rows' variance
        about their means that lies along y, or None where they have none.
    """
    drawn_a, drawn_b = _drawn(rows_a, rows_b, seed, most, paired)
    gap = mean_b - mean_a
    length = float(np.linalg.norm(gap))
    centred = np.vstack([drawn_a - drawn_a.mean(axis=0), drawn_b - drawn_b.mean(axis=0)])
    total = float((centred**2).sum())
    along = gap / length if length > 0 else _leading(centred)
    centred = centred - np.outer(centred @ along, along)
    across = _leading(centred)
    across = across - (across @ along) * along
    middle = (mean_a + mean_b) / 2

    def place(rows: np.ndarray) -> dict[str, Any]:
        moved = rows - middle
        return {"x": _rounded(moved @ along), "y": _rounded(moved @ across)}

    return {
        "a": place(drawn_a),
        "b": place(drawn_b),
        "means": {"a": place(mean_a[None, :]), "b": place(mean_b[None, :])},
        "axes": {
            "x": "along the gap" if length > 0 else "first principal direction (no gap)",
            "y": "first principal direction, gap removed",
        },
        "rows": len(drawn_a) + len(drawn_b),
        "pairs": min(MOST_PAIRS, len(drawn_a)) if paired else 0,
        "y_share": round(float(((centred @ across) ** 2).sum()) / total, DIGITS) if total else None,
    }


def _drawn(
    a: np.ndarray, b: np.ndarray, seed: int, most: int, paired: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A seeded sample of each side, the same places on both where paired."""
    rng = stream("picture", seed)
    pick_a = rng.permutation(len(a))[:most]
    pick_b = pick_a if paired else rng.permutation(len(b))[:most]
    return a[pick_a], b[pick_b]


def _leading(centred: np.ndarray) -> np.ndarray:
    """Leading right singular vector of (n, d) rows; zero where all rows are zero."""
    n, d = centred.shape
    small = centred @ centred.T if n < d else centred.T @ centred
    vector = np.linalg.eigh(small)[1][:, -1]
    vector = centred.T @ vector if n < d else vector
    length = float(np.linalg.norm(vector))
    if length == 0 or not centred.any():
        return np.zeros(d)
    vector = vector / length
    return vector * np.sign(vector[np.abs(vector).argmax()])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), DIGITS) + 0.0 for v in values]
