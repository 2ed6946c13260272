"""What is said of pairs, labels and relevance that the rows contradict.

The test itself is :func:`isthmus.search.pairing.check_pairing`. The rules and the figures behind
them are in ``docs/warnings.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.data import Rows
from isthmus.data.moments import SUBSPACE_K, subspace_overlap
from isthmus.data.row_stats import InputWarning
from isthmus.search.pair_rows import PairRows, pair_rows, rows_in_order
from isthmus.search.pairing import PairingCheck, Segment, check_pairing
from isthmus.search.task import RetrievalTask

SHARED_DIRECTIONS = 3.0
SHOWN = 4
"""Stretches that a sentence lists."""


def look_at_pairs(
    task: RetrievalTask,
    names: Sequence[str] = ("queries", "candidates"),
    *,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
) -> tuple[bool, list[InputWarning]]:
    """Whether rows that were taken for pairs are none, and what the rows say of what is right.

    Args:
        task: an opened task. names: what messages call the queries and the candidates.
        relevance, labels, paired: what was said to be right, as it was given to ``open_task``.
            Where nothing was, equal numbers of rows are pairs only if the rows say so as well.

    Cost: about .3 s at 4,000 × 512 and above.
    """
    rows = pair_rows(task)
    if rows is None:
        return False, []
    names = (names[0], names[1])
    assumed = all(given is None for given in (relevance, labels, paired))
    check, what = _checked(rows), _what(task, rows)
    if check.slipped and rows.paired:
        return False, [_slipped(what, rows, check, names, names[1])]
    if not rows.paired:  # row numbers of either side may be off
        back = rows.reversed()
        other = _checked(back)
        if _explains(other) > _explains(check):
            return False, [_slipped(what, rows, other, names, names[0])]
        if check.slipped:
            return False, [_slipped(what, rows, check, names, names[1])]
    if check.has_signal:
        return False, [_out_of_order(what, rows, check, names)] if check.out_of_order else []
    found = [_unpaired(rows, check, names) if assumed else _without_signal(what, rows, names)]
    if not check.out_of_order:  # rows that find each other are of one model
        found += _other_models(task, names)
    elif not assumed:
        found.append(_out_of_order(what, rows, check, names))
    return assumed, found


def look_at_order(
    queries: Rows, candidates: Rows, names: tuple[str, str] = ("queries", "candidates")
) -> list[InputWarning]:
    """That rows slip or are out of order, for jobs whose figures use no pairs (``order-differs``).

    Only where both sides have equally many rows that belong to one another. Cost as above.
    """
    rows = rows_in_order(queries, candidates)
    check = None if rows is None else _checked(rows)
    if rows is None or check is None:
        return []
    if check.slipped:
        said = _slipped("pairs", rows, check, names, names[1])
    elif check.has_signal and check.out_of_order:
        said = _out_of_order("pairs", rows, check, names)
    else:
        return []
    text = f"if row i of {names[0]} is meant to belong to row i of {names[1]}: {said.text}"
    return [InputWarning("order-differs", text)]


def _checked(rows: PairRows) -> PairingCheck:
    return check_pairing(
        rows.queries,
        rows.candidates,
        rows.pairs,
        query_items=rows.query_items,
        candidate_items=rows.candidate_items,
    )


def _explains(check: PairingCheck) -> float:
    """How much signal other shifts than 0 explain; a small one before a large one that does as
    well: five captions further is one picture further."""
    return sum((s.stop - s.start) * s.signal / (1 + abs(s.shift or 0) / 20) for s in check.slipped)


def _what(task: RetrievalTask, rows: PairRows) -> str:
    """What says which rows belong together, and its code's first word."""
    if rows.paired:
        return "pairs"
    return "labels" if task.relevance.task == "zero-shot" else "relevance"


def _slipped(
    what: str, rows: PairRows, check: PairingCheck, names: tuple[str, str], moved_side: str
) -> InputWarning:
    """From which row of the queries on, and by how much numbers of ``moved_side`` are off."""
    moved = [
        f"{{}}{s.shift:+d} {_where(rows, s, before)}"
        for before, s in zip((None, *check.segments), check.segments, strict=False)
        if s.shift
    ]
    more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
    if what == "pairs":
        listed = ", to ".join(one.format("row i") for one in moved[:SHOWN]) + more
        listed = listed.replace(" from", f" of {names[1]} from", 1)
        last = check.slipped[-1].shift or 0
        lacking = f"{abs(last)} item{'s' * (abs(last) > 1)}"
        return InputWarning(
            "pairs-slipped",
            f"the pairs slip: row i of {names[0]} belongs to {listed}; probably "
            f"{names[0] if last > 0 else names[1]} lacks {lacking}, so align the two files and "
            "measure again",
        )
    listed = ", ".join(one.format("by ") for one in moved[:SHOWN]) + more
    look = "look" if what == "labels" else "looks"
    return InputWarning(
        f"{what}-off",
        f"the {what} {look} off: row numbers of {moved_side} have to be moved {listed}, counted in "
        f"{names[0]}; check where counting starts and whether rows were left out",
    )


