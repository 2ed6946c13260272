"""Task × closer × perturbation -> the stress table.

A :class:`Perturbation` is one family of disturbances at one level. :func:`measure_perturbation`
searches fitted closers through it and returns outcomes per (trial, query); :func:`grid` does all
perturbations; :func:`row_of` turns an outcome into a row of the contract:

    direction, task, score, closer, strength, side, family, level, convention, trials, seed,
    queries, candidates, consistency, consistency_lo, consistency_hi, predicted_consistency,
    accuracy, agreement, clean_agreement, clean_accuracy, overlap_at_10, bytes_per_vector

``consistency``: the top-1 survives the perturbation under the same closer (the paper's eq. 10):
flips are counted against ``own``. ``agreement``: the top-1 after closing and perturbing is the
top-1 before both. ``clean_agreement``: the same without perturbing. "Before both" is plain search
with the same score on the same rows (``today``). :func:`stress` does all of it for two inputs.
"""

from isthmus.robustness.answers import closed_answers
from isthmus.robustness.measurements import grid, measure_perturbation, measure_perturbations
from isthmus.robustness.perturbations import (
    BIN_COUNTS,
    GAUSSIAN_LEVELS,
    TARGETS,
    FlipReference,
    Perturbation,
    Target,
    check_perturbation,
    default_perturbations,
    perturbations_at,
    perturbations_of,
)
from isthmus.robustness.run import run_grid, write_table
from isthmus.robustness.searches import ClosedSearch, Result, closed_searches, overlap_at
from isthmus.robustness.stress_runs import StressTable, reseeded, stress, trials_for
from isthmus.robustness.table import COLUMNS, averaged, gain, row_of, rows_of

__all__ = [
    "BIN_COUNTS",
    "COLUMNS",
    "GAUSSIAN_LEVELS",
    "TARGETS",
    "ClosedSearch",
    "FlipReference",
    "Perturbation",
    "Result",
    "StressTable",
    "Target",
    "averaged",
    "check_perturbation",
    "closed_answers",
    "closed_searches",
    "default_perturbations",
    "gain",
    "grid",
    "measure_perturbation",
    "measure_perturbations",
    "overlap_at",
    "perturbations_at",
    "perturbations_of",
    "reseeded",
    "row_of",
    "rows_of",
    "run_grid",
    "stress",
    "trials_for",
    "write_table",
]
