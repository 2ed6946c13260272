"""Marks of the ruler for rows that a user brings: the same items after a real disturbance.

A codec errs by its design and noise by its level; what JPEG or an edited word does to a vector is
seen on rows of the same inputs, encoded once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from isthmus.closers.validity import refuse_invalid_rows
from isthmus.core.arrays import unit
from isthmus.data import Rows
from isthmus.data.summary import opened
from isthmus.errors import ShapeError
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

Disturbed = dict[str, dict[str, Rows]]
"""Side (``a``, ``b``) -> name of what was done -> rows."""


def open_disturbed(
    task: RetrievalTask, queries: Mapping[str, Any] | None, candidates: Mapping[str, Any] | None
) -> Disturbed:
    """Rows of the two sides after each disturbance.

    Raises:
        ShapeError: rows that are not row by row those of their side.
    """
    found: Disturbed = {}
    sides = ("a", queries, task.query_input), ("b", candidates, task.candidate_input)
    for side, given, before in sides:
        assert before is not None
        found[side] = {name: opened(rows, name) for name, rows in (given or {}).items()}
        for name, rows in found[side].items():
            shape, expected = (rows.rows, rows.dim), (before.source.rows, before.source.dim)
            if shape != expected:
                raise ShapeError(
                    "unequal-shapes",
                    f"the rows of {before.name} after '{name}' are {shape[0]} × {shape[1]}, the "
                    f"undisturbed ones {expected[0]} × {expected[1]}; give the same items, in "
                    "order, through the same model",
                )
    return found


def marks(task: RetrievalTask, disturbed: Disturbed) -> Iterator[dict[str, Any]]:
    """Entries of the ruler: what each disturbance does to the side it was done to.

    Flips are of plain search by the task's score, against its undisturbed answers; the other side
    is as it was.

    Raises:
        ValuesError: NaN, infinity or zero rows.
    """
    sides = zip(("queries", "candidates"), task.direction.split("_to_"), strict=True)
    for target, side in sides:
        given = task.query_input if target == "queries" else task.candidate_input
        for name, source in disturbed[side].items():
            assert given is not None
            rows = np.asarray(source.take(given.rows), np.float64)
            refuse_invalid_rows(rows, name, normalised=task.normalised)
            rows = np.asarray(unit(rows)) if task.normalised else rows
            clean = getattr(task, target)
            moved = {"queries": task.queries, "candidates": task.candidates} | {target: rows}
            answers = task.best(Ranking.of(moved["queries"], moved["candidates"], task.score))
            yield {
                "disturbance": name,
                **_size(rows - clean, clean),
                "flips": float((answers != task.today()).mean()),
                "target": target,
            }


def _size(moves: np.ndarray, clean: np.ndarray) -> dict[str, float | None]:
    """E‖e‖² of moves (n, d), how much of it is one move of all rows, and over how many directions
    it is spread: (tr M)² / tr M² of M = E[e eᵀ], both from pairs of different rows, so that few
    rows do not make it small. d for noise that is alike in all directions."""
    squares = np.einsum("ij,ij->i", moves, moves)
    total = float(squares.mean())
    mean, own = moves.mean(axis=0), float((squares**2).sum())
    apart = float(((moves.T @ moves) ** 2).sum()) - own
    spread = (float(squares.sum()) ** 2 - own) / apart if apart > 0 else None
    return {
        "total_variance": total,
        "relative": total / float(np.einsum("ij,ij->i", clean, clean).mean()),
        "directions": None if spread is None else min(max(spread, 1.0), float(moves.shape[1])),
        "shared": float(mean @ mean) / total if total else None,
    }
