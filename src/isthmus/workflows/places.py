"""Where exact answers stand in a coded ranking: counted, and by formula.

What counts for rescoring is the place of the exact answer by code: it is found again where that is
within the depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isthmus.search.scores import Ranking

SAFETY = 2.33
"""Standard errors of validation and test together that a choice must stay above the target."""
NODES = 24
NEAR = 64
BINS = 256
PREDICTED_QUERIES = 512


def places_of(coded: Ranking, exact: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
    """(n, k): how many candidates stand before each of the answers ``exact`` (n, k).

    ``items`` (K,), where rows are not items: an answer stands where its item's best row does.
    Scores that differ by rounding are tied, and the lower row comes first, as in every search here.
    """
    out = np.empty(exact.shape, np.int64)
    columns = np.arange(len(coded.candidates))[None, :]
    for start, scores in coded.score_blocks():
        some = slice(start, start + len(scores))
        width = coded.tie_widths[some]
        for place, rows in enumerate(exact[some].T[:, :, None]):
            if items is not None:
                own = np.where(items == rows, scores, -np.inf)
                rows = own.argmax(axis=1)[:, None]
            ahead = scores - np.take_along_axis(scores, rows, axis=1)
            before = (ahead > width) | ((ahead >= -width) & (columns < rows))
            out[some, place] = before.sum(axis=1)
    return out


def predict_places(
    clean: Ranking,
    coded: Ranking,
    answers: np.ndarray,
    validation: np.ndarray,
    depths: Sequence[int],
    items: np.ndarray | None = None,
) -> dict[int, float]:
    """Mean share of queries whose exact answer (n,) stays within each depth, by formula; of some
    of the query rows ``validation``.

    The code's error in a score is split into a slope (scores shrink) and a rest that is taken for
    independent normal noise of one size for all rivals of a query. Given the winner's own noise,
    the number of rivals that pass it is nearly Poisson, and its mean a sum of normal tails.
    """
    from scipy.special import ndtr, pdtr

    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    rows = validation[:: -(-len(validation) // PREDICTED_QUERIES)]
    slope, noise = _score_error(clean, coded, rows)
    limits = np.maximum(depths, 1)[:, None] - 1
    kept = np.zeros(len(depths))
    some = replace(clean, queries=clean.queries[rows])
    for start, scores in some.score_blocks():
        for line, winner in zip(scores, answers[rows[start : start + len(scores)]], strict=True):
            own = np.arange(len(line)) == winner if items is None else items == winner
            margins, counts = _margins((1 + slope) * (line[own].max() - line[~own]))
            if noise == 0:
                means = np.full(NODES, float(counts[margins < 0].sum()))
            else:
                means = ndtr(-(margins[None, :] / noise + nodes[:, None])) @ counts
            kept += pdtr(limits, means[None, :]) @ weights
    shares = kept / len(rows)
    return {depth: float(share) for depth, share in zip(depths, shares, strict=True)}


def _margins(margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rivals' margins as they are and the others' in bins, with how many in each."""
    if len(margins) <= NEAR + BINS:
        return margins, np.ones(len(margins))
    margins = np.partition(margins, NEAR)
    counts, edges = np.histogram(margins[NEAR:], BINS)
    middle = (edges[1:] + edges[:-1]) / 2
    return np.append(margins[:NEAR], middle), np.append(np.ones(NEAR), counts)


def _score_error(clean: Ranking, coded: Ranking, rows: np.ndarray) -> tuple[float, float]:
    """How the code changes scores on the validation queries: slope, and spread of the rest."""
    one, two, three, count = 0.0, 0.0, 0.0, 0
    a, b = (replace(ranking, queries=ranking.queries[rows]) for ranking in (clean, coded))
    for (_, s), (_, t) in zip(a.score_blocks(), b.score_blocks(), strict=True):
        x = s - s.mean(axis=1, keepdims=True)
        e = (t - t.mean(axis=1, keepdims=True)) - x
        one, two, three = one + (x * e).sum(), two + (x * x).sum(), three + (e * e).sum()
        count += x.size
    slope = one / two if two else 0.0
    rest = max(three - slope * one, 0.0) / max(count, 1)
    return float(slope), float(np.sqrt(rest))


def safe_margin(kept: np.ndarray, others: int, answers: int = 1) -> float:
    """How far the mean of ``kept`` (n,) and that of ``others`` queries may lie apart by chance.

    Half an answer more, of ``answers`` a query, counts as lost (Jeffreys): none lost is not none.
    """
    variance = float(kept.var()) + 0.5 / (len(kept) * answers)
    return float(SAFETY * np.sqrt(variance * (1 / len(kept) + 1 / others)))
