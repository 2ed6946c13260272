"""Codes: one search of every closer over what a codec leaves of its rows.

Closers that store the same rows share the codec and the codes, and those that ask by moved float
queries also their product, whose near ties are settled in float64. Codecs that differ in what is
ranked again in float alone are searched once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.perturb.codecs import (
    Codec,
    coded_ranking,
    fit_codec,
    measure_error,
    range_lints,
    rescore,
)
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import HEAD, ClosedSearch, Result
from isthmus.search.scores import Ranking, norms_of, single, top_k
from isthmus.search.settled import Settled
from isthmus.search.shared import Moved, Product
from isthmus.search.task import RetrievalTask

FINE = 1e-3
"""Codes whose errors are at most this share of the longest row need no product of their own: what
clean scores leave open is few candidates, and their codes are compared one by one."""
CODED = 512
"""Rows that go through a codec at once: caches hold what it makes of them."""


def measure_codecs(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbations: Sequence[Perturbation],
    tabled: int | None = None,
) -> list[list[Result]]:
    """For each perturbation a result per search. Target candidates: float queries (asymmetric);
    both: symmetric.

    ``own`` calibration fits the candidates' codec on half of the candidates and, for ``both``, the
    queries' on half of the queries; ``other`` swaps the two, ``union`` fits both on both halves.

    Args:
        perturbations: codecs of one target and calibration.
        tabled: of so many searches the overlap and the kind of the codec's error are found; None:
            of all.
    """
    found: list[dict[int, Result]] = [{} for _ in perturbations]
    for places in _alike(searches, perturbations[0]):
        some = _Stored(
            task,
            [searches[i] for i in places],
            perturbations[0],
            sum(tabled is None or i < tabled for i in places),
        )
        for numbers in _one_codec(perturbations):
            results = some.results([perturbations[number] for number in numbers])
            for number, mine in zip(numbers, results, strict=True):
                found[number] |= dict(zip(places, mine, strict=True))
    return [[mine[i] for i in range(len(searches))] for mine in found]


def _one_codec(perturbations: Sequence[Perturbation]) -> list[list[int]]:
    """Numbers of the perturbations of each codec."""
    out: dict[str, list[int]] = {}
    for number, perturbation in enumerate(perturbations):
        out.setdefault(perturbation.codec, []).append(number)
    return list(out.values())


def _alike(searches: Sequence[ClosedSearch], perturbation: Perturbation) -> Iterator[list[int]]:
    """Numbers of searches that have the same codec and codes of candidates."""
    own = perturbation.target != "queries" and perturbation.convention in (None, "own")
    left = list(range(len(searches)))
    while left:
        first = searches[left[0]]
        alike = [i for i in left if searches[i] is first or (own and _same(first, searches[i]))]
        left = [i for i in left if i not in alike]
        yield alike


def _same(one: ClosedSearch, other: ClosedSearch) -> bool:
    dim = one.stored_dims
    if dim != other.stored_dims:
        return False
    if one.candidates is other.candidates:
        return True
    a, b = one.candidates[:, :dim], other.candidates[:, :dim]
    return np.array_equal(a[:1], b[:1]) and np.array_equal(a, b)


@dataclass(frozen=True, eq=False)
class _Stored:
    """Searches that store the same rows; the first ``tabled`` of them stand in a table."""

    task: RetrievalTask
    searches: Sequence[ClosedSearch]
    perturbation: Perturbation
    tabled: int

    @cached_property
    def rows(self) -> np.ndarray:
        """What is stored as vectors, (K, d)."""
        first = self.searches[0]
        return first.candidates[:, : first.stored_dims]

    @cached_property
    def calibration(self) -> list[np.ndarray]:
        """Rows that the codecs of candidates and of queries are fitted on."""
        stored = self.rows[self.task.candidate_calibration]
        convention = self.perturbation.convention
        if convention in (None, "own"):
            return [stored, stored[:0]]  # each search's own queries
        asked = self._asked(self.searches[0])
        if convention == "other":
            return [asked, stored]
        return [np.vstack([stored, asked])] * 2

    def _asked(self, search: ClosedSearch) -> np.ndarray:
        return search.queries[self.task.query_calibration, : search.stored_dims]

    def results(self, perturbations: Sequence[Perturbation]) -> list[list[Result]]:
        """Of perturbations with one codec, for each a result per search."""
        coded = _Coded.of(self, perturbations[0].codec)
        depths = [min(p.rescored, len(self.rows)) for p in perturbations]
        if self.task.lists is not None:
            depths = [0] * len(depths)
        found = coded.searched(sorted({depth for depth in depths if depth}))
        out = []
        for perturbation, depth in zip(perturbations, depths, strict=True):
            mine = []
            for search, (answers, overlap, again) in zip(self.searches, found, strict=True):
                extra = dict(coded.columns)
                best = answers
                if depth:
                    best, inside = again[depth]
                    extra |= {
                        "rescored": depth,
                        "coded_consistency": float((answers == search.clean_top1).mean()),
                        "in_shortlist": float(inside.mean()),
                    }
                size = coded.size
                mine.append(
                    Result(perturbation, search, best[None, :], 1, overlap, size, None, extra)
                )
            out.append(mine)
        return out


Again = dict[int, tuple[np.ndarray, np.ndarray]]
"""How many were ranked again in float -> the answers (n,), and (n,) whether the answer of the float
search was among those."""


class _Once:
    """A codec of queries that many searches ask by: they are coded once."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.coded: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.codec.name

    def bytes_per_vector(self, dim: int) -> float:
        return self.codec.bytes_per_vector(dim)

    def through(self, rows: np.ndarray) -> np.ndarray:
        """The queries, coded."""
        if self.coded is None:
            self.coded = np.asarray(self.codec.through(rows), np.float64)
        return self.coded


