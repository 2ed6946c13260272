"""Is a closer's guarantee true on these rows? It is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, is_place
from isthmus.closers.fitting import SAMPLE, evenly
from isthmus.core.arrays import EPS32, to_numpy, unit, working
from isthmus.data import open_rows
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning
from isthmus.search.pair_warnings import look_at_order
from isthmus.search.scores import Ranking, top1


@dataclass(frozen=True)
class Verification(Record):
    """What a closer did to the clean answers of n queries.

    Attributes:
        queries, candidates: how many of each.
        clean_agreement: share of queries whose answer stayed.
        changed: queries whose answer became another one by more than rounding.
        near_ties: queries whose old and new answer scored alike to float32 rounding before the
            closer: not counted as changed, named apart.
        violation: largest move of a score difference to the clean winner, the largest
            ‖Δ after - Δ before‖ over queries and candidates, both on the scale of the score before.
        margin: median clean margin between best and second, for comparison.
        holds: whether an exact guarantee is true here (nothing changed); None for other kinds.
        warnings: where the rows are equally many and slip or are out of order; no figure here
            depends on it.
    """

    queries: int
    candidates: int
    score: str
    clean_agreement: float
    changed: int
    near_ties: int
    violation: float
    margin: float
    holds: bool | None
    warnings: tuple[InputWarning, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return super().to_dict() | {"warnings": [w.to_dict() for w in self.warnings]}


def verify(
    closer: Closer,
    queries: Any,
    candidates: Any,
    *,
    max_queries: int | None = SAMPLE["queries"],
    max_candidates: int | None = SAMPLE["candidates"],
) -> Verification:
    """Search clean rows before and after the closer, in float64, and compare. O(n K d).

    Args:
        closer: fitted.
        queries, candidates: rows (n, d) and (K, d) as the closer takes them: arrays, tensors,
            paths, globs or ``Rows``.
        max_queries, max_candidates: of more rows, so many evenly spread ones are used; None: all.

    "Before" is plain search with the closer's score on the rows as they enter its maps (unit rows
    where it begins by normalising).

    Raises:
        ShapeError: rows of another dimension than the closer's. FileError: as readers.

    >>> import numpy as np
    >>> from isthmus.closers import fit
    >>> images, captions = np.random.default_rng(0).normal(size=(2, 40, 8)) + 1
    >>> verify(fit("center-queries", captions, images), captions, images).holds
    True
    """
    sources = [
        open_rows(rows if is_place(rows) else to_numpy(rows)) for rows in (queries, candidates)
    ]
    q, c = (
        to_numpy(working(evenly(source, most), double=True))
        for source, most in zip(sources, (max_queries, max_candidates), strict=True)
    )
    q_in = np.asarray(unit(q)) if closer.query.normalised else q
    c_in = np.asarray(unit(c)) if closer.candidate.normalised else c
    before = Ranking.of(q_in, c_in, closer.score)
    bias = None if closer.bias_weights is None else closer.candidate_bias(c)
    after = Ranking.of(closer.query(q), closer.candidate(c), closer.score, bias)
    old, new = top1(before), top1(after)
    widths = to_numpy(before.rounding(EPS32 / 2))[:, 0]  # each query by its own terms
    violation, margins, ties = 0.0, [], 0
    for (start, s), (_, t) in zip(before.score_blocks(), after.score_blocks(), strict=True):
        rows = np.arange(len(s))
        first, last = old[start : start + len(s)], new[start : start + len(s)]
        drop_s = s[rows, first][:, None] - s
        drop_t = t[rows, first][:, None] - t
        violation = max(violation, float(np.abs(drop_t - drop_s).max()))
        margins.append(np.partition(drop_s, 1, axis=1)[:, 1] if s.shape[1] > 1 else drop_s[:, 0])
        near = np.abs(drop_s[rows, last]) <= widths[start : start + len(s)]
        ties += int((near & (first != last)).sum())
    differ = int((old != new).sum())
    changed = differ - ties
    return Verification(
        len(q),
        len(c),
        closer.score,
        1 - differ / len(q),
        changed,
        ties,
        violation,
        float(np.median(np.concatenate(margins))),
        changed == 0 if closer.guarantee.kind == "exact" else None,
        tuple(look_at_order(sources[0], sources[1])),
    )
