"""Several closers at several strengths, each under a score it is made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.closers import CLOSERS, fit, needed
from isthmus.closers.controls import controls
from isthmus.closers.maps import Closer
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import OptionError

PROMISING = (
    "orthogonal-shift",
    "biased-shift",
    "center-queries",
    "center-both",
    "span",
    "subspace",
    "low-rank-memo",
    "ridge-shift",
)
"""Closers with a score of their own; the others are searched as the user searches."""
LINEAR_ONLY = ("center-queries", "center-both")
WHOLE = ("none", "subspace", "low-rank-memo")
"""Closers without a strength."""


def score_for(method: str, score: str) -> str | None:
    """The score to fit ``method`` for where the user searches by ``score``; None: its default."""
    if method not in PROMISING:
        return score
    return score if score == "euclidean" and method not in LINEAR_ONLY else None


def fit_many(
    methods: Sequence[str],
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strengths: Sequence[float] | None = None,
    unit_in: bool = True,
    pairs: PairMoments | None = None,
    query_rows: Any = None,
    with_controls: bool = False,
    seed: int = 0,
) -> list[Closer]:
    """Plain search under every score in use, then each method at each strength.

    Args:
        methods: names of ``CLOSERS``; ``none`` is always there. Those that need pairs or rows
            (``NEEDS``) are left out where these are not given.
        strengths: None takes each closer's own default. Closers without one are fitted once.
        with_controls: after each closer, its controls (``closers.controls``).

    Raises:
        OptionError: an unknown method; anything ``fit`` refuses.
    """
    unknown = [m for m in methods if m not in CLOSERS]
    if unknown:
        raise OptionError(f"method '{unknown[0]}' is unknown; choose one of {', '.join(CLOSERS)}")
    fitted: list[Closer] = []
    for method in methods:
        brought = needed(method, pairs=pairs, query_rows=query_rows)
        if method == "none" or any(value is None for value in brought.values()):
            continue
        options: dict[str, Any] = {"score": score_for(method, score), "unit_in": unit_in, **brought}
        single = strengths is None or method in WHOLE
        for strength in (None,) if single else strengths or ():
            given = options if strength is None else {**options, "strength": strength}
            fitted.append(fit(method, queries, candidates, **given))
        if with_controls:
            fitted += controls(method, queries, candidates, seed=seed, **options)
    scores = list(dict.fromkeys([score, *(c.score for c in fitted)]))
    plain = [fit("none", queries, candidates, score=s, unit_in=unit_in) for s in scores]
    return plain + fitted
