"""What was deployed, checked: the store's own answers against exact search, before and after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.seeds import stream
from isthmus.data import open_rows
from isthmus.data.records import Record
from isthmus.data.source import ArraySource
from isthmus.deploy.stores.placement import Placement
from isthmus.deploy.stores.sampling import DEPTH, Exact
from isthmus.search.scores import Ranking, top_k


@dataclass(frozen=True)
class DeploymentCheck(Record):
    """A store's own answers against exact search, before and after.

    Attributes:
        queries: how many were sent. index, codec: the store's own, of the deployed vectors.
        exact: share of queries whose first answer by exact search is the same before and after, or
            ties with it.
        before, after: share of queries whose first answer *in the store* is that of exact search
            of the original vectors, or one that ties with it: with the original vectors, with
            the deployed ones.
        recall_before, recall_after: share of the exact ten first that are among the store's ten.
        warning: what to know of the store's rows; empty for nothing.
    """

    closer: str
    store: str
    queries: int
    index: str
    codec: str
    exact: float
    before: float
    after: float
    recall_before: float
    recall_after: float
    warning: str = ""

    def sentences(self) -> list[str]:
        """What was found, a line each."""
        how = f"index {self.index}, codec {self.codec}"
        return [
            *([f"WARNING: {self.warning}"] if self.warning else []),
            f"{self.queries} queries through {self.store} ({how})",
            f"first answer by exact search, closed and not: the same for {self.exact:.1%}",
            f"first answer in the store is that of exact search: {self.before:.1%} before, "
            f"{self.after:.1%} after",
            f"of the ten first, in the store: {self.recall_before:.1%} before, "
            f"{self.recall_after:.1%} after",
        ]


def check_deployment(
    closer: Closer | str | os.PathLike[str],
    store: str,
    queries: Any,
    *,
    column: str | None = None,
    out: str | os.PathLike[str] | None = None,
    max_queries: int = 500,
    seed: int = 0,
) -> DeploymentCheck:
    """Send queries to the store and compare its answers with exact search, before and after.

    Args:
        closer, store, column, out: as given to :func:`deploy`.
        queries: (n, d) rows as the encoder gives them; at most ``max_queries`` of them, drawn by
            ``seed``, are sent.

    Raises:
        OptionError: nothing was deployed there.

    Cost: every vector is read once; two searches in the store for each query.
    """
    place = Placement.of(closer, store, column, out)
    place.check_mark()
    asked, ids = open_rows(queries), place.ids
    chosen = stream("deploy.check", seed).permutation(asked.rows)[:max_queries]
    plain = asked.take(np.sort(chosen))
    gallery = place.rows.read()
    k, score = min(DEPTH, len(ids)), place.form.score
    exact = Exact(plain, ArraySource(gallery, ids=ids), score, k)
    moved, bias = place.form.stored(gallery)
    closed = Ranking.of(place.form.asked(plain), moved, score, bias)
    before = place.source.search(plain, k, score=score)
    after = place.search(plain, k)
    stored = place.target.describe()
    return DeploymentCheck(
        closer=place.closer.name,
        store=place.target.address.shown,
        queries=len(plain),
        index=stored.index,
        codec=stored.codec,
        exact=float(exact.kept(ids[top_k(closed, 1).rows]).mean()),
        before=float(exact.kept(before).mean()),
        after=float(exact.kept(after).mean()),
        recall_before=exact.recall(before),
        recall_after=exact.recall(after),
        warning=place.form.said,
    )
