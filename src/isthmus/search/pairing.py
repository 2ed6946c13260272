"""Do the rows that are said to belong together belong together? Tested on the rows, not believed.

The signal of a pair is the product of its two rows after each side's mean is taken off: on average
0 for rows that do not belong together, above 0 for rows that do. One skipped item makes all later
pairs belong to a neighbour's row; that is found by measuring the signal at every small shift and
choosing, row by row, the shift that explains it best (Viterbi's algorithm with a price for every
change of the shift). A mixed-up order has no shift; it is found by rows that find each other: row i
of one side and row j of the other are each other's nearest by a clear margin. In a trained model
nearly all such rows are pairs; see ``docs/warnings.md`` for the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from isthmus.core.statistics import wilson

MAX_SHIFT = 20
"""Shifts of up to so many rows either way are tried."""
CLEAR_MARGIN = 0.5
"""Rows find each other clearly where the next best is this many standard deviations behind."""
LEAST_CLEAR = 12
LEAST_CLEAR_SHARE = 0.1
"""So many rows, and such a share, must find each other before their places say anything: rows that
have nothing in common find each other so at a rate of about .05."""
CLEAR_PAIRED = 0.9
"""Below this share of clear finds that are pairs, rows are out of order."""
LEAST_SIGNAL = 3.0
"""Standard errors that the mean signal of the pairs must be above 0."""
LEAST_GAIN = 25.0
"""Log-likelihood that a segment at another shift must gain over no shift."""
LEAST_SLIPPED = 0.05
"""Share of the pairs that must fit other shifts, unless one fits up to the last pair."""
WITHOUT_SIGNAL = 0.25
"""Share of the signal at the right shift below which pairs as given have next to none."""
BLOCK = 50
ROUNDING = 1e-6
"""Scores that spread less than this beside the largest product of values are rounding."""
MOST_STRENGTH = 3.0
"""A stronger signal counts as this, so that a weak but right pair is not taken for a wrong one."""


@dataclass(frozen=True)
class Segment:
    """Pairs ``start`` to ``stop`` (without it): row i belongs to row i + ``shift`` of the other.

    ``shift`` None: no small shift explains them. ``signal``: mean, in standard deviations of rows
    that do not belong together. ``own``: the same of the pairs as given.
    """

    start: int
    stop: int
    shift: int | None
    signal: float
    own: float


@dataclass(frozen=True)
class PairingCheck:
    """What the rows say about a pairing.

    Attributes:
        pairs: how many were looked at.
        signal: mean signal of the pairs as given, in its standard errors.
        strength: the same mean in standard deviations of rows that do not belong together.
        segments: stretches of pairs and the shift that fits each; one with shift 0 where all is
            well; empty where no shift carries a signal.
        searched: items of the smaller side.
        clear: rows of the two sides that find each other by a clear margin.
        clear_paired: how many of those are pairs as given (or at the segment's shift).
        examples: up to 5 (row, row it is paired with, row that it finds).
    """

    pairs: int
    signal: float
    strength: float
    segments: tuple[Segment, ...]
    searched: int
    clear: int
    clear_paired: int
    examples: tuple[tuple[int, int, int], ...]

    @property
    def has_signal(self) -> bool:
        """The pairs as given are better than chance."""
        return self.signal >= LEAST_SIGNAL

    @property
    def slipped(self) -> tuple[Segment, ...]:
        """Stretches that fit another shift than 0, where they are what a skipped item leaves.

        It shifts every later pair: a large share of the pairs, or a stretch up to the last that
        is long or whose pairs as given have next to no signal. Short stretches with good pairs
        after them are neighbours that resemble each other, as in files that are sorted by what
        they show.
        """
        moved = tuple(s for s in self.segments if s.shift)
        to_the_end = any(
            s.stop >= self.pairs - max(MAX_SHIFT, abs(s.shift or 0))
            and (s.stop - s.start >= BLOCK or s.own < WITHOUT_SIGNAL * s.signal)
            for s in moved
        )
        share = sum(s.stop - s.start for s in moved) / max(self.pairs, 1)
        return moved if to_the_end or share >= LEAST_SLIPPED else ()

    @property
    def out_of_order(self) -> bool:
        """Rows find each other clearly, and too few of these finds are pairs."""
        if self.clear < max(LEAST_CLEAR, LEAST_CLEAR_SHARE * self.searched) or self.slipped:
            return False
        return wilson(self.clear_paired, self.clear).high < CLEAR_PAIRED


def check_pairing(
    queries: np.ndarray,
    candidates: np.ndarray,
    pairs: np.ndarray | None = None,
    *,
    query_items: np.ndarray | None = None,
    candidate_items: np.ndarray | None = None,
    max_shift: int = MAX_SHIFT,
) -> PairingCheck:
    """Test pairs on the rows of both sides.

    Args:
        queries: (n, d), candidates: (K, d): consecutive rows in their own order, one scale each.
        pairs: (m, 2) query and candidate rows, in the order of the file; None: row i with row i.
        query_items, candidate_items: (n,) and (K,) integers: rows of one item count as one.
        max_shift: shifts of the candidate's row number that are tried either way. Of pairs row i
            with row i, larger ones that carry a signal in some block of pairs are tried too.

    Cost: O(m d S) for S shifts, one product of n × K × d, and n K additions.
    """
    if pairs is None:
        rows = np.arange(min(len(queries), len(candidates)))
        pairs = np.column_stack([rows, rows])
    a, b = (
        (side - side.mean(axis=0, dtype=np.float64)).astype(np.float32)
        for side in (queries, candidates)
    )
    scores = a @ b.T
    squares = np.einsum("ij,ij->i", scores, scores)
    spread = float(np.sqrt(squares.sum(dtype=np.float64) / scores.size))
    largest = max(float(np.abs(side).max()) for side in (queries, candidates))
    if spread <= ROUNDING * largest**2 or len(pairs) < 2:
        return PairingCheck(len(pairs), 0.0, 0.0, (), 0, 0, 0, ())
    scores /= np.float32(spread)
    shifts = np.arange(-max_shift, max_shift + 1)
    if len(queries) == len(candidates) and (pairs[:, 0] == pairs[:, 1]).all():
        shifts = np.union1d(shifts, np.array(_far_shifts(scores), np.int64))
    signal = _signals(scores, pairs, shifts)
    own = signal[:, _home(shifts)]
    error = float(own.std(ddof=1)) / np.sqrt(len(own))
    segments = _segments(signal, shifts)
    items = query_items, candidate_items
    searched, clear, paired, examples = _clear_finds(scores, pairs, *items)
    return PairingCheck(
        len(pairs),
        float(own.mean()) / error if error else 0.0,
        float(own.mean()),
        segments,
        searched,
        clear,
        paired,
        examples,
    )


def _home(shifts: np.ndarray) -> int:
    """Place of shift 0."""
    return int(np.searchsorted(shifts, 0))


def _far_shifts(scores: np.ndarray) -> list[int]:
    """Of each block of rows of (n, n) scores the shift with most signal, where it stands out."""
    count, found = len(scores), []
    for start in range(0, count - BLOCK // 2, BLOCK):
        total = np.zeros(2 * count - 1)
        rows = range(start, min(start + BLOCK, count))
        for row in rows:
            total[count - 1 - row : 2 * count - 1 - row] += scores[row]
        best = int(total.argmax())
        if total[best] > 2 * LEAST_SIGNAL * np.sqrt(len(rows)):
            found.append(best - (count - 1))
    return found


def _signals(scores: np.ndarray, pairs: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(m, S): the score of each pair with its candidate moved by each shift; NaN off the end."""
    moved = pairs[:, 1, None] + shifts
    inside = (moved >= 0) & (moved < scores.shape[1])
    found = scores[pairs[:, 0, None], np.where(inside, moved, 0)].astype(np.float64)
    return np.where(inside, found, np.nan)


def _segments(signal: np.ndarray, shifts: np.ndarray) -> tuple[Segment, ...]:
    """Stretches of one shift each, by the best path through (pair, shift).

    A pair at its right shift is taken to have a signal about ``strength``, any other about 0, both
    with variance 1. A last state, "no shift", always has likelihood ratio 0.
    """
    count = len(signal)
    strength = _strength(signal)
    if strength <= 0:
        return ()
    gain = strength * signal - strength**2 / 2
    off = np.where(shifts < 0, -LEAST_GAIN, 0.0)  # before the first row; past the last: unknown
    gain = np.column_stack([np.where(np.isnan(gain), off, gain), np.zeros(count)])
    price = np.log(count * len(shifts)) + 5.0
    total = np.zeros(gain.shape[1])
    back = np.empty(gain.shape, np.int64)
    states = np.arange(gain.shape[1])
    for row in range(count):
        best = int(total.argmax())
        jump = total[best] - price > total
        back[row] = np.where(jump, best, states)
        total = np.where(jump, total[best] - price, total) + gain[row]
    path = np.empty(count, np.int64)
    state = int(total.argmax())
    for row in range(count - 1, -1, -1):
        path[row] = state
        state = int(back[row, state])
    home = _home(shifts)
    found: list[Segment] = []
    cuts = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), count]
    for start, stop in pairwise(cuts):
        state = int(path[start])
        ahead = float(gain[start:stop, state].sum() - gain[start:stop, home].sum())
        if state != home and ahead < LEAST_GAIN:
            state = home  # not clearly better than the pairs as given
        elif state != home and gain[start:stop, state].sum() < LEAST_GAIN:
            state = len(shifts)  # the pairs are wrong there, and nothing speaks for this shift
        column = home if state == len(shifts) else state
        shift = None if state == len(shifts) else int(shifts[state])
        if found and found[-1].shift == shift:
            start = found.pop().start
        mean, own = (float(np.nanmean(signal[start:stop, c])) for c in (column, home))
        found.append(Segment(start, stop, shift, mean, own))
    if all(s.shift is None for s in found):
        return ()
    return tuple(found)


