"""Levels of noise, and the conventions that say what a level means."""

from __future__ import annotations

from isthmus.core.checks import in_range, one_of

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
    in_range(level, "noise level", "bad-level", least=0, hint=", a variance")
    one_of(convention, CONVENTIONS, "level convention", "unknown-convention")
    units = {"total": 1.0, "coordinate": float(dim), "spread": spread, "relative": square_norm}
    return level * units[convention]
