"""Warnings that need both sides: broken pairing, other models, the same modality, one cone.

Each rule looks at numbers of the gap report; none looks at a file name. The rules and the figures
behind their thresholds are in ``docs/warnings.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.data.row_stats import InputWarning

SIGNAL_ERRORS = 3.0
SAME_MODALITY_COSINE = 0.9
SHARED_DIRECTIONS = 3.0
COLLAPSED_COSINE = 0.95


def warnings_of_both(
    names: tuple[str, str], values: Mapping[str, Any], sample: tuple[np.ndarray, np.ndarray] | None
) -> list[InputWarning]:
    """Everything the two sides say together.

    Args:
        names: what the sides are called. values: the measures of the gap report.
        sample: paired unit rows (s, d) each, or None where unpaired.
    """
    found = [] if sample is None else _signal(names, values, sample)
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
    for key, name in zip(("a", "b"), names, strict=True):
        intra = values["intra_cosine"][key]
        if intra is not None and intra >= COLLAPSED_COSINE:
            found.append(
                InputWarning(
                    "collapsed",
                    f"{name}: all rows point nearly the same way (mean cosine {intra:.3f}); "
                    "an untrained network does this, and answers then hang on rounding",
                )
            )
    return found


def _signal(
    names: tuple[str, str], values: Mapping[str, Any], sample: tuple[np.ndarray, np.ndarray]
) -> list[InputWarning]:
    """Is the matched cosine above the unmatched one, and if not, which story fits?"""
    matched, unmatched, errors = pair_signal(*sample)
    if errors >= SIGNAL_ERRORS:
        return []
    found = [
        InputWarning(
            "pairs-without-signal",
            f"the pairing looks broken: matched cosine {matched:.3f} is not above the unmatched "
            f"{unmatched:.3f} ({errors:.1f} standard errors), so row i of {names[0]} does not "
            f"seem to belong to row i of {names[1]}",
        )
    ]
    overlap, chance = values["subspace_overlap"], values["subspace_k"] / sample[0].shape[1]
    if overlap is not None and overlap < SHARED_DIRECTIONS * chance:
        found.append(
            InputWarning(
                "different-models",
                f"{names[0]} and {names[1]} look like different models, or an untrained network: "
                f"their leading directions overlap by {overlap:.3f}, chance is {chance:.3f}; "
                "check that both towers are of one trained model",
            )
        )
    else:
        found.append(
            InputWarning(
                "rows-out-of-order",
                f"the two sides share directions (overlap {overlap:.3f}, chance {chance:.3f}), as "
                "towers of one trained model do, so the rows of one side are probably in another "
                "order"
                if overlap is not None
                else "one side has no directions to compare",
            )
        )
    return found


def pair_signal(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean matched and unmatched dot of pairs (s, d) each, and their difference in errors.

    The standard error is that of the matched dots after each row's own mean score is taken off,
    as in a two-way analysis of variance without repeats.
    """
    n = len(a)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    dots = np.einsum("ij,ij->i", a, b)
    cross = float(mean_a @ mean_b)
    unmatched = (n * n * cross - dots.sum()) / (n * (n - 1))
    rest = dots - a @ mean_b - b @ mean_a + cross
    error = rest.std(ddof=1) / np.sqrt(n)
    gap = float(dots.mean() - unmatched)
    return float(dots.mean()), float(unmatched), gap / error if error > 0 else 0.0
