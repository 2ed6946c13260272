"""Checked rows of one modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from isthmus.core.arrays import Array, unit, working
from isthmus.data.labels import checked_labels, checked_relevance
from isthmus.data.row_checks import check_same_space, checked_rows, decide_paired
from isthmus.data.row_stats import InputWarning, RowStats

BLOCK = 16384

__all__ = [
    "Embeddings",
    "InputWarning",
    "RowStats",
    "check_same_space",
    "checked_labels",
    "checked_relevance",
    "checked_rows",
    "decide_paired",
]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Checked rows of one modality, (n, d), with what the door saw of them."""

    rows: Array
    name: str
    stats: RowStats
    source: str = "array"

    @classmethod
    def of(
        cls, rows: Any, name: str = "rows", *, cosine: bool = True, source: str = "array"
    ) -> Embeddings:
        """Check an array in memory.

        Args:
            rows: (n, d) floats; see :func:`checked_rows`.
            name: what messages call it, such as ``"images"``.
            cosine: whether a cosine will be taken, so that zero rows are refused.
            source: where it came from, kept for the report.

        Raises:
            ShapeError, DtypeError, ValuesError: as the sentences say.
        """
        array = checked_rows(rows, name)
        stats = RowStats(0, int(array.shape[1]), "")
        count = int(array.shape[0])
        for start in range(0, count, BLOCK):
            part = array[start : min(start + BLOCK, count), :]
            stats = stats.merge(RowStats.of(part, offset=start))
        stats.refuse(name, cosine=cosine)
        return cls(array, name, stats, source)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """Number of dimensions d."""
        return int(self.rows.shape[1])

    def unit(self, *, double: bool = False) -> Array:
        """Rows divided by their norms, float32 (float64 for float64 rows or ``double``)."""
        return unit(working(self.rows, double=double))

    def blocks(self, size: int = BLOCK) -> Iterator[Array]:
        """Views of consecutive rows."""
        for start in range(0, len(self), size):
            yield self.rows[start : min(start + size, len(self)), :]