@dataclass(frozen=True, eq=False)
class _Coded:
    """Stored rows through one codec, ``stored`` (K, d) float64, and how long each error is,
    ``errors`` (K,); None where queries alone are coded.

    What rescoring loses splits into what the code loses (1 - ``coded_consistency``), what ranking
    again wins back (up to ``in_shortlist``) and the rest.
    """

    alike: _Stored
    name: str
    codec: Codec | None
    stored: np.ndarray | None
    errors: np.ndarray

    @classmethod
    def of(cls, alike: _Stored, name: str) -> _Coded:
        if alike.perturbation.target == "queries":
            return cls(alike, name, None, None, np.zeros(0))
        codec, rows = fit_codec(name, alike.calibration[0]), alike.rows
        stored, errors = np.empty(rows.shape), np.empty(len(rows))
        light = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), CODED):
            some = slice(start, start + CODED)
            stored[some] = codec.through(rows[some])
            light[some] = stored[some]
            errors[some] = row_norms(stored[some] - rows[some])
        alike.task.facts.of("single", lambda: light, stored)  # for all searches of it
        return cls(alike, name, codec, stored, errors)

    @property
    def size(self) -> float | None:
        """Bytes of a stored vector."""
        rows = self.alike.rows
        return None if self.codec is None else float(self.codec.bytes_per_vector(rows.shape[1]))

    def off(self, ranking: Ranking) -> np.ndarray | None:
        """By how much at most two clean scores lie apart otherwise than two coded ones, (n,), where
        that is little: ⟨q, e⟩ is at most ‖q‖‖e‖. None where it is not."""
        scale = 1.0 if ranking.scale is None else ranking.scale
        queries, rows = (norms_of(r, ranking.facts) for r in (ranking.queries, ranking.candidates))
        error = float((self.errors * scale).max())
        if not error <= FINE * float((rows * scale).max()):
            return None
        return np.asarray(2 * error * queries)

    @cached_property
    def columns(self) -> dict[str, object]:
        """What kind of error the codec makes on the rows under test, and whether its ranges fit.

        Ranges are looked at on rows that no ``own`` calibration has seen.
        """
        if self.codec is None:
            return {}
        if not self.alike.tabled:
            return {"codec_error": float(f"{(self.errors**2).mean():.9g}")}
        rows, task = self.alike.rows, self.alike.task
        error = measure_error(self.codec, rows, coded=self.stored)
        found: dict[str, object] = {
            "codec_error": float(f"{error.squared:.9g}"),
            "codec_slope": round(error.slope, 9),
            "codec_error_kind": error.kind,
        }
        unseen = np.setdiff1d(np.arange(len(rows)), task.candidate_calibration)
        for lint in range_lints(self.codec, {"stored": rows[unseen]}) if len(unseen) else ():
            found |= {"codec_outside": lint.outside, "codec_would_wrap": lint.wrapped}
        return found

    @cached_property
    def _asked(self) -> dict[int, _Once]:
        """Codecs of queries, by the array that they code."""
        return {}

    def _query_codec(self, search: ClosedSearch) -> _Once | None:
        perturbation = self.alike.perturbation
        if perturbation.target not in ("queries", "both"):
            return None
        own = perturbation.convention in (None, "own")
        if id(search.queries) not in self._asked:
            rows = self.alike._asked(search) if own else self.alike.calibration[1]
            self._asked[id(search.queries)] = _Once(fit_codec(self.name, rows))
        return self._asked[id(search.queries)]

    def _ranking(self, search: ClosedSearch) -> Ranking:
        q, c, dim = search.queries, search.candidates, search.stored_dims
        query_codec, facts = self._query_codec(search), self.alike.task.facts
        if self.codec is not None:
            return coded_ranking(
                q,
                c,
                self.codec,
                score=search.score,
                bias=search.bias,
                query_codec=query_codec,
                stored=dim,
                coded=self.stored,
                facts=facts,
            )
        assert query_codec is not None
        asked = np.hstack([query_codec.through(q[:, :dim]), q[:, dim:]])
        return Ranking.of(asked, c, search.score, search.bias, facts)

    def searched(self, depths: Sequence[int]) -> list[tuple[np.ndarray, float, Again]]:
        """Of each search the answers (n,), the overlap at ten, and what comes of ranking again."""
        task, searches = self.alike.task, self.alike.searches
        watches = [
            _Watch(search, i < self.alike.tabled, depths) for i, search in enumerate(searches)
        ]
        rankings = [self._ranking(search) for search in searches]
        looks: dict[int, tuple[Product, list[_Look]]] = {}
        for watch, ranking in zip(watches, rankings, strict=True):
            product, look = self._look(watch, ranking)
            looks.setdefault(id(product), (product, []))[1].append(look)
        for product, some in looks.values():
            _look(task, product, some)
        return [
            watch.found(task, ranking) for watch, ranking in zip(watches, rankings, strict=True)
        ]

    def _look(self, watch: _Watch, ranking: Ranking) -> tuple[Product, _Look]:
        """The product that a search takes its scores from, and how: that of the undisturbed rows
        where the codes are fine, that of all who ask by moved float queries, or its own."""
        search, moved = watch.search, watch.search.moved
        floats = self.stored is not None and ranking.queries is search.queries
        off = self.off(ranking) if floats and not (watch.tabled or watch.depths) else None
        if moved is None or not floats:
            own = self._alone(ranking) if off is None else search.product
            return own, _Look(watch, ranking, Moved.of(own, ranking), 0.0 if off is None else off)
        turned = moved.rate is not None
        if off is None:
            product = self._shared
            looked = Moved.of(product, ranking, (moved.moves[0], None), (turned, False))
            return product, _Look(watch, ranking, looked)
        product, ends = self.alike.task.product, (turned, moved.length is not None)
        return product, _Look(watch, ranking, Moved.of(product, ranking, moved.moves, ends), off)

    @cached_property
    def _shared(self) -> Product:
        task = self.alike.task
        assert self.stored is not None
        return Product(task.product.queries, single(self.stored, task.facts), kept=False)

    @cached_property
    def _products(self) -> dict[tuple[int, int], Product]:
        """Products of coded queries or of rows that are more than moved, by both arrays."""
        return {}

    def _alone(self, ranking: Ranking) -> Product:
        key = id(ranking.queries), id(ranking.candidates)
        if key not in self._products:
            light = ranking.single()
            self._products[key] = Product(light.queries, light.candidates, kept=False)
        return self._products[key]


