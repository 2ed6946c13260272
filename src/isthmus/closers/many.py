"""Several closers at several strengths, each under a score it is made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.closers.closer import Closer
from isthmus.closers.controls import controls
from isthmus.closers.fitting import fit, needed
from isthmus.closers.registry import METHODS
from isthmus.data.moments import Moments, PairMoments


def fit_many(
    methods: Sequence[str],
    queries: Moments,
    candidates: Moments,
    *,
    score: str = "cosine",
    strengths: Sequence[float] | None = None,
    normalised: bool = True,
    pairs: PairMoments | None = None,
    query_rows: Any = None,
    with_controls: bool = False,
    seed: int = 0,
) -> list[Closer]:
    """Plain search under every score in use, then each method at each strength.

    Args:
        methods: names of the registry; ``none`` is always there. Those that need pairs or rows
            are left out where these are not given.
        strengths: None takes each closer's own default. Closers without one are fitted once.
        with_controls: after each closer, its controls (``closers.controls``).

    Raises:
        OptionError: an unknown method; anything ``fit`` refuses.
    """
    fitted: list[Closer] = []
    for method, found in [(m, METHODS[m]) for m in methods]:
        brought = needed(method, pairs=pairs, query_rows=query_rows)
        if method == "none" or any(value is None for value in brought.values()):
            continue
        options: dict[str, Any] = {
            "score": found.score_for(score),
            "normalised": normalised,
            **brought,
        }
        single = strengths is None or not found.has_strength
        for strength in (None,) if single else strengths or ():
            given = options if strength is None else {**options, "strength": strength}
            fitted.append(fit(method, queries, candidates, **given))
        if with_controls:
            fitted += controls(method, queries, candidates, seed=seed, **options)
    scores = list(dict.fromkeys([score, *(c.score for c in fitted)]))
    plain = [fit("none", queries, candidates, score=s, normalised=normalised) for s in scores]
    return plain + fitted
