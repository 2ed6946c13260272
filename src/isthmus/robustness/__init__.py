"""The grid: closer × perturbation × level, in one direction -> rows of one table.

A :class:`RetrievalTask` is one direction of one task (queries, candidates, truth). A
:class:`Perturbation` is
one perturbation at one level on one side. :func:`measure` searches fitted closers through a
perturbation and
returns outcomes per (trial, query); :func:`grid` does all perturbations; :func:`row_of` turns an
outcome
into a row of the contract:

    direction, task, score, closer, strength, side, family, level, convention, trials, seed,
    queries, candidates, consistency, consistency_lo, consistency_hi, predicted_consistency,
    accuracy, agreement, clean_agreement, clean_accuracy, overlap_at_10, bytes_per_vector

``consistency``: the top-1 survives the perturbation under the same closer (the paper's eq. 10).
``agreement``: the top-1 after closing and perturbing is the top-1 before both. ``clean_agreement``:
the same without perturbing. "Before both" is plain search with the same score on the same rows.
"""

from isthmus.robustness.grid import grid, measure
from isthmus.robustness.perturbations import (
    BIN_COUNTS,
    GAUSSIAN_LEVELS,
    TARGETS,
    Perturbation,
    Target,
    check_perturbation,
    default_perturbations,
    perturbations_of,
)
from isthmus.robustness.run import run_grid, write_table
from isthmus.robustness.searches import (
    ClosedSearch,
    Result,
    closed_searches,
    overlap_at,
    plain_top1,
    reseeded,
)
from isthmus.robustness.table import COLUMNS, averaged, gain, row_of, rows_of

__all__ = [
    "BIN_COUNTS",
    "COLUMNS",
    "GAUSSIAN_LEVELS",
    "TARGETS",
    "ClosedSearch",
    "Perturbation",
    "Result",
    "Target",
    "averaged",
    "check_perturbation",
    "closed_searches",
    "default_perturbations",
    "gain",
    "grid",
    "measure",
    "overlap_at",
    "perturbations_of",
    "plain_top1",
    "reseeded",
    "row_of",
    "rows_of",
    "run_grid",
    "write_table",
]
