"""A null distribution as a table of counts: p-values, and the threshold of a rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.data.saved import Parts
from isthmus.deploy.thresholds.intervals import order

TAIL = 1000
GRID = 1000
COLUMNS = ("values", "at_least", "above")


@dataclass(frozen=True, eq=False)
class Null:
    """N null scores as a table: all where they are few, else the largest and some spread over all.

    ``values`` (t,) rise, all different; ``at_least`` (t,): how many null scores are ≥ each,
    ``above``: how many are greater. Between stored values counts are the larger neighbour's, so
    p-values are exact in the tail and never too small.
    """

    count: int
    values: np.ndarray
    at_least: np.ndarray
    above: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, tail: int = TAIL, grid: int = GRID) -> Null:
        """Keep what p-values need of scores (N,): all up to ``tail`` and ``grid`` together."""
        rising = np.sort(scores)
        count = len(rising)
        spread = grid if count > tail + grid else count
        rest = np.linspace(0, count - 1, spread).round().astype(np.int64)
        kept = np.unique(np.concatenate([rest, np.arange(max(0, count - tail), count)]))
        values = np.unique(rising[kept])
        at_least = count - np.searchsorted(rising, values, "left")
        above = count - np.searchsorted(rising, values, "right")
        return cls(count, values, at_least, above)

    def p_value(self, scores: Any) -> np.ndarray:
        """(1 + null scores ≥ s) / (N + 1), of the shape of ``scores``; NaN for NaN."""
        asked = np.asarray(scores, np.float64)
        place = np.searchsorted(self.values, asked, "left")
        below = np.where(place > 0, self.above[np.maximum(place, 1) - 1], self.count)
        here = np.minimum(place, len(self.values) - 1)
        count = np.where(self.values[here] == asked, self.at_least[here], below)
        return np.where(np.isnan(asked), np.nan, (1 + count) / (self.count + 1))

    def threshold(self, rate: float) -> float | None:
        """Scores *above* it have a p-value of at most ``rate``; None: N + 1 < 1 / rate."""
        j = order(rate, self.count)
        return float(self.values[self.above < j][0]) if j else None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists."""
        return {"count": self.count} | {name: getattr(self, name).tolist() for name in COLUMNS}

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Null:
        """Back from plain lists; ValueError where they are no such table."""
        values, at_least, above = (Parts.of(table).array(name, None) for name in COLUMNS)
        if not len(values) or {len(at_least), len(above)} != {len(values)}:
            raise ValueError("a null distribution whose columns differ in length")
        if not (np.diff(values) > 0).all():
            raise ValueError("a null distribution whose values do not rise")
        total, falls = Parts.of(table).count("count", 1), [np.diff(c) for c in (at_least, above)]
        if {at_least.dtype.kind, above.dtype.kind} != {"i"} or any((c > 0).any() for c in falls):
            raise ValueError("a null distribution whose counts do not fall")
        if at_least[0] > total or above[-1] < 0 or (at_least <= above).any():
            raise ValueError("a null distribution whose counts do not fit")
        return cls(total, values.astype(np.float64), at_least, above)