def _where(rows: PairRows, segment: Segment, before: Segment | None) -> str:
    """``from row 40 on``; between two rows where only stretches were looked at."""
    places = rows.pairs[:, 0]
    numbers = rows.query_rows[places]
    start, stop = int(numbers[segment.start]), int(numbers[segment.stop - 1])
    first = f"from row {rows.query(places[segment.start])}"
    if before is not None and not rows.complete:
        last = int(numbers[segment.start - 1])
        if start - last > 1:
            first = f"from somewhere between rows {last} and {start}"
    return f"{first} on" if segment.stop == len(numbers) else f"{first} to {stop}"


def _out_of_order(
    what: str, rows: PairRows, check: PairingCheck, names: tuple[str, str]
) -> InputWarning:
    wrong = 1 - check.clear_paired / check.clear
    listed = ", ".join(
        f"row {rows.query(q)} of {names[0]} finds row {rows.candidate(c)}"
        for q, _, c in check.examples[:3]
    )
    return InputWarning(
        "rows-out-of-order",
        f"rows of {names[0]} and {names[1]} are out of order: of {check.clear} rows that clearly "
        f"find each other, {wrong:.0%} are not together in the {what} ({listed}); put both files "
        "into one order",
    )


def _without_signal(what: str, rows: PairRows, names: tuple[str, str]) -> InputWarning:
    matched, unmatched, errors = pair_signal(
        rows.queries[rows.pairs[:, 0]].astype(np.float64),
        rows.candidates[rows.pairs[:, 1]].astype(np.float64),
    )
    which = (
        f"row i of {names[0]} does not seem to belong to row i of {names[1]}"
        if what == "pairs"
        else f"the {what} do not seem to be of these rows"
    )
    return InputWarning(
        "pairs-without-signal",
        f"the pairing looks broken: matched cosine {matched:.3f} is not above the unmatched "
        f"{unmatched:.3f} ({errors:.1f} standard errors), so {which}",
    )


def _unpaired(rows: PairRows, check: PairingCheck, names: tuple[str, str]) -> InputWarning:
    more = ""
    if check.out_of_order:
        more = (
            f"; {check.clear} rows clearly find each other elsewhere, so if rows are meant to be "
            "pairs, one file is in another order"
        )
    return InputWarning(
        "measured-unpaired",
        f"{names[0]} and {names[1]} have equally many rows, but nothing in them says that row i "
        f"belongs to row i ({check.signal:.1f} standard errors), so they were measured unpaired"
        f"{more}; say --paired where they are pairs, or give labels or relevance",
    )


def _other_models(task: RetrievalTask, names: tuple[str, str]) -> list[InputWarning]:
    """Leading directions that overlap as if by chance, where that can be told."""
    a, b = task.query_moments, task.candidate_moments
    overlap, chance = subspace_overlap(a, b), min(SUBSPACE_K, a.rank, b.rank) / a.dim
    if overlap is None or not overlap < SHARED_DIRECTIONS * chance < 1:
        return []
    return [
        InputWarning(
            "different-models",
            f"{names[0]} and {names[1]} look like different models, or an untrained network: "
            f"their leading directions overlap by {overlap:.3f}, chance is {chance:.3f}; "
            "check that both towers are of one trained model",
        )
    ]


def pair_signal(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean matched and unmatched dot of pairs (s, d) each, and their difference in errors.

    The standard error is that of the matched dots after each row's own mean score is taken off,
    as in a two-way analysis of variance without repeats.
    """
    n = len(a)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    dots = np.einsum("ij,ij->i", a, b)
    cross = float(mean_a @ mean_b)
    unmatched = (n * n * cross - dots.sum()) / (n * (n - 1))
    rest = dots - a @ mean_b - b @ mean_a + cross
    error = rest.std(ddof=1) / np.sqrt(n)
    gap = float(dots.mean() - unmatched)
    return float(dots.mean()), float(unmatched), gap / error if error > 0 else 0.0