@dataclass(frozen=True, eq=False)
class _Look:
    """A search, its scores from a product, and how far these may be ``off`` the search's own."""

    watch: _Watch
    ranking: Ranking
    moved: Moved
    off: np.ndarray | float = 0.0


def _look(task: RetrievalTask, product: Product, looks: Sequence[_Look]) -> None:
    """Search several rankings by one product."""
    if not looks:
        return
    answers = task.answers(
        [(look.ranking, look.moved) for look in looks],
        product,
        lambda i, *block: looks[i].watch.see(*block),
        [look.off for look in looks],
    )
    for look, found in zip(looks, answers, strict=True):
        look.watch.answers = found


class _Watch:
    """What is kept of a search's scores while they pass."""

    def __init__(self, search: ClosedSearch, tabled: bool, depths: Sequence[int]) -> None:
        self.search, self.tabled, self.depths = search, tabled, depths
        self.answers = np.empty(0, np.int64)
        self.tops: list[tuple[int, np.ndarray]] = []
        count = len(search.queries)
        self.lists = {depth: np.full((count, depth), -1, np.int64) for depth in depths}

    def see(self, part: slice, scores: np.ndarray, settled: Settled) -> None:
        """Called with all scores, block by block."""
        if self.tabled and part.start < HEAD:
            self.tops.append((part.start, self.search.top_of(scores[: HEAD - part.start])))
        for depth, rows in self.lists.items():
            rows[part] = settled.leading(scores, part, depth)

    def found(self, task: RetrievalTask, ranking: Ranking) -> tuple[np.ndarray, float, Again]:
        """Answers, overlap, and what comes of ranking the best again in float."""
        again = {}
        for depth, rows in self.lists.items():
            if depth and rows[0, 0] < 0:  # no scores passed
                rows = top_k(ranking, depth).rows
            inside = (task.items(rows) == self.search.clean_top1[:, None]).any(axis=1)
            again[depth] = task.items(_again(task, self.search, rows)), inside
        return self.answers, self._overlap(ranking), again

    def _overlap(self, ranking: Ranking) -> float:
        if not self.tabled:
            return float("nan")
        if not self.tops:
            return self.search.overlap(ranking.single())
        tops = [top for _, top in sorted(self.tops, key=lambda one: one[0])]
        return self.search.overlap_of(np.concatenate(tops))


def _again(task: RetrievalTask, search: ClosedSearch, rows: np.ndarray) -> np.ndarray:
    """The best by float of each query's rows (n, depth), (n,)."""
    moved = search.moved
    if moved is None or task.product.whole is None:
        return rescore(rows, search.clean, 1)[:, 0]
    settled = Settled.of(search.clean, moved.sizes)
    if not settled.fits:
        return rescore(rows, search.clean, 1)[:, 0]
    every = slice(0, len(rows))
    products = np.take_along_axis(task.product.whole, rows, axis=1)
    return settled.best(moved.scores(products, every, rows), every, rows)
