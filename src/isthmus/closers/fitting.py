"""Fit a closing method by its name, with its options checked against the registry."""

from __future__ import annotations

from typing import Any

from isthmus.closers.maps import Closer
from isthmus.closers.registry import METHODS
from isthmus.data.moments import Moments
from isthmus.errors import CloserError, OptionError, ShapeError
from isthmus.search.scores import check_score

BRINGS = {
    "pairs": "pairs=PairMoments of (queries, candidates)",
    "query_rows": "query_rows=(n, d) rows for what moments do not tell; give some hundreds",
}
"""What a method may need beyond moments, and how it is given."""


def fit(
    method: str, queries: Moments, candidates: Moments, *, score: str | None = None, **options: Any
) -> Closer:
    """Fit one closer by name.

    Args:
        method: a name of the registry :data:`~isthmus.closers.registry.METHODS`.
        queries, candidates: moments of the rows as they enter the maps.
        score: dot, cosine or euclidean; None takes the closer's own default.
        options: ``strength``, ``normalised`` and the closer's own.

    Cost: O(d³) at most, from moments alone.

    Raises:
        OptionError: an unknown method, score or option, or a value outside its range.
        ShapeError: the dimensions differ. CloserError: the method needs more than moments.
    """
    found = METHODS[method]
    if queries.dim != candidates.dim:
        raise ShapeError(
            "dimensions-differ",
            f"queries have {queries.dim} dimensions, candidates {candidates.dim}; "
            "both must come from one model",
        )
    if score is not None:
        check_score(score)
        if score not in found.scores:
            raise OptionError(
                "score-not-offered",
                f"{found.name} is fitted for {' or '.join(found.scores)} (got {score}); unit rows "
                "have the same clean ranking under every score",
            )
        options["score"] = score
    found.check({name: value for name, value in options.items() if name != "score"})
    for name in sorted(found.needs):
        if options.get(name) is None:
            raise CloserError(f"needs-{name.replace('_', '-')}", f"{method} needs {BRINGS[name]}")
    return found.function(queries, candidates, **options)


def needed(method: str, **brought: Any) -> dict[str, Any]:
    """Of what was brought (``pairs``, ``query_rows``), the options that ``method`` needs."""
    return {name: brought.get(name) for name in METHODS[method].needs}
