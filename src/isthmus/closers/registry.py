"""Every closing method by its name: what fits it, what it needs and promises, which options it has.

Third parties add a :class:`ClosingMethod` by the entry point group ``isthmus.closers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from isthmus.closers.maps import Closer, Kind, Role
from isthmus.closers.matching import coral, gaussian_ot, procrustes, realign, standardise, whitening
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
from isthmus.errors import OptionError
from isthmus.search.scores import SCORES

LINEAR = ("dot", "cosine")


@dataclass(frozen=True)
class Option:
    """One option of a closing method.

    Attributes:
        name: as Python, the command line and JSON spell it.
        kind: ``number``, ``whole`` (a whole number), ``flag``, ``choice`` (one of ``choices``) or
            ``variances`` (a number, or an array (d,) or (d, d)).
        default: what is used where nothing is said. None means that the option is off.
        words: what it does, in a line.
        above, low, high: the value is greater than ``above``, at least ``low``, at most ``high``.
        grid: the values that ``recommend`` tries, the plainest first; empty: it is not tried.
    """

    name: str
    kind: Literal["number", "whole", "flag", "choice", "variances"]
    default: Any
    words: str
    above: float | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    grid: tuple[Any, ...] = ()

    def check(self, method: str, value: Any) -> None:
        """Refuse a value of another kind or outside the range.

        Raises:
            OptionError: ``option-kind`` or ``option-range``.
        """
        if value is None and self.default is None:
            return
        fits = {
            "number": _is_number(value),
            "whole": _is_number(value, whole=True),
            "flag": isinstance(value, bool | np.bool_),
            "choice": isinstance(value, str) and value in self.choices,
            "variances": not isinstance(value, str | bool),
        }[self.kind]
        if not fits:
            raise OptionError(
                "option-kind", f"{method} got {self.name}={value!r}; expected {self.expected}"
            )
        if self.kind in ("number", "whole") and not self._in_range(value):
            raise OptionError(
                "option-range", f"{method} got {self.name}={value}; expected {self.expected}"
            )

    def _in_range(self, value: float) -> bool:
        return bool(
            np.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
        )

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        kinds = {
            "number": "a finite number",
            "whole": "a whole number",
            "flag": "true or false",
            "choice": " or ".join(self.choices),
            "variances": "variances",
        }
        limits = (("above", self.above), ("at least", self.low), ("at most", self.high))
        bounds = " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
        return f"{kinds[self.kind]} {bounds}".rstrip()


def _is_number(value: Any, *, whole: bool = False) -> bool:
    kinds = int | np.integer if whole else int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool)


NORMALISED = Option("normalised", "flag", True, "the maps begin by normalising rows")
STRENGTH = Option(
    "strength", "number", 1.0, "0 changes nothing, 1 closes fully", grid=(1.0, 0.75, 0.5, 0.25)
)
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


@dataclass(frozen=True)
class ClosingMethod:
    """One closing method: the entry of the registry.

    Attributes:
        name: as ``isthmus close --method`` takes it.
        function: (:class:`~isthmus.closers.promises.Given`, and the options by name)
            -> :class:`~isthmus.closers.maps.Closer`.
        words: what it does, in a line.
        guarantee: the firmest promise that it makes of the clean ranking.
        score: the default; ``scores``: those that it can be fitted for.
        has_own_score: it is searched by its own score, and not by the one in use today.
        needs: what it needs beyond moments: ``pairs`` (``PairMoments``), ``query_rows`` (n, d).
        options: its own options, without the strength.
        strength: the strength's option; None where it is on (1) or off (0).
        around_queries: scores under which its vector is the queries' mean, and not the gap.
        alone: roles whose rows alone determine the closer.
        why: why it removes flips, for the recommendation; empty where nothing can be said.
        use: what to know when its rows are searched; empty for nothing special.
    """

    name: str
    function: Callable[..., Closer]
    words: str
    guarantee: Kind = "none"
    score: str = "cosine"
    scores: tuple[str, ...] = SCORES
    has_own_score: bool = False
    needs: frozenset[str] = frozenset()
    options: tuple[Option, ...] = ()
    strength: Option | None = STRENGTH
    around_queries: tuple[str, ...] = ()
    alone: frozenset[Role] = frozenset()
    why: str = ""
    use: str = ""

    @property
    def has_strength(self) -> bool:
        """Whether there is anything between off and on."""
        return self.strength is not None

    @property
    def page(self) -> str:
        """Its page under ``docs``."""
        return f"closers/{self.name}.md"

    @property
    def settings(self) -> tuple[dict[str, Any], ...]:
        """The options that ``recommend`` tries, the plainest first.

        The strengths, or no option at all; then each option with a grid by itself. An option that
        always has a value is tried at its grid only.
        """
        tried = [o for o in self.options if o.grid]
        if self.strength is not None and self.strength.grid:
            plain: list[dict[str, Any]] = [{"strength": s} for s in self.strength.grid]
        else:
            plain = [{}] if all(o.default is None for o in tried) else []
        return (*plain, *({o.name: value} for o in tried for value in o.grid))

    def score_for(self, score: str) -> str | None:
        """The score to fit it for where the user searches by ``score``; None: its default."""
        if not self.has_own_score:
            return score
        return score if score == "euclidean" and score in self.scores else None

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse an option that it does not have, or a value outside its range.

        Raises:
            OptionError: ``unknown-option``, ``option-kind`` or ``option-range``.
        """
        known = {o.name: o for o in (self.strength or STRENGTH, *self.options, NORMALISED)}
        for name, value in options.items():
            if name in self.needs:
                continue
            if name not in known:
                raise OptionError(
                    "unknown-option",
                    f"{self.name} has no option '{name}'; it has {', '.join(known)}",
                )
            known[name].check(self.name, value)


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
        scores=LINEAR,
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
        scores=LINEAR,
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
