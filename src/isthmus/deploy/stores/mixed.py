"""One list out of a store that holds several modalities in one column.

The store is asked for the k first items of each modality; these are levelled or standardised per
query and merged (``docs/mixed.md``). A document beyond place k of its modality cannot be among the
k first of all, so an exact store gives exactly the order of the whole pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.data import open_rows
from isthmus.data.addresses import address_of, open_store
from isthmus.data.records import Record
from isthmus.deploy.stores.forms import UNIT, norms_shown
from isthmus.deploy.stores.store import Store
from isthmus.errors import CloserError, OptionError

if TYPE_CHECKING:
    from isthmus.robustness.mixed.levelling import PoolCloser


@dataclass(frozen=True, eq=False)
class MixedHits(Record):
    """The first items of each query over all modalities, best first, each (n, k).

    Attributes:
        ids: of the items. scores: levelled or standardised. modality: names. Where fewer items were
            found, the last ids and names are empty and the scores NaN.
    """

    ids: np.ndarray
    scores: np.ndarray
    modality: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """A line a query and place."""
        return [
            {"query": i, "place": j, "id": one, "modality": name, "score": score}
            for i, lines in enumerate(zip(self.ids, self.modality, self.scores, strict=True))
            for j, (one, name, score) in enumerate(zip(*(x.tolist() for x in lines), strict=True))
        ]


def search_mixed(
    pool: PoolCloser, store: str, queries: Any, *, modality: str, k: int = 10
) -> MixedHits:
    """The k first items of each query in a store whose column ``modality`` tells them apart.

    Args:
        pool: levels per modality; its names are values of the column. ``PoolCloser.of`` makes it of
            the moments of ``STORE&modality=COLUMN:VALUE``.
        store: address of the vectors, all modalities in one column. queries: (n, d) rows as the
            encoder gives them.

    Scores of the items found are computed here from their vectors, in float64: the store's own are
    those of its codec. A codec can therefore leave out an item, and cannot put two in wrong order.

    Raises:
        OptionError: no address of a store. CloserError: the store ranks by another score than the
            pool is levelled for, and its vectors are no unit rows.

    Cost: a search a query and modality, and the vectors of what was found.
    """
    if address_of(store) is None:
        raise OptionError("no-address", f"'{store}' is no address of a store")
    asked = open_rows(queries).read().astype(np.float64)
    asked = np.asarray(unit(asked)) if pool.normalised else asked
    joined, hits, ids = "&" if "?" in store else "?", {}, np.empty(0)
    for name in pool.names:
        source = open_store(f"{store}{joined}modality={modality}:{name}")
        found, place, scores = _first(source, asked, k, pool.normalised)
        hits[name] = place + len(ids), scores
        ids = np.concatenate([ids, found]) if len(ids) else found
    merged = pool.merge(asked, hits, k)
    gone = merged.rows < 0
    return MixedHits(
        ids=np.where(gone, ids.dtype.type(), ids[merged.rows]),
        scores=merged.scores,
        modality=np.where(gone, "", np.array(pool.names)[merged.modality]),
    )


def _first(
    source: Store, queries: np.ndarray, k: int, normalised: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids that were found, and for each query places among them and scores, best first (n, k)."""
    wanted = "cosine" if normalised else "dot"
    score = source.describe().score or wanted
    answers = source.search(queries.astype(np.float32), k, score=score)
    ids, place = np.unique(answers, return_inverse=True)
    vectors = source.fetch(ids).astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    if score != wanted and np.abs(norms - 1).max() > UNIT:
        raise CloserError(
            "scores-differ",
            f"the pool is levelled for {wanted} and '{source.address.shown}' ranks by {score}; "
            f"these agree among unit rows alone, and {norms_shown(norms)}",
        )
    vectors = vectors / norms[:, None] if normalised else vectors
    place = place.reshape(answers.shape)
    scores = np.einsum("nd,nkd->nk", queries, vectors[place])
    order = np.argsort(-scores, axis=1, kind="stable")
    return ids, np.take_along_axis(place, order, axis=1), np.take_along_axis(scores, order, axis=1)
