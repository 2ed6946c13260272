"""Every closing method by its name.

Third parties add a :class:`ClosingMethod` by the entry point group ``isthmus.closers``.
"""

from __future__ import annotations

from dataclasses import replace

from isthmus.closers.matching import coral, gaussian_ot, procrustes, realign, standardise, whitening
from isthmus.closers.method import STRENGTH, ClosingMethod, Option
from isthmus.closers.projections import drop_dimensions, low_rank_memo, span, subspace
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
from isthmus.core.registry import Registry
from isthmus.search.scores import SCORES

LINEAR = ("dot", "cosine")
PLAIN = ("dot", "euclidean")
"""What a candidate bias can be added to; unit rows rank by cosine as by either."""

_STRENGTH_NOT_TRIED = replace(STRENGTH, grid=())
_VARIANCE = Option(
    "variance",
    "number",
    None,
    "share of the candidates' variance that counts as their hull; off: all of it",
    above=0,
    high=1,
    grid=(0.999, 0.99, 0.95, 0.9),
)
_SIDE = Option("side", "choice", "query", "which rows move", choices=("query", "candidate"))
_RENORMALISE = Option(
    "renormalise", "flag", None, "normalise moved rows again; off: as the rows came"
)
_SHRINKAGE = Option(
    "shrinkage",
    "number",
    0.1,
    "share of the mean variance that is added to both covariances",
    low=0,
)


METHODS: Registry[ClosingMethod] = Registry("closer", group="isthmus.closers", kind=ClosingMethod)
"""Every closing method, ordered by its moving parts: fewer come first where two are as good."""

for _method in (
    ClosingMethod(
        "none",
        no_closer,
        "plain search, nothing is changed",
        guarantee="exact",
        strength=None,
        alone=frozenset({"query", "candidate"}),
        why="the rows stay as they are; another score is less disturbed",
    ),
    ClosingMethod(
        "orthogonal-shift",
        orthogonal_shift,
        "candidates move by the part of the gap orthogonal to their differences",
        guarantee="exact",
        score="euclidean",
        has_own_score=True,
        options=(_VARIANCE,),
        why="candidates move nearer to the queries where no ranking can see it",
        use="Search the moved rows by Euclidean distance; do not normalise them again.",
    ),
    ClosingMethod(
        "biased-shift",
        biased_shift,
        "one side moves by the whole gap; a candidate bias puts every ranking back",
        guarantee="exact",
        score="euclidean",
        scores=PLAIN,
        has_own_score=True,
        options=(_SIDE,),
        why="the whole gap goes, and a candidate bias puts every ranking back",
    ),
    ClosingMethod(
        "center-queries",
        center_queries,
        "queries lose their mean; one candidate bias each makes up for it",
        guarantee="exact",
        score="dot",
        scores=("dot",),
        has_own_score=True,
        around_queries=SCORES,
        alone=frozenset({"query"}),
        why="the disturbance meets the shorter ‖q - μ‖, a candidate bias puts every ranking back",
        use="The last command also writes one number per candidate, its bias: a candidate's score "
        "is the dot product plus that number.",
    ),
    ClosingMethod(
        "center-both",
        center_both,
        "both sides lose their mean; one candidate bias each makes up for it",
        guarantee="exact",
        score="dot",
        scores=("dot",),
        has_own_score=True,
        around_queries=SCORES,
        why="codes and noise meet centred rows and the shorter ‖q - μ‖, a candidate bias puts "
        "every ranking back",
    ),
    ClosingMethod(
        "span",
        span,
        "queries are projected on the candidates' span",
        guarantee="exact",
        score="dot",
        scores=PLAIN,
        has_own_score=True,
        options=(
            _VARIANCE,
            Option("center", "flag", True, "dot: also take off the queries' mean, with a bias"),
        ),
        strength=_STRENGTH_NOT_TRIED,
        around_queries=SCORES,
        why="what of a query cannot tell candidates apart is dropped, and with it its noise",
    ),
    ClosingMethod(
        "subspace",
        subspace,
        "both sides keep the candidates' leading directions only",
        guarantee="exact",
        score="dot",
        scores=PLAIN,
        has_own_score=True,
        options=(
            _VARIANCE,
            Option("rank", "whole", None, "directions kept; off: all of the hull", low=1),
        ),
        strength=None,
        around_queries=SCORES,
        why="both sides keep only the directions that tell candidates apart",
    ),
    ClosingMethod(
        "low-rank-memo",
        low_rank_memo,
        "the directions that hold the gap are kept in float, apart from the vector",
        guarantee="exact",
        score="dot",
        scores=PLAIN,
        has_own_score=True,
        options=(
            Option("rank", "whole", 2, "floats kept per candidate", low=1, grid=(1, 2, 4, 8, 16)),
        ),
        strength=None,
        why="the directions that hold the gap stay in float, apart from the vector",
    ),
    ClosingMethod(
        "ridge-shift",
        ridge_shift,
        "queries lose as much of their mean as costs few answers; no candidate bias",
        guarantee="bounded",
        score="dot",
        scores=PLAIN,
        has_own_score=True,
        options=(
            Option(
                "ridge",
                "number",
                1 / 3,
                "weight of changed answers against noise; the largest moves least",
                above=0,
                grid=(30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03),
            ),
            Option("noise", "variances", None, "noise on candidates; off: that of a one-bit code"),
        ),
        strength=_STRENGTH_NOT_TRIED,
        around_queries=LINEAR,
        why="queries lose as much of their mean as costs few answers, without a candidate bias",
    ),
    ClosingMethod(
        "mean-shift", mean_shift, "queries move by the whole gap", options=(_RENORMALISE, _SIDE)
    ),
    ClosingMethod(
        "database-shift",
        database_shift,
        "candidates move by the whole gap and are normalised again",
    ),
    ClosingMethod(
        "liang-shift", liang_shift, "both sides move by half of the gap and are normalised again"
    ),
    ClosingMethod(
        "centering",
        centering,
        "each side loses its own mean and is normalised again",
        options=(_RENORMALISE,),
    ),
    ClosingMethod(
        "distribution-normalization",
        distribution_normalization,
        "each side loses a quarter of its own mean",
        score="dot",
        strength=replace(STRENGTH, default=0.25),
    ),
    ClosingMethod(
        "standardise", standardise, "mean and spread of every coordinate of the queries are matched"
    ),
    ClosingMethod(
        "realign",
        realign,
        "queries are centred, scaled, normalised and centred again",
        needs=frozenset({"query_rows"}),
    ),
    ClosingMethod(
        "drop-dimensions",
        drop_dimensions,
        "the coordinates that hold most of the gap are left out",
        options=(
            Option("share", "number", 0.75, "share of |g|² that is dropped", above=0, high=1),
        ),
    ),
    ClosingMethod(
        "procrustes",
        procrustes,
        "queries are rotated onto their paired candidates",
        needs=frozenset({"pairs"}),
        options=(Option("scale", "flag", False, "also the best common scale"),),
    ),
    ClosingMethod(
        "whitening",
        whitening,
        "each side is centred and whitened by its own covariance",
        options=(_SHRINKAGE,),
    ),
    ClosingMethod(
        "coral", coral, "queries are whitened and coloured as the candidates", options=(_SHRINKAGE,)
    ),
    ClosingMethod(
        "gaussian-ot",
        gaussian_ot,
        "queries go by optimal transport between the two Gaussian fits",
        options=(_SHRINKAGE,),
    ),
):
    METHODS.register(_method.name, _method)
