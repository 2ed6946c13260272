"""What readings say, in the words in which people ask about it.

Every rule is a function of the readings, so that readings that were kept can be asked again. A
*fault* is something to mend; a *note* says what is normal, so that nobody mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.records import Record

MAX_SCALE = 100.0
LEAST = 4
"""Readings before anything is said."""
FROZEN = 0.05
USUAL_ROWS = 1000
"""Held-out rows that a recall is taken to be of, where nothing is said."""
MODERATE = 0.19
"""Smallest gap that is called one: I0T's scale, as ``severity`` of the gap report."""

Reading = Mapping[str, Any]


@dataclass(frozen=True)
class Finding(Record):
    """One finding: a stable code, whether it is a fault, and a sentence or two."""

    code: str
    fault: bool
    text: str


def diagnose(history: Sequence[Reading], *, max_scale: float = MAX_SCALE) -> list[Finding]:
    """What the readings say, faults first. Each reading is a dict of numbers, oldest first.

    Keys that are missing or None silence the rules that need them. Fewer than 4 readings say
    nothing, but for rows that are not finite.
    """
    found = [rule(history, max_scale) for rule in RULES]
    said = [finding for finding in found if finding is not None]
    if len(history) < LEAST:
        said = [finding for finding in said if finding.code == "not-finite"]
    return sorted(said, key=lambda finding: not finding.fault)


def series(history: Sequence[Reading], name: str) -> np.ndarray:
    """The values of one number over the readings that have it, (k,)."""
    return np.array([r[name] for r in history if r.get(name) is not None], np.float64)


def not_finite(history: Sequence[Reading], max_scale: float) -> Finding | None:
    bad = series(history[-3:], "bad_rows")
    if not bad.size or bad.max() == 0:
        return None
    return Finding(
        "not-finite",
        True,
        f"{bad.max():.0%} of the rows are NaN, infinite or zero: the training has diverged. Go "
        "back to a checkpoint, and lower the learning rate or the precision's loss scale.",
    )


def scale_falling(history: Sequence[Reading], max_scale: float) -> Finding | None:
    scale = series(history, "scale")
    if len(scale) < LEAST or scale[-1] > 5 or scale[-1] > scale[0] / 2 or scale[-1] > scale[-3]:
        return None
    return Finding(
        "scale-falling",
        True,
        f"The logit scale has fallen from {scale[0]:.1f} to {scale[-1]:.1f} and heads for 1, "
        "where the loss can hardly tell pairs apart. Usual causes: weight decay on it (give the "
        "scale its own group without decay), or pairs that are mostly mismatched.",
    )


def dead_bias(history: Sequence[Reading], max_scale: float) -> Finding | None:
    bias, gradient = series(history, "bias"), series(history, "bias_gradient")
    if len(bias) < LEAST:
        return None
    if gradient.size:
        dead = bool((gradient == 0).all())
    else:
        scale = series(history, "scale")
        dead = bool(np.ptp(bias) == 0 and scale.size and np.ptp(scale) > 0)
    if not dead:
        return None
    return Finding(
        "dead-bias",
        True,
        f"The logit bias is {bias[-1]:.2f} and gets no gradient. In a softmax loss a bias cancels: "
        "it works with the sigmoid loss only. Otherwise the loss is not given it, or it is frozen.",
    )


def collapse(history: Sequence[Reading], max_scale: float) -> Finding | None:
    for side in "ab":
        spread = series(history, f"spread_{side}")
        rank = series(history, f"effective_rank_{side}")
        if len(spread) < LEAST or spread[-1] > 1.2 * spread[0]:
            continue
        points, lines = (spread[-2:] < 0.02).all(), (rank[-2:] < 1.5).all()
        if points or lines:
            return Finding(
                "tower-collapse",
                True,
                f"Tower {side} collapses: its rows are within {np.sqrt(max(spread[-1], 0)):.3f} "
                f"of their mean (effective rank {rank[-1]:.1f}): every input gets nearly one "
                "vector. Look for a loss without repulsion, a learning rate that is too high for "
                "this tower, or inputs that are all alike.",
            )
    return None


def recall_falling(history: Sequence[Reading], max_scale: float) -> Finding | None:
    name = "held_out_recall"
    if len(series(history, name)) < LEAST:
        name = "recall"
    both = [(r["loss"], r[name]) for r in history if None not in (r.get("loss"), r.get(name))]
    if len(both) < LEAST:
        return None
    loss, recall = np.array(both, np.float64).T
    best = int(recall.argmax())
    after, top = recall[best + 1 :], recall[best]
    if len(after) < 2:
        return None
    size = "rows" if name == "recall" else "held_out_rows"
    error = np.sqrt(top * (1 - top) / (history[-1].get(size) or USUAL_ROWS))
    worse = after[-2:].max() < min(0.75 * top, top - 3 * error)
    if not (worse and loss[-1] < loss[best]):
        return None
    where = "held-out recall" if name == "held_out_recall" else "recall inside batches"
    return Finding(
        "recall-falling",
        True,
        f"The loss falls ({loss[best]:.3g} to {loss[-1]:.3g}) while {where} has fallen from "
        f"{recall[best]:.3f} to {recall[-1]:.3f}. The model learns something that tells pairs "
        "apart in training only: overfitting, a leak between the two inputs (file names, order, "
        "watermarks), or pairs that slipped by a row.",
    )


def ceiling(history: Sequence[Reading], max_scale: float) -> Finding | None:
    scale = series(history, "scale")
    if not scale.size or scale[-1] < 0.99 * max_scale:
        return None
    return Finding(
        "scale-at-ceiling",
        False,
        f"The logit scale is at its ceiling of {max_scale:g}. That is normal, and where CLIP ends. "
        "From here on the temperature no longer moves the gap.",
    )


def gap_moves(history: Sequence[Reading], max_scale: float) -> Finding | None:
    gap, ratio = series(history, "gap"), series(history, "gap_over_tau")
    if len(gap) < LEAST or gap[-1] < MODERATE:
        return None
    late = gap[len(gap) // 2 :]
    change = late[-1] / late[0] - 1
    if change < -FROZEN:
        return Finding(
            "gap-closing",
            False,
            f"The gap is closing: {late[0]:.2f} to {late[-1]:.2f} over the last half of the "
            "readings. It does so while pairs are still confused, along directions that carry "
            "variance.",
        )
    if abs(change) <= FROZEN and ratio.size and ratio[-1] > 2:
        return Finding(
            "gap-frozen",
            False,
            f"The gap is frozen at {gap[-1]:.2f}: G² is {ratio[-1]:.1f} times the temperature, "
            "and above 1 training squeezes out what varies along the gap instead of closing it. A "
            "lower scale, or a term in the loss, would close it; a closer can do so afterwards.",
        )
    return None


RULES: tuple[Callable[[Sequence[Reading], float], Finding | None], ...] = (
    not_finite,
    scale_falling,
    dead_bias,
    collapse,
    recall_falling,
    ceiling,
    gap_moves,
)
