"""Is there a match at all? One answer per query, with its conformal p-value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.data.records import Record
from isthmus.deploy.thresholds.nulls import Null, score_blocks
from isthmus.errors import OptionError, ShapeError
from isthmus.search.items import exact_items


@dataclass(frozen=True, eq=False)
class Decisions(Record):
    """For each of n queries: a match, or nothing.

    Attributes:
        match: (n,) bool. p_value: (n,) chance, at most, that the best of as many non-matching
            candidates scores as high; NaN where nothing was searched. score: (n,) of the best
            candidate. answer: (n,) its row, -1 where only the best scores were given.
        kind: (n,) names, or None. size: (n,) candidates searched. threshold: (n,) the score that
            has to be passed; inf where the nulls are too few for the rate.
        false_match_rate: the stated rate.
    """

    match: np.ndarray
    p_value: np.ndarray
    score: np.ndarray
    answer: np.ndarray
    kind: np.ndarray | None
    size: np.ndarray
    threshold: np.ndarray
    false_match_rate: float

    def to_dict(self) -> dict[str, Any]:
        """The rate, how many match, and a line per query."""
        return {
            "false_match_rate": self.false_match_rate,
            "queries": len(self.match),
            "matches": int(self.match.sum()),
            "decisions": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """A line per query; ``decision`` is "match" or "nothing"."""
        return [
            {
                "query": i,
                "decision": "match" if self.match[i] else "nothing",
                "answer": int(self.answer[i]) if self.answer[i] >= 0 else None,
                "score": _number(self.score[i]),
                "p_value": _number(self.p_value[i]),
                "threshold": _number(self.threshold[i]),
                "size": int(self.size[i]),
            }
            | ({} if self.kind is None else {"kind": str(self.kind[i])})
            for i in range(len(self.match))
        ]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """How many match, and the first lines."""
        found = f"{int(self.match.sum())} of {len(self.match)} queries have a match"
        return f"{found}, false-match rate {self.false_match_rate:g}", self.rows()


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Best:
    """The best candidate of each query (n,): its score, its row or -1, and of how many."""

    score: np.ndarray
    answer: np.ndarray
    size: np.ndarray

    @classmethod
    def given(cls, scores: Any) -> Best:
        """Of scores (n,), each the best of an unknown number (size 0), or (n, m), NaN where a
        candidate was not searched.

        Raises:
            ShapeError: more dimensions.
        """
        table = np.asarray(to_numpy(scores), np.float64)
        if table.ndim <= 1:
            table = np.atleast_1d(table)
            return cls(table, np.full(len(table), -1), np.zeros(len(table), np.int64))
        if table.ndim > 2:
            raise ShapeError(
                "not-two-dimensional",
                f"scores of shape {table.shape}; expected (queries,) or (queries, candidates)",
            )
        known = ~np.isnan(table)
        filled = np.where(known, table, -np.inf)
        answer = np.where(known.any(axis=1), filled.argmax(axis=1), -1)
        return cls(filled.max(axis=1, initial=-np.inf), answer, known.sum(axis=1))

    @classmethod
    def searched(
        cls, queries: np.ndarray, candidates: np.ndarray, score: str, bias: np.ndarray | None
    ) -> Best:
        """Of rows, (n, d) and (K, d). O(n K d); candidates that repeat a row count once."""
        best = np.empty(len(queries))
        answer = np.empty(len(queries), np.int64)
        for start, block in score_blocks(queries, candidates, score, bias):
            rows = slice(start, start + len(block))
            answer[rows] = block.argmax(axis=1)
            best[rows] = block.max(axis=1)
        many = len(np.unique(exact_items(candidates)))
        return cls(best, answer, np.full(len(queries), many))


def decisions(
    best: Best, tables: Mapping[str, Mapping[int, Null]], kinds: np.ndarray | None, rate: float
) -> Decisions:
    """Compare each best score with the null of its kind and size.

    Between the sizes of a table the next larger one is taken, so the p-value is not too small. Of
    m candidates, more than the K of the largest, the p-value is m / K times that of K: the chance
    that the best of m passes a score rises with m, and by less than m does.

    Args:
        tables: kind -> size -> null; the kind "" is all queries together. kinds: (n,) or None.

    Raises:
        OptionError: a kind without a table.
    """
    count = len(best.score)
    p_value, threshold = np.full(count, np.nan), np.full(count, np.inf)
    named = np.full(count, "") if kinds is None else kinds
    for kind in np.unique(named):
        if kind not in tables:
            known = ", ".join(repr(name) for name in tables if name) or "none: leave kind out"
            raise OptionError(
                "unknown-kind",
                f"kind '{kind}' has no null distribution; the calibration has {known}",
            )
        sizes = np.array(sorted(tables[str(kind)]))
        of_kind = np.flatnonzero((named == kind) & (best.size > 0))
        place = np.minimum(np.searchsorted(sizes, best.size[of_kind]), len(sizes) - 1)
        for at in np.unique(place):
            null, rows = tables[str(kind)][int(sizes[at])], of_kind[place == at]
            larger = np.maximum(best.size[rows] / sizes[at], 1.0)
            p_value[rows] = np.minimum(null.p_value(best.score[rows]) * larger, 1.0)
            edges = {f: null.threshold(rate / f) for f in np.unique(larger)}
            threshold[rows] = [np.inf if edges[f] is None else edges[f] for f in larger]
    match = p_value <= rate * (1 + 1e-12)
    return Decisions(match, p_value, best.score, best.answer, kinds, best.size, threshold, rate)
