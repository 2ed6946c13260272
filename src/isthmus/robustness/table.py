"""Rows of the stress table: averages and intervals of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.core.statistics import Share, mcnemar, paired_difference, share_over_trials, wilson
from isthmus.robustness.searches import Result
from isthmus.search.relevance import Relevance
from isthmus.search.task import RetrievalTask

COLUMNS = (
    "direction",
    "task",
    "score",
    "closer",
    "strength",
    "side",
    "family",
    "level",
    "convention",
    "trials",
    "seed",
    "queries",
    "candidates",
    "consistency",
    "consistency_lo",
    "consistency_hi",
    "predicted_consistency",
    "accuracy",
    "agreement",
    "clean_agreement",
    "clean_accuracy",
    "overlap_at_10",
    "bytes_per_vector",
)


def row_of(task: RetrievalTask, result: Result, seed: int) -> dict[str, Any]:
    """One row of the table, with intervals that resample trials and queries.

    A flip, of which ``consistency`` counts the others, is one against the closer's own undisturbed
    answer (``flip_reference``: ``own``); ``agreement`` is with today's answers.
    """
    search, perturbation = result.search, result.perturbation
    consistency = share_over_trials(result.kept, seed=seed)
    agreement = share_over_trials(result.as_today, seed=seed)
    clean = wilson(int(search.clean_agreement.sum()), len(search.clean_agreement))
    found = {
        "direction": task.direction,
        "task": task.relevance.task,
        "score": search.score,
        "closer": search.closer.name,
        "strength": search.closer.strength,
        "side": perturbation.target,
        "family": perturbation.family,
        "level": perturbation.level,
        "convention": perturbation.convention,
        "trials": result.trials,
        "seed": seed,
        "queries": len(search.queries),
        "candidates": len(search.candidates),
        **_interval("consistency", consistency),
        "predicted_consistency": result.predicted,
        **_accuracies(task.relevance, result, seed),
        **_interval("agreement", agreement),
        **_interval("clean_agreement", clean),
        "overlap_at_10": None if np.isnan(result.overlap) else result.overlap,
        "bytes_per_vector": result.bytes_per_vector,
        "floats_beside": search.floats_per_candidate,
        "flip_reference": "own",
        **_covered(result, seed),
        **result.extra,
    }
    return {name: found[name] for name in COLUMNS} | found


def _covered(result: Result, seed: int) -> dict[str, Any]:
    """Whether the row goes by a law or was drawn, what its intervals cover, and the draws that
    check a law (``trials`` of them), nulls where there is none."""
    checked = result.checked
    found: dict[str, Any] = {
        "by": "drawn" if checked is None else "law",
        "interval_covers": "queries" if len(result.kept) == 1 else "queries and draws",
        "law_error": None if result.law is None else result.law.error,
    }
    if checked is None:
        return found | dict.fromkeys(("checked_queries", "checked", "checked_lo", "checked_hi"))
    found["checked_queries"] = checked.shape[1]
    return found | _interval("checked", share_over_trials(checked, seed=seed))


def _interval(name: str, share: Share) -> dict[str, float]:
    return {name: share.mean, f"{name}_lo": share.low, f"{name}_hi": share.high}


def _accuracies(relevance: Relevance, result: Result, seed: int) -> dict[str, Any]:
    """Right answers, disturbed and not; null where nothing is known to be right."""
    judged = relevance.judged
    if not judged.any():
        return {"accuracy": None, "clean_accuracy": None}
    correct = result.correct(relevance)[:, judged]
    clean = relevance.correct(result.search.clean_top1)[judged]
    return _interval("accuracy", share_over_trials(correct, seed=seed)) | {
        "clean_accuracy": float(clean.mean())
    }


def rows_of(task: RetrievalTask, results: Sequence[Result], seed: int) -> list[dict[str, Any]]:
    """One perturbation's rows, each with its gain over plain search (``none``) by the same score.

    Adds to :func:`row_of`: ``gain``, ``gain_lo``, ``gain_hi`` (consistency more than plain search
    has under the same noise; paired over trials and queries; null without such a row), and, where
    it is known what is right, ``clean_mcnemar_p`` (accuracy of closing alone against plain search,
    queries being the pairs, no noise in either).
    """
    plain = {r.search.score: r for r in results if r.search.closer.name == "none"}
    judged = task.relevance.judged
    rows = []
    for result in results:
        search, base = result.search, plain.get(result.search.score)
        none = {"gain": None, "gain_lo": None, "gain_hi": None}
        row = row_of(task, result, seed) | (none if base is None else gain(base, result, seed))
        if judged.any():
            answers = search.today_top1, search.clean_top1
            row["clean_mcnemar_p"] = mcnemar(*(task.relevance.correct(a)[judged] for a in answers))
        rows.append(row)
    return rows


ALIKE = (
    "direction",
    "closer",
    "score",
    "strength",
    "family",
    "level",
    "side",
    "convention",
    "rescored",
)
"""What two rows have in common that differ in their seed alone."""


def averaged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that differ in their seed alone as one, with the mean of every number.

    ``seeds`` says how many; nulls are left out of a mean. Of several, intervals, p-values and the
    seed are null: they do not average.
    """
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(tuple(row.get(name) for name in ALIKE), []).append(row)
    return [_mean_row(same) | {"seeds": len(same)} for same in alike.values()]


def _mean_row(same: list[dict[str, Any]]) -> dict[str, Any]:
    if len(same) == 1:
        return same[0]
    found: dict[str, Any] = {}
    for name, first in same[0].items():
        values = [row[name] for row in same if row.get(name) is not None]
        if name == "seed" or name.endswith(("_lo", "_hi", "_p")):
            found[name] = None
        elif name in ALIKE or not values or not isinstance(values[0], (int, float)):
            found[name] = first
        elif all(value == values[0] for value in values):
            found[name] = values[0]  # counts stay whole
        else:
            found[name] = sum(values) / len(values)
    return found


def gain(before: Result, after: Result, seed: int = 0) -> dict[str, float]:
    """How many flips a closer removes against another, with a paired 95 % interval.

    Both must have met the same perturbation with the same trials, unless one goes by its law.
    """
    first, then = before.kept, after.kept
    if len(first) != len(then):  # draws of a law are not those of a row that was drawn
        first, then = (
            x.mean(axis=0, keepdims=True) if x.dtype != bool else x for x in (first, then)
        )
    change = paired_difference(first, then, seed=seed)
    return {"gain": change.mean, "gain_lo": change.low, "gain_hi": change.high}
