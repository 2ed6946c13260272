"""Controls: the same closing along a vector that is not the gap, and too little or too much of it.

If closing along a random vector of the gap's length, along the gap with its coordinates shuffled,
or away from it removes as many flips, then it is not the gap that mattered. PMC's controls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.fitting import fit
from isthmus.closers.registry import METHODS
from isthmus.core.checks import one_of
from isthmus.core.seeds import stream
from isthmus.data.moments import Moments
from isthmus.errors import OptionError

CONTROLS = ("random", "shuffled", "flipped")
OVERSHOOT = (-0.5, 1.5)


def control(
    kind: str,
    method: str,
    queries: Moments,
    candidates: Moments,
    *,
    score: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Closer:
    """``method`` fitted as if its vector were another one of the same length.

    Args:
        kind: ``random`` (a uniform direction), ``shuffled`` (the vector's own coordinates in
            another order) or ``flipped`` (its opposite).
        method, queries, candidates, score, options: as ``closers.fit`` takes them. The vector is
            the gap, or the queries' mean for closers that centre queries.

    Returns:
        A closer named ``method:kind``, with the promise that the method makes of any vector.

    Raises:
        OptionError: another kind; anything ``fit`` refuses.
    """
    one_of(kind, CONTROLS, "control")
    found = METHODS[method]
    around = (score or found.score) in found.around_queries
    base = np.zeros(queries.dim) if around else candidates.mean
    vector = queries.mean - base
    rng = stream("controls", seed)
    if kind == "random":
        drawn = rng.standard_normal(queries.dim)
        other = drawn * (np.linalg.norm(vector) / np.linalg.norm(drawn))
    else:
        other = -vector if kind == "flipped" else rng.permutation(vector)
    false = replace(queries, mean=base + other)
    closer = fit(method, false, candidates, score=score, **options)
    return replace(closer, name=f"{method}:{kind}")


def controls(
    method: str, queries: Moments, candidates: Moments, *, seed: int = 0, **options: Any
) -> list[Closer]:
    """All controls of one closer: other vectors, then strengths outside 0 to 1 where it has any.

    Raises:
        OptionError: as :func:`control`.
    """
    if method == "none":
        raise OptionError("no-vector", "'none' has no vector to put another in the place of")
    given = {k: v for k, v in options.items() if k != "strength"}
    out = [control(k, method, queries, candidates, seed=seed, **options) for k in CONTROLS]
    if not METHODS[method].has_strength:
        return out
    return out + [fit(method, queries, candidates, strength=s, **given) for s in OVERSHOOT]
