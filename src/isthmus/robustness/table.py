"""Rows of the stress table: averages and intervals of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.core.statistics import mcnemar, paired_difference, share_over_trials, wilson
from isthmus.robustness.searches import Result
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
    """One row of the table, with intervals that resample trials and queries."""
    search, perturbation, truth = result.search, result.perturbation, task.relevance
    consistency = share_over_trials(result.kept, seed=seed)
    judged = truth.judged
    has_truth = bool(judged.any())
    accuracy = agreement = clean_accuracy = None
    extra: dict[str, Any] = {}
    if has_truth:
        correct = np.stack([truth.correct(a) for a in result.answers])[:, judged]
        share = share_over_trials(correct, seed=seed)
        accuracy = float(share.mean)
        extra |= {"accuracy_lo": share.low, "accuracy_hi": share.high}
        clean_accuracy = float(truth.correct(search.clean_top1)[judged].mean())
    share = share_over_trials(result.agreed, seed=seed)
    agreement = float(share.mean)
    extra |= {"agreement_lo": share.low, "agreement_hi": share.high}
    clean = wilson(int(search.clean_agreement.sum()), len(search.clean_agreement))
    extra |= {"clean_agreement_lo": clean.low, "clean_agreement_hi": clean.high}
    extra["floats_beside"] = search.floats_beside
    extra |= result.told
    values = (
        task.direction,
        truth.task,
        search.score,
        search.closer.name,
        search.closer.strength,
        perturbation.target,
        perturbation.family,
        perturbation.level,
        perturbation.convention,
        result.trials,
        seed,
        len(search.queries),
        len(search.candidates),
        consistency.mean,
        consistency.low,
        consistency.high,
        result.predicted,
        accuracy,
        agreement,
        clean.mean,
        clean_accuracy,
        None if np.isnan(result.overlap) else result.overlap,
        result.bytes_per_vector,
    )
    return dict(zip(COLUMNS, values, strict=True)) | extra


def rows_of(task: RetrievalTask, results: Sequence[Result], seed: int) -> list[dict[str, Any]]:
    """One perturbation's rows, each beside plain search (closer ``none``) by the same score.

    Adds to :func:`row_of`: ``gain``, ``gain_lo``, ``gain_hi`` (consistency more than plain search
    has under the same noise; paired over trials and queries; null without such a row), and where
    there is a truth ``clean_mcnemar_p`` (accuracy of closing alone against plain search, queries
    being the pairs, no noise in either).
    """
    plain = {r.search.score: r for r in results if r.search.closer.name == "none"}
    truth = task.relevance
    judged = truth.judged
    rows = []
    for result in results:
        row = row_of(task, result, seed)
        base = plain.get(result.search.score)
        none = {"gain": None, "gain_lo": None, "gain_hi": None}
        row |= none if base is None else gain(base, result, seed)
        if judged.any():
            before, after = (
                truth.correct(a)[judged]
                for a in (result.search.before_top1, result.search.clean_top1)
            )
            row["clean_mcnemar_p"] = mcnemar(before, after)
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

    Both must have met the same perturbation with the same trials.
    """
    trials = min(before.trials, after.trials)
    change = paired_difference(before.kept[:trials], after.kept[:trials], seed=seed)
    return {"gain": change.mean, "gain_lo": change.low, "gain_hi": change.high}
