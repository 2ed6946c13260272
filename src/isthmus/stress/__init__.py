"""The grid: closer × perturbation × level, in one direction -> rows of one table.

A :class:`Problem` is one direction of one task (queries, candidates, truth). A :class:`Cell` is
one perturbation at one level on one side. :func:`measure` plays fitted closers through a cell and
returns outcomes per (trial, query); :func:`grid` does all cells; :func:`row_of` turns an outcome
into a row of the contract:

    direction, task, score, closer, strength, side, family, level, convention, trials, seed,
    queries, candidates, consistency, consistency_lo, consistency_hi, predicted_consistency,
    accuracy, agreement, clean_agreement, clean_accuracy, overlap_at_10, bytes_per_vector

``consistency``: the top-1 survives the perturbation under the same closer (the paper's eq. 10).
``agreement``: the top-1 after closing and perturbing is the top-1 before both. ``clean_agreement``:
the same without perturbing. "Before both" is plain search with the same score on the same rows.
"""

from isthmus.stress.cells import (
    BIN_COUNTS,
    CUTS,
    GAUSSIAN_LEVELS,
    NOISE,
    SIDES,
    Cell,
    Side,
    cells_of,
    check_cell,
    default_cells,
)
from isthmus.stress.grid import grid, measure
from isthmus.stress.problems import (
    Play,
    Problem,
    Result,
    halves,
    overlap_at,
    plain_top1,
    plays_of,
    reseeded,
)
from isthmus.stress.run import run_grid, write_table
from isthmus.stress.table import COLUMNS, averaged, gain, row_of, rows_of

__all__ = [
    "BIN_COUNTS",
    "COLUMNS",
    "CUTS",
    "GAUSSIAN_LEVELS",
    "NOISE",
    "SIDES",
    "Cell",
    "Play",
    "Problem",
    "Result",
    "Side",
    "averaged",
    "cells_of",
    "check_cell",
    "default_cells",
    "gain",
    "grid",
    "halves",
    "measure",
    "overlap_at",
    "plain_top1",
    "plays_of",
    "reseeded",
    "row_of",
    "rows_of",
    "run_grid",
    "write_table",
]
