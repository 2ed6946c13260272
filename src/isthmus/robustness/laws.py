"""Gaussian noise by its law: what ``by: law`` rows of the stress table are.

The chances are those of :mod:`isthmus.theory.curves`, from one product of the rows for all closers
that only move rows. On candidates they are exact for the rows given, up to ``error``, so an
interval of theirs is over queries alone. Where queries are hit, a part of their noise is drawn,
alike for all closers, and ``error`` holds it. A few draws stand beside each as a check
(``docs/laws.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from isthmus.core.arrays import EPS32
from isthmus.perturb.families import NOISES
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Law
from isthmus.search.scores import Ranking
from isthmus.search.shared import Product
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves.consistency import LEAST_DIMENSIONS, Curve, has_curve, is_quick, swept
from isthmus.theory.curves.queries import DRAWS, Asked, AskedNoise, asked_chances
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.prediction import keep_probabilities

CHECKS, FEW_CHECKS = 4, 2
MANY_SCORES = 2**21
"""From so many scores of a search on, two draws check a law instead of four."""
MOST_RIGHT = 5
"""Right candidates of a query whose chances are added up."""
BOTH_DRAWS, MANY_DRAWS = (4, 8), 4096
"""Draws of the queries' noise, each with its opposite, under noise on both sides: so few that
queries times draws are at most ``MANY_DRAWS``, within limits."""
ROUNDED = 4e-6
"""Numbers of candidates that differ by no more than this share of the scores are one."""


def checks_for(task: RetrievalTask) -> int:
    """Draws that check a law."""
    size = len(task.queries) * len(task.candidates)
    return CHECKS if size < MANY_SCORES else FEW_CHECKS


def laws(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    totals: np.ndarray,
    sizes: np.ndarray,
    seed: int,
) -> list[list[Law] | None]:
    """For each search its law at every level, or None.

    Args:
        perturbation: the family and the target. totals: (levels, searches) E‖ε‖² of a candidate.
        sizes: (levels, searches, 2) standard deviations of a coordinate of the queries' and of the
            candidates' noise. seed: of the queries' noise, where a part of it is drawn.
    """
    out: list[list[Law] | None] = [None] * len(searches)
    if task.lists is not None:
        return out
    if perturbation.target in ("queries", "both"):
        return _asked_laws(task, searches, perturbation, totals, sizes, seed)
    if perturbation.target != "candidates":
        return out
    right = _right(task) if _for_all(task, perturbation) else None
    groups: dict[int, tuple[Product | Ranking, list[tuple[int, Sweep]]]] = {}
    for i, search in enumerate(searches):
        if not (_has_formula(search, perturbation.family) and is_quick(search.clean)):
            continue
        if not _has_sweep(search):
            out[i] = _one_by_one(search, totals[:, i])
            continue
        # searches that share the product are one group, the others are by themselves
        product, moved = search.multiplied
        _, mine = groups.setdefault(-1 if search.moved is not None else i, (product, []))
        alike = [sweep for j, sweep in mine if (totals[:, j] == totals[:, i]).all()]
        sweep = Sweep(
            product if isinstance(product, Ranking) else search.clean,
            totals[:, i],
            _spreads(search, perturbation.family),
            moved=moved,
            like=next((one for one in alike if one.score == search.score), None),
            items=task.candidate_items,
        )
        mine.append((i, sweep))
    for product, group in groups.values():
        aims = [[] if right is None else [searches[i].today_top1, *right] for i, _ in group]
        for (i, _), curve in zip(
            group, swept([s for _, s in group], product, own_aims=aims), strict=True
        ):
            out[i] = _laws_of(curve)
    return out


def _laws_of(curve: Curve) -> list[Law]:
    aimed = curve.aimed
    assert aimed is not None
    found = []
    for level, (kept, error) in enumerate(zip(curve.kept, curve.error, strict=True)):
        if not len(aimed):
            found.append(Law(kept, None, None, float(error)))
            continue
        right = np.minimum(aimed[1:, level].sum(axis=0), 1.0) if len(aimed) > 1 else None
        found.append(Law(kept, aimed[0, level], right, float(error)))
    return found


def _asked_laws(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    totals: np.ndarray,
    sizes: np.ndarray,
    seed: int,
) -> list[list[Law] | None]:
    """The same where queries are hit, alone or with the candidates."""
    out: list[list[Law] | None] = [None] * len(searches)
    right, both = _right(task), perturbation.target == "both"
    if right is None or not _is_white(perturbation) or not sizes[:, :, 0].all():
        return out
    if both and not _for_all(task, perturbation):
        return out
    twins: dict[int, int] = {}
    groups: dict[int, dict[int, Asked]] = {}
    for i, search in enumerate(searches):
        if both and not (_has_formula(search, perturbation.family) and _has_sweep(search)):
            continue
        if not both:  # then only the ranking counts
            alike = (j for one in groups.values() for j in one)
            twins[i] = next((j for j in alike if _rank_alike(searches[j], search)), i)
            if twins[i] != i:
                continue
        mine = groups.setdefault(-1 if search.moved is not None else i, {})
        like = next((one for one in mine.values() if searches[i].score == one.score), None)
        mine[i] = _asked(search, totals[:, i] if both else None, sizes[:, i, 0], right, seed, like)
    for number, group in groups.items():
        product = task.product if number < 0 else searches[number].clean.single()
        found = asked_chances(list(group.values()), product)
        for i, (chances, error) in zip(group, found, strict=True):
            out[i] = [_drawn_law(c, e) for c, e in zip(chances.swapaxes(0, 1), error, strict=True)]
    for i, j in twins.items():
        out[i] = out[j]
    return out


def _asked(
    search: ClosedSearch,
    totals: np.ndarray | None,
    sigmas: np.ndarray,
    right: np.ndarray,
    seed: int,
    like: Asked | None,
) -> Asked:
    matrices = [step.matrix for step in search.closer.query.steps if step.matrix is not None]
    ranking, moved = search.clean.single(), search.moved
    draws = DRAWS
    if totals is not None:
        draws = int(np.clip(MANY_DRAWS / len(search.queries), *BOTH_DRAWS))
    noise = AskedNoise.of(
        ranking,
        sigmas,
        matrix=reduce(lambda first, then: then @ first, matrices) if matrices else None,
        stored=search.stored_dims,
        rounding=None if moved is None else moved.sizes * EPS32,
        seed=seed,
        draws=draws,
    )
    sweeps = []
    for level in range(0 if totals is None else len(totals)):
        known = None if like is None else like.sweeps[level]
        one = np.asarray(totals)[level : level + 1]
        if known is not None and known.levels != one:
            known = None
        sweeps.append(Sweep(ranking, one, moved=moved, like=known))
    aims = [search.clean_top1, search.today_top1, *right]
    return Asked(noise, aims, search.score, moved, sweeps)


def _rank_alike(one: ClosedSearch, other: ClosedSearch) -> bool:
    """Whether two searches rank alike whatever the query: each has the order of the plain product
    of the rows."""
    if not (_is_plain(one) and _is_plain(other)):
        return False
    return np.array_equal(one.clean_top1, other.clean_top1) and np.array_equal(
        one.today_top1, other.today_top1
    )


def _is_plain(search: ClosedSearch) -> bool:
    moved = search.moved
    if moved is None or moved.rate is not None or moved.length is not None:
        return False
    if moved.scale is not None and np.abs(moved.scale - 1).max() > ROUNDED:
        return False
    ends = (np.ptp(x) for x in (moved.column, moved.offset) if x is not None)
    return bool(sum(ends) <= ROUNDED * moved.sizes.max())


def _drawn_law(chances: np.ndarray, error: float) -> Law:
    """From chances (aims, T, n) of the clean answers, today's and the right ones."""
    from scipy.special import stdtrit

    kept, today, *right = chances
    means = kept.mean(axis=1, dtype=np.float64)
    reach = float(stdtrit(len(means) - 1, 0.975)) / np.sqrt(len(means))
    some = np.minimum(np.sum(right, axis=0), 1.0) if right else None
    return Law(kept, today, some, float(error + reach * means.std(ddof=1)))


