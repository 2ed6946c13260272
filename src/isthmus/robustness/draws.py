"""Noise drawn once for all closers and levels.

A trial draws rows of unit variance: z for candidates, e for queries. A level s turns them into
noise, so that every closer and level meets the same draws, and under

    ⟨q + s e, x + s z⟩ = ⟨q, x⟩ + s ⟨q, z⟩ + s ⟨e, x⟩ + s² ⟨e, z⟩

three products serve all searches that only move rows (:mod:`isthmus.search.shared`); each adds
sums of its own. Draws that check a law are few: ⟨q, z⟩ and ⟨e, x⟩ are kept for the other targets
and levels of the same rows. Other searches are disturbed and searched one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.core.arrays import EPS32
from isthmus.core.seeds import stream
from isthmus.perturb.families import NOISES
from isthmus.perturb.noise import drawn
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import HEAD, ClosedSearch
from isthmus.search.scores import TIE_ULPS, Ranking, first_best
from isthmus.search.shared import KEPT, Product
from isthmus.search.task import RetrievalTask

CHECKED = 1000
"""Queries that draws check a law on, at most: one draw of them leaves a share of three in four a
standard error of .014 (``docs/laws.md``)."""


def checked_queries(task: RetrievalTask, seed: int) -> np.ndarray | None:
    """Queries that the draws of a seed check laws on, (m,) ascending; None: all.

    They are the same for all closers, families and levels.
    """
    count = len(task.queries)
    if count <= CHECKED:
        return None
    return np.sort(stream("laws.checked", seed).permutation(count)[:CHECKED])


@dataclass(frozen=True, eq=False)
class Noise:
    """One trial: standard deviations are 1. ``asked`` and ``stored`` are the products of its draws
    with the rows of the other side, ``clean`` is that of the rows."""

    clean: Product
    asked: Product | None
    stored: Product | None

    @classmethod
    def drawn(
        cls,
        task: RetrievalTask,
        perturbation: Perturbation,
        dim: int,
        seed: int,
        trial: int,
        kept: bool = False,
        rows: np.ndarray | None = None,
    ) -> Noise:
        """The draws of a family and target, whatever the level; ``kept``: for other targets too.

        ``rows`` (m,): of these queries alone, with the noise that they have among all.
        """
        family, target = perturbation.family, perturbation.target

        some = len(task.queries) if rows is None else len(rows)

        def draws(count: int, role: str) -> np.ndarray:
            draw, size = NOISES[family].draw, float(dim)
            return drawn(draw, count, dim, size, seed=seed, trial=trial, role=role, level=0.0)

        def once(name: str, find: Callable[[], Product]) -> Product:
            key = f"{family} on {name}, {dim}, {seed}, {trial}, {some}"
            return task.facts.of(key, find, task.queries, task.candidates) if kept else find()

        clean = task.product
        if rows is not None:
            clean = once("rows", lambda: task.product.at(rows))
        asked, stored, on = None, None, clean.device
        if target in ("queries", "both"):
            every = slice(None) if rows is None else rows
            e = lambda: draws(len(task.queries), "query")[every]  # noqa: E731
            asked = once("queries", lambda: Product(e(), clean.candidates, kept, on))
        if target != "queries":
            count = 1 if target == "shared" else len(clean.candidates)
            z = lambda: draws(count, "candidate")  # noqa: E731
            stored = once(f"{count} candidates", lambda: Product(clean.queries, z(), kept, on))
        return cls(clean, asked, stored)

    @property
    def queries(self) -> np.ndarray | None:
        """(n, d), or None."""
        return None if self.asked is None else self.asked.queries

    @property
    def candidates(self) -> np.ndarray | None:
        """(K, d), or (1, d) where all have it in common, or None."""
        return None if self.stored is None else self.stored.candidates

    @property
    def products(self) -> dict[str, Product]:
        """Of the noise: ``asked`` ⟨e, x⟩, ``stored`` ⟨q, z⟩, ``both`` ⟨e, z⟩, where there are."""
        found = {"asked": self.asked, "stored": self.stored}
        if self.queries is not None and self.candidates is not None:
            found["both"] = Product(self.queries, self.candidates, False, self.clean.device)
        return {name: product for name, product in found.items() if product is not None}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Answers (perturbations, searches, trials, n), overlaps at ten (perturbations, searches)."""

    answers: np.ndarray
    overlaps: np.ndarray

    @classmethod
    def of(
        cls,
        task: RetrievalTask,
        searches: Sequence[ClosedSearch],
        perturbations: Sequence[Perturbation],
        sizes: np.ndarray,
        *,
        trials: int,
        seed: int,
        rows: np.ndarray | None = None,
    ) -> Drawn:
        """Draw ``trials`` times. The perturbations differ in their level alone.

        Args:
            sizes: (perturbations, searches, 2) standard deviations of a coordinate of the queries'
                and of the candidates' noise.
            rows: (m,) ascending: answers are of these queries. Overlaps are of the first ones
                always. None: all.
        """
        every = np.arange(len(task.queries)) if rows is None else rows
        shape = len(perturbations), len(searches)
        found = cls(np.empty((*shape, trials, len(every)), np.int64), np.full(shape, np.nan))
        dim = max([task.queries.shape[1], *(search.stored_dims for search in searches)])
        kept = trials * len(task.queries) * len(task.candidates) <= KEPT
        for number in range(trials):
            asked, mine = rows, np.arange(len(every))
            if rows is not None and number == 0:
                asked = np.union1d(rows, np.arange(HEAD))
                mine = np.searchsorted(asked, rows)
            noise = Noise.drawn(task, perturbations[0], dim, seed, number, kept, asked)
            trial = _Trial(task, searches, perturbations, sizes, noise, asked)
            overlaps = found.overlaps if number == 0 else None
            answers = np.empty((*shape, len(noise.clean.queries)), np.int64)
            trial.shared(answers, overlaps)
            trial.alone(answers, overlaps)
            found.answers[:, :, number] = answers[:, :, mine]
        for i, search in enumerate(searches):
            for p in range(shape[0]):
                if not sizes[p, i].any():  # no noise, whatever the trial
                    found.answers[p, i] = search.clean_top1[every]
        return found


