"""The law of noise over searches of whole galleries: rows of a table from what is held of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.levels import total_variance
from isthmus.core.statistics import Z95
from isthmus.search.running import Searched
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves.consistency import has_curve
from isthmus.theory.curves.gallery import HeldRows, gallery_curve


class MappedSearch(Searched):
    """A closer's search of all queries among any rows."""

    closer: Closer

    def __init__(self, closer: Closer, queries: np.ndarray) -> None:
        super().__init__(queries, closer.score, closer)

    def has_law(self, probes: np.ndarray) -> bool:
        """Whether there is a formula for noise on its candidates, of which these are some."""
        if self.closer.memo and self.closer.score != "dot":
            return False
        return has_curve(self(probes))

    @property
    def lifted(self) -> bool:
        """Whether its law asks for the candidate bias of every row."""
        return self.closer.bias_weights is not None and self.closer.score == "euclidean"


@dataclass(frozen=True, eq=False)
class GalleryLaw:
    """The law of noise over searches of which heads are held."""

    task: RetrievalTask
    searches: Sequence[MappedSearch]
    held: Sequence[HeldRows | None]
    random: np.ndarray
    levels: Sequence[float]
    convention: str

    def table(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Rows, and the closers that have none. Gains are over ``none`` by the same score."""
        curves = [self._kept(search, held) for search, held in zip(self.searches, self.held)]
        plain = {
            search.closer.score: found
            for search, found in zip(self.searches, curves)
            if search.closer.name == "none"
        }
        rows, left_out = [], []
        for search, found in zip(self.searches, curves):
            closer = search.closer
            if found is None:
                left_out.append(f"{closer.name}, {closer.score}")
                continue
            kept, error, right = found
            before = plain.get(closer.score)
            for i, level in enumerate(self.levels):
                row = {
                    "closer": closer.name,
                    "strength": closer.strength,
                    "score": closer.score,
                    "side": "candidates",
                    "family": "gaussian",
                    "level": level,
                    "convention": self.convention,
                    **_share("consistency", kept[i], error[i], (0.0, 1.0)),
                    "error": error[i],
                }
                if right is not None:
                    known = right[i][np.isfinite(right[i])]
                    row |= _share("accuracy", known, error[i], (0.0, 1.0))
                gain: dict[str, float | None] = dict.fromkeys(("gain", "gain_lo", "gain_hi"))
                if before is not None:
                    both = error[i] + before[1][i]
                    gain |= _share("gain", kept[i] - before[0][i], both)
                rows.append(row | gain)
        return rows, left_out

    def _kept(
        self, search: MappedSearch, held: HeldRows | None
    ) -> tuple[np.ndarray, list[float], np.ndarray | None] | None:
        """P[keep] of each level and query, what the means are known to, and P[the right row is the
        answer]; None: no law."""
        if held is None:
            return None
        ranking, closer = search(self.random), search.closer
        stored = ranking.candidates.shape[1] - closer.memo
        square = float(np.einsum("ij,ij->", self.random, self.random)) / len(self.random)
        spread = float(ranking.candidates[:, :stored].var(axis=0, dtype=np.float64).sum())
        totals = [
            total_variance(level, self.convention, stored, spread, square) for level in self.levels
        ]
        spreads = None
        if closer.memo:
            spreads = np.linalg.norm(ranking.queries[:, :stored], axis=1) / np.sqrt(stored)
        curve = gallery_curve(ranking, totals, held, spreads=spreads)
        if curve is None:
            return None
        right = None if curve.aimed is None else curve.aimed[0]
        return curve.kept, curve.error.tolist(), right


def _share(
    name: str, values: np.ndarray, error: float, limits: tuple[float, float] = (-1.0, 1.0)
) -> dict[str, float]:
    """The mean over queries with its 95 % interval: queries are a sample, and the law's error."""
    mean = float(values.mean())
    reach = Z95 * float(values.std(ddof=1)) / np.sqrt(len(values)) + error
    low, high = np.clip([mean - reach, mean + reach], *limits).tolist()
    return {name: mean, f"{name}_lo": low, f"{name}_hi": high}
