"""A sample of a store's items in a set of its own, with the store's index: closers are tried there.

What is tried is written to the sample and never to the user's table. Stores of files get theirs in
a temporary folder, PostgreSQL a temporary table, others a collection beside the first. It goes at
the end, also after an error or Ctrl-C; what a killed run left goes when the next one begins.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.core.seeds import stream
from isthmus.data.parts import Engine
from isthmus.data.source import ArraySource
from isthmus.deploy.stores.owners import is_running
from isthmus.deploy.stores.rows import StoreRows
from isthmus.deploy.stores.store import Store
from isthmus.errors import FileError
from isthmus.search.gallery import search_rows
from isthmus.search.scores import Ranking, top_k

DEPTH = 10
"""Best items of each query that are in a sample, and items that a store is asked for."""
MAX_CANDIDATES = 4000
_FOLDER = "isthmus-sample-{}-"


@dataclass(frozen=True, eq=False)
class Sample:
    """Some items of a store in a set of their own.

    Attributes:
        store: the set. rows: the items' vectors as the user's store gives them, with the ids that
            they have in the sample. of: items of the user's store.
        left: names of what a run that was killed had left, and is removed now.
    """

    store: Store
    rows: ArraySource
    of: int
    left: tuple[str, ...]


@contextmanager
def sampled(
    rows: StoreRows,
    queries: np.ndarray,
    score: str,
    max_candidates: int = MAX_CANDIDATES,
    seed: int = 0,
    engine: Engine = None,
) -> Iterator[Sample]:
    """A sample while the block runs: the ten best items of every query, by exact search, and
    others drawn by ``seed``, ``max_candidates`` in all or more where the best alone are more.

    Raises:
        OptionError: another run has a sample of this store.

    Cost: one pass over the vectors where they are more than ``max_candidates``.
    """
    source = rows.store
    left = [*source.remove_sample(), *_left_folders()]
    chosen = np.arange(rows.rows)
    if rows.rows > max_candidates:
        best = np.unique(search_rows(queries, rows, DEPTH, score=score, engine=engine).rows)
        others = np.setdiff1d(stream("deploy.sample", seed).permutation(rows.rows), best, True)
        chosen = np.sort(np.append(best, others[: max(0, max_candidates - len(best))]))
    vectors = rows.take(chosen)
    name = _FOLDER.format(os.getpid())
    with tempfile.TemporaryDirectory(prefix=name, ignore_cleanup_errors=True) as folder:
        try:
            store, ids = source.sample(rows.ids[chosen], Path(folder))
            held = ArraySource(vectors, rows.name, store.address.shown, ids)
            yield Sample(store, held, rows.rows, tuple(left))
        finally:
            source.remove_sample()


def _left_folders() -> list[str]:
    """Remove folders of runs of this machine that are gone; their names."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(_FOLDER.format("*") + "*"):
        found = re.match(_FOLDER.format(r"(\d+)"), folder.name)
        if found and not is_running(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(str(folder))
    return gone


class Exact:
    """Exact answers of queries (n, d) among rows with ids, and which of a store's are the same."""

    def __init__(self, queries: np.ndarray, rows: ArraySource, score: str, k: int = 1) -> None:
        assert rows.ids is not None
        self.ranking = Ranking.of(queries, rows.read(), score)
        self.best = top_k(self.ranking, k)
        self.asked = min(DEPTH, rows.rows)
        self._place = {one: i for i, one in enumerate(rows.ids.tolist())}

    def kept_by(self, search: Callable[[int], np.ndarray]) -> np.ndarray:
        """:meth:`kept` of what a search for so many items finds.

        Ten are asked for, as a user would and ``deploy --check`` does: a graph looks no further
        than it is asked to, and ties of codes are broken otherwise where one is asked for.
        """
        try:
            found = search(self.asked)
        except FileError as why:
            if why.code != "too-few-found":  # an index of many lists sees fewer than ten items
                raise
            found = search(1)
        return self.kept(found)

    def kept(self, found: np.ndarray) -> np.ndarray:
        """Whether the first of each answer (n, k), ids, scores as high as the best one: (n,)."""
        rows = np.array([self._place[one] for one in found[:, 0].tolist()])
        least = self.best.scores[:, 0] - self.ranking.tie_widths[:, 0]
        return np.asarray(self.ranking.scores_of(rows) >= least)

    def recall(self, found: np.ndarray) -> float:
        """Share of the exact k first that are among the store's, mean over queries."""
        return float(
            np.mean(
                [
                    np.isin(best, [self._place[one] for one in answer]).mean()
                    for best, answer in zip(self.best.rows, found.tolist(), strict=True)
                ]
            )
        )
