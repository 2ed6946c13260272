"""Which rows are queries and which are candidates, and what a fit needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from isthmus.closers.closer import ROLES, Role
from isthmus.core.arrays import unit, working
from isthmus.data.moments import Moments
from isthmus.errors import CloserError, LabelsError

DTYPES = (np.float64, np.float32, np.float16)


@dataclass(frozen=True, eq=False)
class Side:
    """One modality of a fit: moments, and rows as they enter the map where there are any."""

    moments: Moments
    rows: np.ndarray | None = None


def opposite(role: Role) -> Role:
    """The other role."""
    return "candidate" if role == "query" else "query"


def side_of(given: Any, normalised: bool) -> Side:
    """A side from rows (n, d), normalised where the maps will do so, or from moments as given."""
    if isinstance(given, Moments):
        return Side(given)
    rows = working(check_array(given, dtype=DTYPES, input_name="other"))
    rows = unit(rows) if normalised else rows
    return Side(Moments.of(rows, precise=True, normalised=normalised), rows)


def masks(modality: Any, count: int) -> dict[Role, np.ndarray]:
    """Which of ``count`` rows are of each role, (n,) bool, from their labels.

    Raises:
        LabelsError: another number of labels than rows, or a label that is no role.
    """
    labels = np.asarray(modality).astype(str)
    if labels.shape != (count,):
        raise LabelsError(
            "unequal-lengths",
            f"modality has shape {labels.shape} for {count} rows; expected one label a row",
        )
    found: dict[Role, np.ndarray] = {role: labels == role for role in ROLES}
    wrong = ~(found["query"] | found["candidate"])
    if wrong.any():
        raise LabelsError(
            "unknown-role",
            f"modality holds '{labels[wrong][0]}'; every label is 'query' or 'candidate'",
        )
    return found


def sides_of(
    X: np.ndarray, role: Role, other: Any, modality: Any, normalised: bool
) -> dict[Role, Side | None]:
    """The two sides that a call of ``fit`` brings; None where it brings no row of a side.

    Raises:
        CloserError: both ``other`` and ``modality`` say what the other side is.
    """
    if other is not None and modality is not None:
        raise CloserError(
            "other-role-twice",
            "the other modality is given twice, as other= and by modality= labels; give one",
        )
    if modality is not None:
        rows = {name: X[mask] for name, mask in masks(modality, len(X)).items()}
        return {name: side_of(r, normalised) if len(r) else None for name, r in rows.items()}
    rest = None if other is None else side_of(other, normalised)
    return {role: side_of(X, normalised), opposite(role): rest}
