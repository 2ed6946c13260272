"""The chance that a stated candidate wins under noise: accuracy, and multiple choice (D12)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.search.scores import Ranking
from isthmus.theory.candidates import LEAST_VARIANCE, shifted_kept
from isthmus.theory.curves.consistency import has_curve, swept
from isthmus.theory.curves.sweep import Sweep


def winning(
    ranking: Ranking,
    totals: Sequence[float],
    aims: Sequence[np.ndarray],
    lists: np.ndarray | None = None,
) -> np.ndarray:
    """P[candidate ``aims[a][i]`` is the nearest of query i] under Gaussian noise on candidates.

    With the clean answers as an aim it is the chance that they survive; with the right candidates
    its mean is the accuracy to be expected.

    Args:
        ranking: Euclidean, n queries and K candidates as they are searched, without candidate
            biases. totals: (L,) levels E‖ε‖², each above 0.
        aims: (n,) candidate rows each; -1: none, whose chance is 0.
        lists: (n, c) candidate rows that each query chooses among, -1 pads; None: all.

    Returns:
        (A, L, n), exact to about 1e-8 with lists or below 64 dimensions, else to about 1e-4.

    Cost: of all candidates, as :func:`~isthmus.theory.curves.consistency_curve` for each aim; with
    lists, n · c integrals a level. Source: D12 of ``docs/formulas.md``.
    """
    ranking, levels = ranking.on_host(), np.asarray(totals, np.float64)
    if lists is None and has_curve(ranking):
        aimed = swept([Sweep(ranking, levels)], ranking, aims)[0].aimed
        assert aimed is not None
        return aimed
    queries, candidates = (np.asarray(s, np.float64) for s in (ranking.queries, ranking.candidates))
    dim = queries.shape[1]
    if lists is None:
        lists = np.broadcast_to(np.arange(len(candidates)), (len(queries), len(candidates)))
    listed = np.stack([((candidates[row] - q) ** 2).sum(1) for q, row in zip(queries, lists)])
    lift = np.where(lists < 0, np.inf, 0.0)  # what pads a list cannot win
    found = np.zeros((len(aims), len(levels), len(queries)))
    for a, aim in enumerate(aims):
        known = np.flatnonzero(aim >= 0)
        place = (lists[known] == aim[known, None]).argmax(axis=1)
        for level, total in enumerate(levels):
            lam = listed[known] / max(total / dim, LEAST_VARIANCE)
            found[a, level, known] = shifted_kept(lam, lift[known], place, dim)[0]
    return np.clip(found, 0.0, 1.0)
