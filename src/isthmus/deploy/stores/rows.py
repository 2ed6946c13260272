"""The vectors of a store as rows: what every measurement reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.source import BaseSource
from isthmus.errors import FileError, ShapeError

if TYPE_CHECKING:
    from isthmus.deploy.stores.store import Store


class StoreRows(BaseSource):
    """Rows that lie in a store. Ids are read once; vectors in batches, when asked for.

    The order is that of the ids. What changes in the store between two passes is not seen as a
    change: a vector that is gone is an error, a new item is left out. ``facts`` are the store's.
    """

    def __init__(self, store: Store) -> None:
        facts, ids = store.describe(), store.ids()
        shown = store.address.shown
        if not len(ids):
            raise ShapeError("no-rows", f"'{shown}' holds no vector")
        name = store.address.column or shown.rpartition("/")[2].partition("?")[0]
        modality = store.address.modality
        name = modality[1] if modality else name
        super().__init__(shown, name, len(ids), facts.dim, facts.dtype)
        self.store, self.facts, self.item_ids = store, facts, ids

    @property
    def ids(self) -> np.ndarray:
        """Id of each row, (n,)."""
        return self.item_ids

    def pieces(self, size: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Batches of at most 10,000 vectors."""
        size = min(size, 10_000)
        for at in range(start, stop, size):
            yield self.take_sorted(np.arange(at, min(at + size, stop)))

    def take_sorted(self, wanted: np.ndarray) -> np.ndarray:
        """Vectors at these positions."""
        asked = self.item_ids[wanted]
        found = self.store.fetch(asked)
        if found.shape != (len(asked), self.dim):
            raise FileError(
                "store-changed",
                f"'{self.spec}' gave {found.shape[0]} vectors for {len(asked)} ids; it changed "
                "while it was read: run it again when nothing is written to it",
            )
        return found.astype(self.native, copy=False)
