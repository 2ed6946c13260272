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

import numpy as np

from isthmus.core.arrays import EPS32
from isthmus.perturb.families import NOISES
from isthmus.perturb.noise import drawn
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import HEAD, ClosedSearch
from isthmus.search.scores import TIE_ULPS, Ranking, first_best
from isthmus.search.shared import KEPT, Product
from isthmus.search.task import RetrievalTask


@dataclass(frozen=True, eq=False)
class Noise:
    """One trial: standard deviations are 1. ``asked`` and ``stored`` are the products of its draws
    with the rows of the other side."""

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
    ) -> Noise:
        """The draws of a family and target, whatever the level; ``kept``: for other targets too."""
        clean, family, target = task.product, perturbation.family, perturbation.target

        def rows(count: int, role: str) -> np.ndarray:
            draw, size = NOISES[family].draw, float(dim)
            return drawn(draw, count, dim, size, seed=seed, trial=trial, role=role, level=0.0)

        def once(name: str, find: Callable[[], Product]) -> Product:
            key = f"{family} on {name}, {dim}, {seed}, {trial}"
            return task.facts.of(key, find, task.queries, task.candidates) if kept else find()

        asked = stored = None
        if target in ("queries", "both"):
            e = lambda: rows(len(clean.queries), "query")  # noqa: E731
            asked = once("queries", lambda: Product(e(), clean.candidates, kept))
        if target != "queries":
            count = 1 if target == "shared" else len(clean.candidates)
            z = lambda: rows(count, "candidate")  # noqa: E731
            stored = once(f"{count} candidates", lambda: Product(clean.queries, z(), kept))
        return cls(asked, stored)

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
            found["both"] = Product(self.queries, self.candidates, kept=False)
        return {name: product for name, product in found.items() if product is not None}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Answers (perturbations, searches, trials, n) and overlaps at ten (perturbations, searches).

    ``sizes`` (perturbations, searches, 2): standard deviation of a coordinate of the queries' and
    of the candidates' noise.
    """

    task: RetrievalTask
    searches: Sequence[ClosedSearch]
    perturbations: Sequence[Perturbation]
    sizes: np.ndarray
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
    ) -> Drawn:
        """Draw ``trials`` times. The perturbations differ in their level alone."""
        shape = len(perturbations), len(searches)
        answers = np.empty((*shape, trials, len(task.queries)), np.int64)
        found = cls(task, searches, perturbations, sizes, answers, np.full(shape, np.nan))
        dim = max([task.queries.shape[1], *(search.stored_dims for search in searches)])
        kept = trials * len(task.queries) * len(task.candidates) <= KEPT
        for trial in range(trials):
            noise = Noise.drawn(task, perturbations[0], dim, seed, trial, kept)
            found._shared(noise, trial)
            found._alone(noise, trial)
        for i, search in enumerate(searches):
            for p in range(shape[0]):
                if not sizes[p, i].any():  # no noise, whatever the trial
                    answers[p, i] = search.clean_top1
        return found

    def _shares(self, search: ClosedSearch) -> bool:
        moved = search.moved
        if moved is None or NOISES[self.perturbations[0].family].shape is not None:
            return False
        return self.task.lists is None and moved.offset is None

    def _alone(self, noise: Noise, trial: int) -> None:
        ties = noise.candidates is None or len(noise.candidates) == 1
        for i, search in enumerate(self.searches):
            if self._shares(search):
                continue
            for p, perturbation in enumerate(self.perturbations):
                noisy = _noisy(search, perturbation.family, noise, *self.sizes[p, i])
                self.answers[p, i, trial] = self.task.best(noisy, ties=ties)
                if trial == 0:
                    self.overlaps[p, i] = search.overlap(noisy)

    def _shared(self, noise: Noise, trial: int) -> None:
        mine = [(i, search) for i, search in enumerate(self.searches) if self._shares(search)]
        if not mine:
            return
        product = self.task.product
        heads: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
        lengths: dict[int, _Lengths] = {}
        own = {
            (p, i): _Own(search, noise, self.sizes[p, i].astype(np.float32), lengths)
            for p in range(len(self.perturbations))
            for i, search in mine
        }
        ties = noise.candidates is None or len(noise.candidates) == 1
        names = tuple(noise.products)

        def work(part: slice, products: np.ndarray, *others: np.ndarray) -> None:
            parts = _Products(products, **dict(zip(names, others, strict=True)))
            sums: dict[tuple[float, float], np.ndarray] = {}
            for (p, i), one in own.items():
                scores = one.scores(parts, part, sums)
                if ties:
                    width = TIE_ULPS * EPS32 * one.moved.sizes[part, None]
                    first = first_best(scores, width.astype(np.float32))
                else:
                    first = scores.argmax(axis=1)
                self.answers[p, i, trial, part] = self.task.items(first)
                if trial == 0 and part.start < HEAD:
                    top = one.search.top_of(scores[: HEAD - part.start])
                    heads.setdefault((p, i), []).append((part.start, top))

        product.blocks(work, *noise.products.values())
        for place, tops in heads.items():
            found = np.concatenate([top for _, top in sorted(tops, key=lambda t: t[0])])
            self.overlaps[place] = self.searches[place[1]].overlap_of(found)


@dataclass(frozen=True, eq=False)
class _Products:
    """⟨q, x⟩, ⟨q, z⟩, ⟨e, x⟩, ⟨e, z⟩ of a block, (b, K) each or None."""

    clean: np.ndarray
    stored: np.ndarray | None = None
    asked: np.ndarray | None = None
    both: np.ndarray | None = None

    def sum(self, asked: float, stored: float) -> np.ndarray:
        """The products of rows with noise of these sizes."""
        out = None
        for part, size in ((self.stored, stored), (self.asked, asked), (self.both, asked * stored)):
            if part is None:
                continue
            if out is None:
                out = self.clean + size * part
            else:
                out += size * part
        return self.clean if out is None else out


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
        self, search: ClosedSearch, noise: Noise, sizes: np.ndarray, lengths: dict[int, _Lengths]
    ) -> None:
        moved = search.moved
        assert moved is not None
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
        if not self._bends:  # then all that is the candidate's own is one sum
            self.column = self.column if self.tilt is None else self.column + self.tilt

    @property
    def _bends(self) -> bool:
        return self.moved.rate is not None or self.moved.length is not None

    def scores(
        self, parts: _Products, part: slice, sums: dict[tuple[float, float], np.ndarray]
    ) -> np.ndarray:
        """(b, K), to be read only; ``sums`` are kept for other searches at the same level."""
        if self._bends:
            return self._bent(parts, part)
        if self.sizes not in sums:
            sums[self.sizes] = parts.sum(*self.sizes)
        if self.scale is None and not self.column.any():
            return sums[self.sizes]
        out = sums[self.sizes] + self.column
        if self.scale is not None:
            for row in (self.moved.row, self.across):
                if row is not None:
                    out += row[part, None]
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
