"""HNSW and IVF-flat of FAISS over what a store would hold, and the work that a search takes.

Every ranking is linear, ⟨q, x_j⟩ · scale_j + bias_j, so it is an inner product of rows with one
more coordinate (``docs/closing.md``, "In a vector store"). The index is built on such rows.
Building and searching run on one thread with a fixed seed: the same rows give the same answers and
the same work on any machine with the same FAISS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from isthmus.core.arrays import to_numpy
from isthmus.core.checks import in_range
from isthmus.errors import OptionError, ShapeError
from isthmus.perturb.codecs import Index
from isthmus.perturb.codecs.stores import library, one_thread, single
from isthmus.search.scores import Ranking

BLOCK = 1024
"""Queries searched at once."""

ROWS = 8192
"""Stored rows converted at once."""


@dataclass(frozen=True, eq=False)
class StoredRows:
    """A ranking as rows of an inner-product store.

    ``rows`` (K, d'), float32: candidates times their scale, then ``low + (bias - least) / c``
    where candidate biases differ, then, for a cosine store, what makes all rows
    equally long. ``c`` is None where no bias is stored. ``even``: for a cosine store.
    """

    rows: np.ndarray
    dim: int
    c: float | None
    even: bool

    @classmethod
    def of(cls, ranking: Ranking, *, even: bool = False) -> StoredRows:
        """Rows that rank as ``ranking`` does. O(K d); c lets the new coordinate fill the range of
        the others, so that a quantiser or a clustering sees one more coordinate like them."""
        rows = to_numpy(ranking.candidates)
        scale = None if ranking.scale is None else to_numpy(ranking.scale)
        count, dim = rows.shape
        bias = None if ranking.offset is None else to_numpy(ranking.offset)
        if bias is not None and np.ptp(bias) == 0:
            bias = None
        out = np.empty((count, dim + (bias is not None) + even), np.float32)
        for start in range(0, count, ROWS):
            some = slice(start, start + ROWS)
            out[some, :dim] = rows[some] if scale is None else rows[some] * scale[some, None]
        c = None
        if bias is not None:
            low, high = float(out[:, :dim].min()), float(out[:, :dim].max())
            c = float(np.ptp(bias)) / (high - low or 1.0)
            out[:, dim] = low + (bias - bias.min()) / c
        if even:
            head = out[:, :-1]
            squares = np.einsum("ij,ij->i", head, head, dtype=np.float64)
            out[:, -1] = np.sqrt(squares.max() - squares)
            out /= np.float32(np.sqrt(squares.max()) or 1.0)
        return cls(out, dim, c, even)

    def asked(self, queries: Any, *, bias: bool = True) -> np.ndarray:
        """Queries (n, d) as (n, d') float32 for these rows, with the candidate bias or without.

        Raises:
            ShapeError: another number of dimensions than the candidates have.
        """
        rows = to_numpy(queries)
        if rows.shape[1] != self.dim:
            raise ShapeError(
                "unequal-dimensions",
                f"queries have {rows.shape[1]} dimensions, the index holds {self.dim}; map them "
                "with the closer's query map",
            )
        if self.c is not None:
            rows = np.column_stack([rows, np.full(len(rows), self.c if bias else 0.0)])
        if self.even:
            rows = np.column_stack([rows, np.zeros(len(rows))])
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(norms > 0, norms, 1)
        return single(rows)


@dataclass(frozen=True, eq=False)
class Found:
    """Answers of a search and what they took.

    ``rows`` (n, k) int64, best first, -1 for none. ``distances``: comparisons with stored rows and
    centroids per query, mean. ``lists``: lists scanned per query, mean; None without lists.
    """

    rows: np.ndarray
    distances: float
    lists: float | None = None


class Builder(Protocol):
    """What builds an index."""

    @property
    def name(self) -> str:
        """Name in the rows of a report."""

    @property
    def effort_name(self) -> str:
        """What its effort is called."""

    def build(self, stored: StoredRows) -> SearchIndex:
        """Build over stored rows."""


@dataclass(frozen=True)
class Hnsw:
    """A navigable small-world graph (Malkov and Yashunin, arXiv 1603.09320).

    ``links`` a node (M; twice as many at the lowest level) and ``construction`` (efConstruction)
    are pgvector's defaults. ``seed`` draws the levels.
    """

    links: int = 16
    construction: int = 64
    seed: int = 0
    name: str = "hnsw"
    effort_name: str = "efSearch"

    def build(self, stored: StoredRows) -> SearchIndex:
        """Insert row after row on one thread. O(K construction links d) or so.

        Raises:
            OptionError: fewer than 2 links, or a ``construction`` below 1.
        """
        if self.links < 2 or self.construction < 1:
            raise OptionError(
                "number-too-small",
                f"HNSW with {self.links} links and construction {self.construction}; expected at "
                "least 2 links and a construction of 1 or more",
            )
        faiss = library()
        index = faiss.IndexHNSWFlat(stored.rows.shape[1], self.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.construction
        index.hnsw.rng = faiss.RandomGenerator(self.seed)
        with one_thread():
            index.add(stored.rows)
        return SearchIndex(self.name, index, stored, None)


@dataclass(frozen=True)
class IvfFlat:
    """Lists of rows around k-means centroids; the ``nprobe`` nearest lists are scanned.

    ``lists``: how many; by default the square root of the number of rows. Centroids are compared
    by inner product and normalised in training, as FAISS does for inner products. ``seed`` of
    k-means.
    """

    lists: int | None = None
    seed: int = 0
    name: str = "ivf-flat"
    effort_name: str = "nprobe"

    def build(self, stored: StoredRows) -> SearchIndex:
        """Train and add on one thread. O(10 K lists d).

        Raises:
            OptionError: fewer than 1 list, or more lists than rows.
        """
        count = len(stored.rows)
        lists = round(count**0.5) if self.lists is None else self.lists
        in_range(lists, "lists", "too-many-lists", least=1, most=count)
        faiss = library()
        dim = stored.rows.shape[1]
        coarse = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFFlat(coarse, dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = self.seed
        index.cp.min_points_per_centroid = 1  # no warning on standard error about few rows
        with one_thread():
            index.train(stored.rows)
            index.add(stored.rows)
        return SearchIndex(self.name, index, stored, lists, coarse)


@dataclass(frozen=True, eq=False)
class SearchIndex:
    """A built index. ``lists`` is None for a graph.

    FAISS counts work in one counter of the whole process: do not search from other threads
    meanwhile.
    """

    name: str
    index: Any
    stored: StoredRows
    lists: int | None
    coarse: Any = None  # FAISS does not own it: it must live as long as the index

    def search(self, queries: Any, depth: int, effort: int, *, bias: bool = True) -> Found:
        """The ``depth`` best found for queries (n, d), mapped as the ranking's queries are.

        ``effort`` is efSearch (FAISS keeps at least ``depth``) or nprobe (cut at the number of
        lists). ``bias=False`` leaves the candidate bias out of the score. Blocks of queries;
        O(n · distances · d).

        Raises:
            OptionError: an effort or a depth below 1. ShapeError: other dimensions.
        """
        if effort < 1 or depth < 1:
            raise OptionError(
                "number-too-small", f"effort {effort} and depth {depth}; expected 1 or more of each"
            )
        faiss = library()
        if self.lists is None:
            params = faiss.SearchParametersHNSW(efSearch=effort)
            stats = faiss.cvar.hnsw_stats
        else:
            params = faiss.SearchParametersIVF(nprobe=min(effort, self.lists))
            stats = faiss.cvar.indexIVF_stats
        count = int(queries.shape[0])
        found = np.empty((count, depth), np.int64)
        stats.reset()
        with one_thread():
            for start in range(0, count, BLOCK):
                asked = self.stored.asked(queries[start : start + BLOCK], bias=bias)
                found[start : start + BLOCK] = self.index.search(asked, depth, params=params)[1]
        each = max(count, 1)
        if self.lists is None:
            return Found(found, stats.ndis / each)
        return Found(found, stats.ndis / each + self.lists, stats.nlist / each)

    @cached_property
    def unlinked(self) -> int | None:
        """Rows of a graph that no other row links to, so that hardly any effort finds them."""
        if self.lists is not None:
            return None
        faiss = library()
        hnsw = self.index.hnsw
        links = faiss.vector_to_array(hnsw.neighbors)
        starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
        lowest = np.zeros(len(links), bool)
        for place in range(hnsw.nb_neighbors(0)):
            lowest[starts + place] = True
        linked = np.unique(links[lowest & (links >= 0)])
        return len(self.stored.rows) - len(linked)

    def at(self, effort: int) -> Index:
        """This index at one effort as the ``index`` of ``perturb.codecs.search_through``."""

        def look(ranking: Ranking, depth: int) -> np.ndarray:
            if int(ranking.candidates.shape[0]) != len(self.stored.rows):
                raise ShapeError(
                    "index-of-other-rows",
                    f"the index holds {len(self.stored.rows)} rows, the search "
                    f"{int(ranking.candidates.shape[0])} candidates; build it on the same ranking",
                )
            return self.search(ranking.queries, depth, effort).rows

        return look
