"""Gaussian noise on candidates by its law: what ``by: law`` rows of the stress table are.

The chances are those of :mod:`isthmus.theory.curves`, from one product of the rows for all closers
that only move rows. They are exact for the rows given, up to ``error``, so an interval of theirs is
over queries alone. A few draws stand beside each as a check (``docs/laws.md``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.perturb.families import NOISES
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Law
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves.consistency import LEAST_DIMENSIONS, Curve, has_curve, swept
from isthmus.theory.curves.sweep import Sweep
from isthmus.theory.prediction import keep_probabilities

CHECKS, FEW_CHECKS = 4, 2
MANY_SCORES = 2**21
"""From so many scores of a search on, two draws check a law instead of four."""
MOST_RIGHT = 5
"""Right candidates of a query whose chances are added up."""


def checks_for(task: RetrievalTask) -> int:
    """Draws that check a law."""
    size = len(task.queries) * len(task.candidates)
    return CHECKS if size < MANY_SCORES else FEW_CHECKS


def laws(
    task: RetrievalTask,
    searches: Sequence[ClosedSearch],
    perturbation: Perturbation,
    totals: np.ndarray,
) -> list[list[Law] | None]:
    """For each search its law at every level, (levels, searches) E‖ε‖² ``totals``, or None.

    ``perturbation`` says the family and the target.
    """
    out: list[list[Law] | None] = [None] * len(searches)
    if perturbation.target != "candidates" or task.lists is not None:
        return out
    right = _right(task) if _for_all(task, perturbation) else None
    groups: dict[int, list[tuple[int, Sweep]]] = {}
    for i, search in enumerate(searches):
        if not _has_formula(search, perturbation.family):
            continue
        if not _has_sweep(search):
            out[i] = _one_by_one(search, totals[:, i])
            continue
        # searches that share the product are one group, the others are by themselves
        mine = groups.setdefault(-1 if search.moved is not None else i, [])
        alike = [sweep for j, sweep in mine if (totals[:, j] == totals[:, i]).all()]
        sweep = Sweep(
            search.clean.single(),
            totals[:, i],
            _spreads(search, perturbation.family),
            moved=search.moved,
            like=next((one for one in alike if one.score == search.score), None),
            items=task.candidate_items,
        )
        mine.append((i, sweep))
    for number, group in groups.items():
        product = task.product if number < 0 else searches[number].clean.single()
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


def _for_all(task: RetrievalTask, perturbation: Perturbation) -> bool:
    """Whether closers of every score have the law: differences between one by law and one that was
    drawn would lose that they met the same noise."""
    noise = NOISES[perturbation.family]
    isotropic = noise.gaussian and noise.shape is None
    return isotropic and task.queries.shape[1] >= LEAST_DIMENSIONS


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