@dataclass(frozen=True, eq=False)
class _Trial:
    """One trial of several searches, of the queries ``rows`` (m,); None: all. Its answers go into
    (perturbations, searches, m)."""

    task: RetrievalTask
    searches: Sequence[ClosedSearch]
    perturbations: Sequence[Perturbation]
    sizes: np.ndarray
    noise: Noise
    rows: np.ndarray | None

    @property
    def ties(self) -> bool:
        """Noise that each candidate has for itself leaves none."""
        z = self.noise.candidates
        return z is None or len(z) == 1

    def _shares(self, search: ClosedSearch) -> bool:
        moved = search.moved
        if moved is None or NOISES[self.perturbations[0].family].shape is not None:
            return False
        return self.task.lists is None and moved.offset is None

    def alone(self, answers: np.ndarray, overlaps: np.ndarray | None) -> None:
        """Searches that share nothing; ``overlaps`` are found where they are given."""
        for i, search in enumerate(self.searches):
            if self._shares(search):
                continue
            some = search if self.rows is None else search.restricted(self.task, self.rows)
            for p, perturbation in enumerate(self.perturbations):
                noisy = _noisy(some, perturbation.family, self.noise, *self.sizes[p, i])
                answers[p, i] = self.task.best(noisy, ties=self.ties)
                if overlaps is not None:
                    overlaps[p, i] = search.overlap(noisy)

    def shared(self, answers: np.ndarray, overlaps: np.ndarray | None) -> None:
        """Searches that take their scores from the products."""
        mine = [(i, search) for i, search in enumerate(self.searches) if self._shares(search)]
        if not mine:
            return
        heads: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
        lengths: dict[int, _Lengths] = {}
        own = {
            (p, i): _Own(
                search, self.noise, self.sizes[p, i].astype(np.float32), lengths, self.rows
            )
            for i, search in mine
            for p in range(len(self.perturbations))
        }
        names, ties = tuple(self.noise.products), self.ties

        def work(part: slice, products: np.ndarray, *others: np.ndarray) -> None:
            parts = _Products(products, **dict(zip(names, others, strict=True)))
            sums: dict[tuple[float, float], _Sums] = {}
            for place, one in own.items():
                scores = one.scores(parts, part, sums)
                if ties:
                    width = TIE_ULPS * EPS32 * one.moved.sizes[part, None]
                    first = first_best(scores, width.astype(np.float32))
                else:
                    first = scores.argmax(axis=1)
                answers[(*place, part)] = self.task.items(first)
                if overlaps is not None and part.start < HEAD:
                    top = one.search.top_of(scores[: HEAD - part.start])
                    heads.setdefault(place, []).append((part.start, top))

        self.noise.clean.blocks(work, *self.noise.products.values())
        for place, tops in heads.items():
            found = np.concatenate([top for _, top in sorted(tops, key=lambda t: t[0])])
            assert overlaps is not None
            overlaps[place] = self.searches[place[1]].overlap_of(found)


@dataclass(frozen=True, eq=False)
class _Products:
    """⟨q, x⟩, ⟨q, z⟩, ⟨e, x⟩, ⟨e, z⟩ of a block, (b, K) each or None."""

    clean: np.ndarray
    stored: np.ndarray | None = None
    asked: np.ndarray | None = None
    both: np.ndarray | None = None

    def sums(self, asked: float, stored: float) -> _Sums:
        """The products of rows with noise of these sizes."""
        own = self.clean if self.stored is None else self.clean + stored * self.stored
        if self.asked is None:
            return _Sums(own, None)
        noise = asked * self.asked
        if self.both is not None:
            noise += asked * stored * self.both
        return _Sums(own, noise)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Products of noisy candidates with queries and with the queries' noise, (b, K) each."""

    own: np.ndarray
    noise: np.ndarray | None

    @cached_property
    def whole(self) -> np.ndarray:
        """With noisy queries."""
        return self.own if self.noise is None else self.own + self.noise


