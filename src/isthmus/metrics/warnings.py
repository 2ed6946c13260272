"""Warnings of where rows lie: the same modality twice, rows that all point one way.

Each rule looks at numbers of the gap report; none looks at a file name. The rules and the figures
behind their thresholds are in ``docs/warnings.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.data.row_stats import InputWarning
from isthmus.metrics.gap import intra_cosine

SAME_MODALITY_COSINE = 0.9
COLLAPSED_COSINE = 0.95
NARROW_COSINE, NARROW_LOWEST = 0.88, 0.8
"""Also collapsed: this mean cosine of different rows, where 99 % of the pairs are above the other.

A component that all rows share then has .94 of their length. Trained models have a mean of at most
.82."""
NARROW_ROWS = 500


def warnings_of_both(
    names: tuple[str, str], values: Mapping[str, Any], sample: tuple[np.ndarray, np.ndarray]
) -> list[InputWarning]:
    """Everything the means and the spread of the two sides say.

    Args:
        names: what the sides are called. values: the measures of the gap report.
        sample: unit rows (s, d) of each side.
    """
    found = []
    cosine = values["centroid_cosine"]
    if cosine is not None and cosine >= SAME_MODALITY_COSINE:
        found.append(
            InputWarning(
                "same-modality",
                f"{names[0]} and {names[1]} look like one modality twice (text and text, image "
                f"and image), or a gap that is already closed: their means have cosine "
                f"{cosine:.3f} and the gap is {values['norm']:.3f}; a difference of prompts or "
                "sources is no modality gap",
            )
        )
    for key, name, rows in zip(("a", "b"), names, sample, strict=True):
        found += collapsed(name, rows, values["intra_cosine"][key])
    return found


def collapsed(name: str, rows: np.ndarray, intra: float | None = None) -> list[InputWarning]:
    """Whether unit rows (s, d) of a side all point nearly one way.

    ``intra``: mean cosine of different rows of the whole side; None: of these rows.
    """
    if intra is None:
        intra = intra_cosine(len(rows), rows.mean(axis=0))
    if intra < COLLAPSED_COSINE and not _narrow(intra, rows):
        return []
    return [
        InputWarning(
            "collapsed",
            f"{name}: all rows point nearly the same way (mean cosine {intra:.3f}, "
            f"{np.sqrt(max(intra, 0.0)):.2f} of their length is common to all); an untrained "
            "network or a model whose last step is missing does this, and answers then hang on "
            "what little is left",
        )
    ]


def _narrow(intra: float, rows: np.ndarray) -> bool:
    """Whether nearly all pairs of rows have a high cosine, not their mean alone."""
    if intra < NARROW_COSINE:
        return False
    some = rows[:NARROW_ROWS]
    cosines = (some @ some.T)[np.triu_indices(len(some), 1)]
    return bool(len(cosines)) and float(np.quantile(cosines, 0.01)) >= NARROW_LOWEST
