"""Fitters: moments of queries and candidates -> a :class:`~isthmus.closers.maps.Closer`. No rows
here.

One file per kind of map: :mod:`translations` (exact or the paper's), :mod:`ridge` (noise against
churn), :mod:`projections` (span, subspace, memo), :mod:`shifts` and :mod:`matching` (baselines of
the literature). Formulas are in ``docs/formulas.md``, when to use which in ``docs/closing.md`` and
one page each under ``docs/closers``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.closers.matching import coral, gaussian_ot, procrustes, realign, standardise, whitening
from isthmus.closers.projections import drop_dimensions, low_rank_memo, span, subspace
from isthmus.closers.promises import hull_rank, off_hull
from isthmus.closers.ridge import ridge_shift
from isthmus.closers.shifts import (
    centering,
    database_shift,
    distribution_normalization,
    liang_shift,
    mean_shift,
)
from isthmus.closers.translations import (
    biased_shift,
    center_both,
    center_queries,
    no_closer,
    orthogonal_shift,
)
from isthmus.data.moments import Moments
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import check_score

CLOSERS: dict[str, Callable[..., Closer]] = {
    "none": no_closer,
    "orthogonal-shift": orthogonal_shift,
    "biased-shift": biased_shift,
    "center-queries": center_queries,
    "center-both": center_both,
    "span": span,
    "subspace": subspace,
    "low-rank-memo": low_rank_memo,
    "ridge-shift": ridge_shift,
    "mean-shift": mean_shift,
    "database-shift": database_shift,
    "liang-shift": liang_shift,
    "centering": centering,
    "distribution-normalization": distribution_normalization,
    "standardise": standardise,
    "realign": realign,
    "drop-dimensions": drop_dimensions,
    "procrustes": procrustes,
    "whitening": whitening,
    "coral": coral,
    "gaussian-ot": gaussian_ot,
}
"""Every closer by its name, as ``isthmus close --method`` takes it."""

EXACT = (
    "none",
    "orthogonal-shift",
    "biased-shift",
    "center-queries",
    "center-both",
    "span",
    "subspace",
    "low-rank-memo",
)
"""Closers that keep every clean answer as they come (``ridge-shift`` keeps them within a bound)."""

NEEDS = {"procrustes": "pairs", "realign": "query_rows"}
"""Closers that moments of the two sides do not determine, and the option that brings the rest."""


def fit(
    method: str, queries: Moments, candidates: Moments, *, score: str | None = None, **options: Any
) -> Closer:
    """Fit one closer by name.

    Args:
        method: a key of :data:`CLOSERS`.
        queries, candidates: moments of the rows as they enter the maps.
        score: dot, cosine or euclidean; None takes the closer's own default.
        options: ``strength``, ``unit_in`` and the closer's own.

    Cost: O(d³) at most, from moments alone.

    Raises:
        OptionError: an unknown method, score or option. ShapeError: the dimensions differ.
        CloserError: the closer needs more than moments (:data:`NEEDS`).
    """
    if method not in CLOSERS:
        raise OptionError(f"method '{method}' is unknown; choose one of {', '.join(CLOSERS)}")
    if queries.dim != candidates.dim:
        raise ShapeError(
            f"queries have {queries.dim} dimensions, candidates {candidates.dim}; "
            "both must come from one model"
        )
    if score is not None:
        check_score(score)
        options["score"] = score
    _check_numbers(method, options)
    strength = options.get("strength", 1.0)
    if not np.isfinite(strength):
        raise OptionError(f"strength {strength} is not a number; 0 changes nothing, 1 closes fully")
    try:
        return CLOSERS[method](queries, candidates, **options)
    except TypeError as wrong:
        if "unexpected keyword" not in str(wrong):
            raise
        option = str(wrong).partition("argument ")[2].split("'")[1]
        raise OptionError(f"{method} has no option '{option}'") from None


def needed(method: str, **brought: Any) -> dict[str, Any]:
    """Of what was brought (``pairs``, ``query_rows``), the option that ``method`` needs, if any."""
    name = NEEDS.get(method)
    return {} if name is None else {name: brought.get(name)}


NUMBERS = ("strength", "variance", "ridge", "shrinkage", "share")
FLAGS = ("renormalise", "center", "scale", "unit_in")


def _check_numbers(method: str, options: dict[str, Any]) -> None:
    """Refuse words where a number belongs: options come from commands and files too."""
    for name, value in options.items():
        if name in NUMBERS and value is not None and not _real(value):
            raise OptionError(f"{method} got {name}={value!r}; expected a number")
        if name == "rank" and value is not None and not _real(value, whole=True):
            raise OptionError(f"{method} got rank={value!r}; expected a whole number")
        unset = name == "renormalise" and value is None  # as the rows came
        if name in FLAGS and not unset and not isinstance(value, bool | np.bool_):
            raise OptionError(f"{method} got {name}={value!r}; expected true or false")


def _real(value: Any, *, whole: bool = False) -> bool:
    kinds = int | np.integer if whole else int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool)


__all__ = ["CLOSERS", "EXACT", "NEEDS", "fit", "hull_rank", "needed", "off_hull"]