@dataclass(frozen=True, eq=False)
class _Lengths:
    """‖x‖², ⟨x, z⟩ and ‖z‖² of candidates, (K,) each."""

    own: np.ndarray
    across: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, z: np.ndarray) -> _Lengths:
        pairs = (x, x), (x, np.broadcast_to(z, x.shape)), (z, z)
        return cls(*(np.einsum("kd,kd->k", *pair) for pair in pairs))


class _Own:
    """What one search adds to the products at one level in one trial.

    With r = ``rate`` and g = ``length`` the rows are r (q + a) + s e and g (x + b) + s z.
    ``lengths`` are kept for other levels and searches of the same candidates.
    """

    def __init__(
        self,
        search: ClosedSearch,
        noise: Noise,
        sizes: np.ndarray,
        lengths: dict[int, _Lengths],
        rows: np.ndarray | None,
    ) -> None:
        moved = search.moved
        assert moved is not None
        moved = moved if rows is None else moved.at(rows)
        asked, stored = sizes
        self.search, self.moved, self.sizes = search, moved, (asked, stored)
        (a, b), z = moved.moves, noise.candidates
        self.across = None if b is None or noise.queries is None else asked * (noise.queries @ b)
        self.tilt = None if z is None or a is None else stored * (z @ a)
        self.column, self.scale = moved.column, moved.scale
        if z is not None and search.score != "dot":
            place = id(search.candidates)
            if place not in lengths:
                lengths[place] = _Lengths.of(search.clean.single().candidates, z)
            found = lengths[place]
            change = 2 * stored * found.across + stored**2 * found.noise
            if search.score == "euclidean":
                self.column = self.column - 0.5 * change
            else:
                self.scale = 1 / np.sqrt(found.own + change)
        if moved.length is None:  # then all that is the candidate's own is one sum
            self.column = self.column if self.tilt is None else self.column + self.tilt

    def scores(
        self, parts: _Products, part: slice, sums: dict[tuple[float, float], _Sums]
    ) -> np.ndarray:
        """(b, K), to be read only; ``sums`` are kept for other searches at the same level."""
        moved = self.moved
        if moved.length is not None:
            return self._bent(parts, part)
        if self.sizes not in sums:
            sums[self.sizes] = parts.sums(*self.sizes)
        some = sums[self.sizes]
        if moved.rate is not None:
            out = some.own + self.column
            if moved.row is not None:
                out += moved.row[part, None]
            out *= moved.rate[part, None]
            if some.noise is not None:
                out += some.noise
        elif self.scale is None and not self.column.any():
            return some.whole
        else:
            out = some.whole + self.column
            if self.scale is not None and moved.row is not None:
                out += moved.row[part, None]
        if self.scale is not None:
            if self.across is not None:
                out += self.across[part, None]
            out *= self.scale
        return out

    def _bent(self, parts: _Products, part: slice) -> np.ndarray:
        moved, (asked, stored) = self.moved, self.sizes
        rate = np.float32(1) if moved.rate is None else moved.rate[part, None]
        out = parts.clean + self.column
        if moved.row is not None:
            out += moved.row[part, None]
        out *= rate
        if parts.asked is not None:
            out += asked * parts.asked
        if self.across is not None:
            out += self.across[part, None]
        if moved.length is not None:
            out *= moved.length
        if parts.stored is not None:
            out += stored * rate * parts.stored
        if self.tilt is not None:
            out += rate * self.tilt
        if parts.both is not None:
            out += asked * stored * parts.both
        return out if self.scale is None else out * self.scale


def _noisy(search: ClosedSearch, family: str, noise: Noise, asked: float, stored: float) -> Ranking:
    """The search under noise.

    Noise on candidates hits what is stored: rows after the map, its memo coordinates apart. Noise
    on queries goes through the map's matrices, if it has any: the query is disturbed, then mapped.
    """
    q, c = search.queries.astype(np.float32), search.candidates.astype(np.float32)
    if noise.queries is not None:
        e = noise.queries[:, : search.closer.query.dim] * np.float32(asked)
        shape = search.noise_shape(family, "query")
        if shape is not None:
            e = shape(e)
        for step in search.closer.query.steps:
            if step.matrix is not None:
                e = e @ step.matrix.T.astype(np.float32)
        q = q + e
    if noise.candidates is not None:
        z = noise.candidates[:, : search.stored_dims] * np.float32(stored)
        shape = search.noise_shape(family, "candidate")
        c[:, : search.stored_dims] += z if shape is None else shape(z)
    return Ranking.of(q, c, search.score, search.bias).single()
