"""What is known of one closing method: what fits it, what it needs and promises, its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from isthmus.closers.closer import Closer, Kind, Role
from isthmus.errors import OptionError
from isthmus.search.scores import SCORES


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


@dataclass(frozen=True)
class ClosingMethod:
    """One closing method: the entry of the registry.

    Attributes:
        name: as ``isthmus close --method`` takes it.
        function: (:class:`~isthmus.closers.promises.Given`, and the options by name)
            -> :class:`~isthmus.closers.closer.Closer`.
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