def _for_all(task: RetrievalTask, perturbation: Perturbation) -> bool:
    """Whether closers of every score have the law: differences between one by law and one that was
    drawn would lose that they met the same noise."""
    return _is_white(perturbation) and task.queries.shape[1] >= LEAST_DIMENSIONS


def _is_white(perturbation: Perturbation) -> bool:
    noise = NOISES[perturbation.family]
    return noise.gaussian and noise.shape is None


def _right(task: RetrievalTask) -> np.ndarray | None:
    """Right candidates of each query, (m, n), padded with -1; None where a chance of theirs is no
    sum: too many of them, or rows that are not items."""
    if task.candidate_items is not None:
        return None
    query, candidate = task.relevance.pairs.T
    place = np.arange(len(query)) - np.searchsorted(query, query)
    most = int(place.max()) + 1 if len(place) else 0
    if most > MOST_RIGHT:
        return None
    out = np.full((most, len(task.queries)), -1)
    out[place, query] = candidate
    return out


def _has_formula(search: ClosedSearch, family: str) -> bool:
    """Under dot the noise may have any shape: what counts is its spread along each query."""
    noise = NOISES[family]
    if noise.shape is not None:
        return noise.gaussian and search.score == "dot" and search.closer.memo == 0
    return noise.gaussian and (search.score != "cosine" or has_curve(search.clean))


def _has_sweep(search: ClosedSearch) -> bool:
    return has_curve(search.clean) and (search.closer.memo == 0 or search.score == "dot")


def _one_by_one(search: ClosedSearch, totals: np.ndarray) -> list[Law] | None:
    """What :func:`isthmus.predict` says, which knows nothing of other candidates' chances."""
    found = [
        keep_probabilities(
            search.clean,
            float(total),
            noisy_dims=search.stored_dims,
            items=search.task.candidate_items,
        )
        for total in totals
    ]
    return [Law(k.value, None, None, float(k.error_bound.mean())) for k in found if k] or None


def _spreads(search: ClosedSearch, family: str) -> np.ndarray | None:
    """Standard deviation of ⟨q, ε⟩ at E‖ε‖² = 1, where it is not that of noise alike in all."""
    shape = search.noise_shape(family, "candidate")
    if shape is not None:
        return shape.spreads(search.queries, 1.0)
    if not search.closer.memo:
        return None
    stored = search.stored_dims
    return np.asarray(np.linalg.norm(search.queries[:, :stored], axis=1) / np.sqrt(stored))
