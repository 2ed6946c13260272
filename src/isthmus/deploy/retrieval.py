"""The first candidates of each query: by exact search, or as a store finds them.

With a closer, candidates rank as that closer ranks them; a store then searches what ``isthmus
deploy`` wrote to it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress
from isthmus.data import open_rows
from isthmus.data.addresses import address_of, open_store
from isthmus.data.hit_files import HIT_FILES, write_hits
from isthmus.data.parts import Engine
from isthmus.data.records import Record
from isthmus.data.source import ids_of
from isthmus.deploy.stores.placement import Placement
from isthmus.deploy.stores.store import Store
from isthmus.errors import OptionError
from isthmus.search.gallery import search_rows
from isthmus.search.running import Searched

CHUNK = 1000
"""Queries whose answers are scored at once."""


@dataclass(frozen=True, eq=False)
class Hits(Record):
    """The first candidates of each of n queries, best first.

    Attributes:
        candidates: (n, k) their ids, or row numbers where they have none.
        scores: (n, k) products or cosines, with the candidate bias where the closer has one; under
            ``euclidean`` distances, which rise.
        score, closer: what ranks; the closer's name. by: exact search, or which index and codec.
        query_ids: (n,), or None.
    """

    candidates: np.ndarray
    scores: np.ndarray
    score: str
    closer: str
    by: str
    query_ids: np.ndarray | None = None

    def sentences(self) -> list[str]:
        """What was found, a line."""
        n, k = self.candidates.shape
        through = "" if self.closer == "none" else f" through {self.closer}"
        return [f"{k} candidates for each of {n} queries{through}, by {self.by}, {self.score}"]

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The sentence, and the lines."""
        return self.sentences()[0], self.rows()

    def columns(self) -> dict[str, np.ndarray]:
        """A line for each query and place, as columns (n k,): ``query`` (its row), ``candidate``,
        ``score``, ``rank`` from 1, and ``query_id`` where queries have ids."""
        n, k = self.candidates.shape
        named = {} if self.query_ids is None else {"query_id": np.repeat(self.query_ids, k)}
        return {
            "query": np.repeat(np.arange(n), k),
            "candidate": self.candidates.reshape(-1),
            "score": self.scores.reshape(-1),
            "rank": np.tile(np.arange(1, k + 1), n),
            **named,
        }

    def rows(self) -> list[dict[str, Any]]:
        """A line for each query and place."""
        columns = {name: values.tolist() for name, values in self.columns().items()}
        return [
            dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it in the format of the suffix, as ``docs/files.md`` says: a table of
        :meth:`columns` (``.parquet``, ``.csv``, ``.tsv``, ``.jsonl``), arrays (``.npz``), a run of
        TREC (``.trec``, ``.run``), or ``.json``.

        Raises:
            OptionError: another suffix, or an id with a space in a run. FileError: the file cannot
                be written.
        """
        if os.path.splitext(path)[1].lower() not in HIT_FILES:
            return super().save(path)
        write_hits(path, self.columns(), distances=self.score == "euclidean")
        return Path(path)


def retrieve(
    queries: Any,
    candidates: Any,
    k: int = 10,
    *,
    score: str | None = None,
    closer: Closer | str | os.PathLike[str] | None = None,
    exact: bool = False,
    column: str | None = None,
    query_side: str | os.PathLike[str] | None = None,
    engine: Engine = None,
    progress: Progress | None = None,
) -> Hits:
    """The k first candidates of each query, with their ids and scores.

    Candidates in files or memory are searched exactly, in float32, block by block. Candidates in a
    store are searched by the store, with its index and codec: their order is the store's, and their
    scores are computed here, from the vectors that it holds.

    Args:
        queries, candidates: (n, d) and (K, d) arrays or tensors, paths, globs or ``Rows``;
            candidates may be the address of a store.
        score: dot, cosine or euclidean; None: the closer's, the store's own, or cosine.
        closer: both sides go through it, and it says the score. In a store it was deployed before.
        exact: read a store's vectors and search them here.
        column, query_side: of a closer in a store, as ``column`` and ``out`` of ``deploy``.
        engine: searches parts of candidates that are searched here
            (:func:`isthmus.engines.open_engine`).

    Raises:
        OptionError: k is below 1 or above the number of candidates, a score that is not the
            closer's, or no deployed column. FileError: the store gives fewer than k.

    >>> rows = np.random.default_rng(0).normal(size=(50, 8))
    >>> hits = retrieve(rows[:2], rows, 3)
    >>> hits.candidates[:, 0], hits.sentences()
    (array([0, 1]), ['3 candidates for each of 2 queries, by exact search, cosine'])
    """
    fitted = Closer.load(closer) if isinstance(closer, (str, os.PathLike)) else closer
    if fitted is not None and score not in (None, fitted.score):
        raise OptionError(
            "score-not-offered",
            f"{fitted.name} is searched by {fitted.score}, not by {score}; leave the score out",
        )
    asked = open_rows(queries)
    rows, names = asked.read(), ids_of(asked)
    name = "none" if fitted is None else fitted.name
    if address_of(candidates) is None or exact:
        source = open_rows(candidates)
        by = score or (fitted.score if fitted else "cosine")
        found = search_rows(
            rows, source, k, score=by, closer=fitted, engine=engine, progress=progress
        )
        ids = ids_of(source)
        picked = found.rows if ids is None else ids[found.rows]
        scores = _shown(Searched(rows, by, fitted).queries, found.scores, by)
        return Hits(picked, scores, by, name, "exact search", names)
    return _in_store(candidates, rows, k, score, fitted, column, query_side, names)


def _in_store(
    address: str,
    rows: np.ndarray,
    k: int,
    score: str | None,
    closer: Closer | None,
    column: str | None,
    query_side: str | os.PathLike[str] | None,
    names: np.ndarray | None,
) -> Hits:
    """As the store finds them."""
    source: Store = open_store(address)
    facts = source.describe()
    if not 1 <= k <= facts.rows:
        raise OptionError("bad-k", f"k={k} of {facts.rows} rows; expected 1 to {facts.rows}")
    if closer is None:
        by = score or facts.score or "cosine"
        picked = source.search(rows.astype(np.float32), k, score=by)
    else:
        place = Placement.of(closer, source, column, query_side)
        place.check_mark()
        by, facts = closer.score, place.target.describe()
        picked = place.search(rows, k)
    if picked.shape[1] < k:
        raise source.too_few(picked.shape[1], k)
    how = f"the store's own search (index {facts.index}, codec {facts.codec})"
    name = "none" if closer is None else closer.name
    return Hits(picked, _scores(source, rows, picked, by, closer), by, name, how, names)


def _scores(
    source: Store, rows: np.ndarray, found: np.ndarray, score: str, closer: Closer | None
) -> np.ndarray:
    """Scores of what was found (n, k), from the store's vectors."""
    out = np.empty(found.shape)
    for at in range(0, len(rows), CHUNK):
        some = slice(at, at + CHUNK)
        ids, place = np.unique(found[some], return_inverse=True)
        search = Searched(rows[some], score, closer)
        count, k = found[some].shape
        asked = np.repeat(np.arange(count), k)
        own = search(source.fetch(ids)).scores_of(place.reshape(-1), asked).reshape(count, k)
        out[some] = _shown(search.queries, own, score)
    return out


def _shown(queries: np.ndarray, rankings: np.ndarray, score: str) -> np.ndarray:
    """Rankings (n, k) with the constants of the query (n, r) that a search leaves out."""
    norms = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    if score == "cosine":
        return np.asarray(rankings / norms)
    if score == "euclidean":
        square = norms**2 - 2 * rankings.astype(np.float64)
        return np.asarray(np.sign(square) * np.sqrt(np.abs(square)))
    return np.asarray(rankings, np.float64)
