"""One side of a retrieval task as it was given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.data import Rows
from isthmus.data.moments import Moments
from isthmus.data.row_stats import RowStats
from isthmus.data.source import ids_of
from isthmus.search.items import items_among


@dataclass(frozen=True, eq=False)
class Input:
    """One side as it was given: its source, what one pass over its rows found, and which are kept.

    Attributes:
        name: what messages call it. source: where the rows lie.
        stats: of all rows that were looked at. rows: (n,) row numbers in the source that are kept.
        moments: of *all* rows of the source, or None where only the kept rows were read.
        twins: (n,) for each kept row the place of the first that has the same values as read and is
            not named as another item; None where no row repeats another.
        apart: how many repeat an earlier row's values and are named as another item.
        items: lowest row of each row's item, of *all* rows of the source; None: nothing is named.
    """

    name: str
    source: Rows
    stats: RowStats
    rows: np.ndarray
    moments: Moments | None = None
    twins: np.ndarray | None = None
    apart: int = 0
    items: np.ndarray | None = None

    @property
    def ids(self) -> np.ndarray | None:
        """Ids (n,) of the kept rows, where the source has them."""
        ids = ids_of(self.source)
        return None if ids is None else ids[self.rows]

    def at(self, places: np.ndarray) -> Input:
        """The same with some of the kept rows."""
        return replace(self, rows=self.rows[places], twins=items_among(self.twins, places))