def _strength(signal: np.ndarray) -> float:
    """Signal of pairs that belong together: the best block at its best shift, if it stands out."""
    size = min(BLOCK, len(signal))
    blocks = [signal[i : i + size] for i in range(0, len(signal) - size + 1, size)]
    means = np.array([np.nan_to_num(block.mean(axis=0), nan=0.0) for block in blocks])
    best = float(means.max())
    return min(best, MOST_STRENGTH) if best * np.sqrt(size) > 2 * LEAST_SIGNAL else 0.0


def _clear_finds(
    scores: np.ndarray,
    pairs: np.ndarray,
    query_items: np.ndarray | None,
    candidate_items: np.ndarray | None,
) -> tuple[int, int, int, tuple[tuple[int, int, int], ...]]:
    """Rows that find each other clearly, how many of them are pairs, and examples that are not.

    Spoils the scores.
    """
    q_first, q_item = _first_rows(query_items, scores.shape[0])
    c_first, c_item = _first_rows(candidate_items, scores.shape[1])
    if min(len(q_first), len(c_first)) < 3:
        return 0, 0, 0, ()
    if len(q_first) < scores.shape[0] or len(c_first) < scores.shape[1]:
        scores = scores[np.ix_(q_first, c_first)]
    rows = np.arange(scores.shape[0])
    top = scores.argmax(axis=1)
    best = scores[rows, top]
    mutual = np.flatnonzero(best == scores.max(axis=0)[top])
    mutual = mutual[np.unique(top[mutual], return_index=True)[1]]  # of tied rows the first
    mutual.sort()
    scores[mutual, top[mutual]] = -np.inf
    behind = np.maximum(scores.max(axis=1)[mutual], scores.max(axis=0)[top[mutual]])
    clear = mutual[best[mutual] - behind > CLEAR_MARGIN]
    right = {
        (int(q), int(c)) for q, c in zip(q_item[pairs[:, 0]], c_item[pairs[:, 1]], strict=True)
    }
    clear = clear[np.isin(clear, q_item[pairs[:, 0]])]
    paired = np.array([(int(i), int(top[i])) in right for i in clear], bool)
    given = {int(q_item[q]): int(c) for q, c in pairs[::-1]}
    wrong = [
        (int(q_first[i]), given[int(i)], int(c_first[top[i]])) for i in clear[~paired].tolist()
    ]
    return min(scores.shape), len(clear), int(paired.sum()), tuple(wrong[:5])


def _first_rows(items: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First row of each item, and each row's item counted from 0."""
    if items is None:
        return np.arange(count), np.arange(count)
    _, first, number = np.unique(items, return_index=True, return_inverse=True)
    return first, number.reshape(-1)
