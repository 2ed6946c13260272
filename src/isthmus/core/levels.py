"""Levels of noise, and the conventions that say what a level means."""

from __future__ import annotations

import numpy as np

from isthmus.errors import OptionError

CONVENTIONS = ("total", "coordinate", "spread", "relative")


def usual_convention(unit_rows: bool) -> str:
    """What a level means where nothing is said: of rows that are not of unit norm, a share of
    their mean squared norm, so that one number means as much whatever the rows' scale is."""
    return "total" if unit_rows else "relative"


def total_variance(
    level: float, convention: str, dim: int, spread: float, square_norm: float = 1.0
) -> float:
    """E‖ε‖² that a level means.

    Args:
        level: sigma², at least 0.
        convention: ``total`` (sigma² = E‖ε‖² of the whole vector), ``coordinate`` (per
            coordinate, so d times as much), ``spread`` (share of ``spread``: the fair level for
            closers that rescale, since it is relative to the candidates they store), ``relative``
            (share of ``square_norm``: the same noise for every closer).
        dim: d. spread: trace of the population covariance of the candidates as stored.
        square_norm: mean squared norm of the candidates before closing.

    Raises:
        OptionError: another convention, or a level that is negative or not finite.
    """
    if not (np.isfinite(level) and level >= 0):
        raise OptionError(
            "bad-level", f"noise level {level} is not a variance; expected a number >= 0"
        )
    if convention not in CONVENTIONS:
        raise OptionError(
            "unknown-convention",
            f"level convention '{convention}' is unknown; choose one of {', '.join(CONVENTIONS)}",
        )
    units = {"total": 1.0, "coordinate": float(dim), "spread": spread, "relative": square_norm}
    return level * units[convention]
