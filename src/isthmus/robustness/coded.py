"""Codes: one search of every closer over what a codec leaves of its rows.

Closers that store the same rows share the codec and the codes, and those that ask by moved float
queries also their product, whose near ties are settled in float64. Codecs that differ in what is
ranked again in float alone are searched once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isthmus.core.arrays import row_norms
from isthmus.core.devices import Device
from isthmus.perturb.codecs import (
    Codec,
    SignBits,
    coded_ranking,
    fit_codec,
    measure_error,
    range_lints,
)
from isthmus.robustness.looks import Again, Look, Watch, look_at
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Result
from isthmus.robustness.signs import even, sign_product
from isthmus.search.scores import Ranking, norms_of, single
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
    memory = _Memory()
    for places in _alike(searches, perturbations[0]):
        some = _Stored(
            task,
            [searches[i] for i in places],
            perturbations[0],
            sum(tabled is None or i < tabled for i in places),
            memory,
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
    if one.stored_dims != other.stored_dims:
        return False
    a, b = one.candidates, other.candidates
    return a is b or (np.array_equal(a[:1], b[:1]) and np.array_equal(a, b))


class _Memory:
    """What one code after another is written to: new pages cost more than what is written."""

    def __init__(self) -> None:
        self._held: dict[type, np.ndarray] = {}

    def of(self, shape: tuple[int, ...], kind: type) -> np.ndarray:
        """An array of its own (so that nothing known of another is taken for it) on old memory."""
        held = self._held.get(kind)
        if held is None or held.shape != shape:
            held = self._held[kind] = np.empty(shape, kind)
        return held[:]


@dataclass(frozen=True, eq=False)
class _Stored:
    """Searches that store the same rows; the first ``tabled`` of them stand in a table."""

    task: RetrievalTask
    searches: Sequence[ClosedSearch]
    perturbation: Perturbation
    tabled: int
    memory: _Memory

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
    """Stored rows through one codec, ``stored`` (K, d + m) float64 with the m memo coordinates, and
    how long each error is, ``errors`` (K,); None where queries alone are coded.

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
        rows, facts = alike.searches[0].candidates, alike.task.facts
        codec, dim = fit_codec(name, alike.calibration[0]), alike.rows.shape[1]
        stored, light = (alike.memory.of(rows.shape, kind) for kind in (np.float64, np.float32))
        norms, errors = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), CODED):
            some = slice(start, start + CODED)
            stored[some, :dim] = codec.through(rows[some, :dim])
            stored[some, dim:] = rows[some, dim:]
            light[some] = stored[some]
            norms[some] = row_norms(stored[some])
            errors[some] = row_norms(stored[some, :dim] - rows[some, :dim])
        facts.of("single", lambda: light, stored)  # for all searches of it
        facts.of("norms", lambda: norms, stored)
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
        assert self.stored is not None
        error = measure_error(self.codec, rows, coded=self.stored[:, : rows.shape[1]])
        found: dict[str, object] = {
            "codec_error": float(f"{error.squared:.9g}"),
            "codec_slope": round(error.slope, 9),
            "codec_error_kind": error.kind,
        }
        unseen = np.delete(rows, task.candidate_calibration, axis=0)
        for lint in range_lints(self.codec, {"stored": unseen}) if len(unseen) else ():
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
            Watch(search, i < self.alike.tabled, depths) for i, search in enumerate(searches)
        ]
        rankings = [self._ranking(search) for search in searches]
        looks: dict[int, tuple[Product, list[Look]]] = {}
        for watch, ranking in zip(watches, rankings, strict=True):
            product, look = self._look(watch, ranking)
            looks.setdefault(id(product), (product, []))[1].append(look)
        for product, some in looks.values():
            look_at(task, product, some)
        return [
            watch.found(task, ranking) for watch, ranking in zip(watches, rankings, strict=True)
        ]

    def _look(self, watch: Watch, ranking: Ranking) -> tuple[Product, Look]:
        """The product that a search takes its scores from, and how: that of the undisturbed rows
        where the codes are fine, that of all who ask by moved float queries, or its own."""
        search, moved = watch.search, watch.search.moved
        floats = self.stored is not None and ranking.queries is search.queries
        off = self.off(ranking) if floats and not (watch.tabled or watch.depths) else None
        scales = self._signs(search)
        if scales is not None:
            product = self._alone(ranking, sign_product)
            whole = None if even(ranking) else Moved.of(product, ranking, lengths=scales)
            return product, Look(watch, ranking, whole)
        if moved is None or not floats:
            own = self._alone(ranking, _light) if off is None else search.product
            return own, Look(watch, ranking, Moved.of(own, ranking), 0.0 if off is None else off)
        turned = moved.rate is not None
        if off is None:
            product = self._shared
            looked = Moved.of(product, ranking, (moved.moves[0], None), (turned, False))
            return product, Look(watch, ranking, looked)
        product, ends = self.alike.task.product, (turned, moved.length is not None)
        return product, Look(watch, ranking, Moved.of(product, ranking, moved.moves, ends), off)

    @cached_property
    def _shared(self) -> Product:
        task = self.alike.task
        assert self.stored is not None
        return replace(task.product, candidates=single(self.stored, task.facts), kept=False)

    def _signs(self, search: ClosedSearch) -> tuple[np.ndarray, np.ndarray] | None:
        """Sizes of the signs (n,), (K,) where both sides are signs and nothing else."""
        asked = self._query_codec(search)
        codecs = None if asked is None else asked.codec, self.codec
        sizes = [one.scale for one in codecs if isinstance(one, SignBits) and one.scale > 0]
        if len(sizes) < 2 or search.closer.memo or self.alike.task.lists is not None:
            return None
        return np.full(len(search.queries), sizes[0]), np.full(len(search.candidates), sizes[1])

    @cached_property
    def _products(self) -> dict[tuple[object, int, int], Product]:
        """Products of coded queries or of rows that are more than moved, by both arrays."""
        return {}

    def _alone(self, ranking: Ranking, of: Callable[..., Product]) -> Product:
        key = of, id(ranking.queries), id(ranking.candidates)
        if key not in self._products:
            self._products[key] = of(ranking, self.alike.task.device)
        return self._products[key]


def _light(ranking: Ranking, device: Device | None) -> Product:
    light = ranking.single()
    return Product(light.queries, light.candidates, False, device)
