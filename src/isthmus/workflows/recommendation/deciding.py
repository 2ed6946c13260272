"""One decision for ``isthmus audit`` and ``isthmus recommend``: which closer, or none, and why.

The rule, in order. Drop closers whose clean agreement is below the floor, or that keep more floats
for each candidate than are allowed. Of the rest take the one with the fewest flips on the
validation queries, or one with fewer moving parts that does nearly as well. Recommend it where the
flips that it removes on the test queries are more than none, by their paired 95 % interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isthmus.closers.closer import Closer
from isthmus.closers.registry import METHODS
from isthmus.core.checks import at_least, share
from isthmus.core.statistics import paired_difference
from isthmus.data.row_stats import InputWarning
from isthmus.robustness import FlipReference
from isthmus.workflows.recommendation.advice import CloserFigures, PartFigures, Shown
from isthmus.workflows.recommendation.parts import Measured
from isthmus.workflows.recommendation.wording import reason_of

DEFAULT_FLOOR = 1.0
ROUNDING = 1e-12
ONE_ERROR = 0.6827
"""Two-sided confidence of one standard error."""
NEARLY = 0.9
"""Share of the best closer's gain with which a plainer one is taken."""


@dataclass(frozen=True)
class Rules:
    """What a closer has to keep.

    ``floor``: least share of today's answers. ``floats_per_candidate``: most that may be kept
    besides a vector. ``control``: theory says that no exact closer changes a flip, so nothing is
    chosen.
    """

    floor: float = DEFAULT_FLOOR
    floats_per_candidate: int = 1
    seed: int = 0
    control: bool = False

    def __post_init__(self) -> None:
        share(self.floor, "floor", "bad-share")
        at_least(self.floats_per_candidate, 0, "floats_per_candidate", "bad-number")


@dataclass(frozen=True, eq=False)
class Judged:
    """A closer at its chosen setting: its figures, and itself on the validation queries."""

    figures: CloserFigures
    closer: Closer
    measured: Measured
    is_plain: bool

    @property
    def order(self) -> int:
        """Place in the registry, which is the order of moving parts."""
        return list(METHODS).index(self.closer.name)


@dataclass(frozen=True, eq=False)
class Decision:
    """What is recommended: ``taken`` is plain search where ``nothing`` helps. ``reason``: why."""

    taken: Judged
    nothing: bool
    reason: str
    control: Mapping[str, Any] | None = None

    @property
    def best(self) -> CloserFigures | None:
        """Figures of the closer recommended, if one is."""
        return None if self.nothing else self.taken.figures


def nothing_recommended(broken: InputWarning) -> dict[str, Any]:
    """What stands in a recommendation's place where a finding makes every number meaningless."""
    return {"closer": None, "score": None, "file": None, "reason": why_nothing(broken)}


def why_nothing(broken: InputWarning) -> str:
    """The finding as the reason why nothing is recommended."""
    return f"{broken.code}: {broken.text}"


def judged(
    rules: Rules,
    closer: Closer,
    parts: Sequence[tuple[Measured, Measured]],
    *,
    options: Mapping[str, Any],
    tried: int,
    is_plain: bool,
    reference: FlipReference,
) -> Judged:
    """Figures of a closer from (itself, plain search) on the validation and the test queries."""
    first, second = (own.figures(plain, rules.seed) for own, plain in parts)
    shown = floor_shown(closer.guarantee.kind, second, rules.floor)
    tested = parts[1][0]
    figures = CloserFigures(
        closer.name,
        closer.score,
        options,
        closer.strength,
        closer.guarantee.kind,
        shown != "missed" and first.clean_agreement >= rules.floor - ROUNDING,
        shown,
        None,
        None,
        first,
        second,
        tried,
        tested.spread,
        tested.floats,
        tested.size,
        reference,
    )
    return Judged(figures, closer, parts[0][0], is_plain)


def floor_shown(kind: str, figures: PartFigures, floor: float) -> Shown:
    """How far the test queries show that a closer keeps the floor."""
    if figures.clean_agreement < floor - ROUNDING:
        return "missed"
    if kind == "exact":
        return "by guarantee"
    return "by count" if figures.clean_agreement_ci[0] >= floor else "unresolved"


def near(best: Measured | None, other: Measured | None, seed: int) -> bool:
    """Whether the other has more flips than the best by one standard error at most."""
    assert best is not None
    assert other is not None
    worse = paired_difference(best.flips, other.flips, seed=seed, confidence=ONE_ERROR)
    return worse.low <= 0


def ranked(found: Sequence[Judged]) -> list[Judged]:
    """Above the floor first, then by flips on the test queries; ties as the registry has them."""
    rows = sorted(
        found, key=lambda r: (not r.figures.passes, r.figures.test.flips, not r.is_plain, r.order)
    )
    able = [i for i, r in enumerate(rows) if r.figures.passes]
    known = [i for i in able if rows[i].figures.test.predicted is not None]
    known.sort(key=lambda i: rows[i].figures.test.predicted or 0.0)
    for place, i in enumerate(able):
        guess = known.index(i) + 1 if i in known else None
        figures = replace(rows[i].figures, rank=place + 1, predicted_rank=guess)
        rows[i] = replace(rows[i], figures=figures)
    return rows


def choose(rules: Rules, rows: Sequence[Judged]) -> Judged | None:
    """The closer to recommend, were its gain to hold; None where no closer meets the floor.

    Fewest flips on the *validation* queries among those that meet the floor on both parts; or,
    where it is within one standard error of that or removes nine tenths of what that removes, the
    first in the order of the registry, which is that of moving parts. The test queries decide
    nothing but the floor, so their figures are not those of a winner.
    """
    most = rules.floats_per_candidate
    able = [
        r
        for r in rows
        if r.figures.passes and r.figures.floats_per_candidate <= most and not r.is_plain
    ]
    if not able:
        return None
    best = min(able, key=lambda r: r.figures.validation.flips)
    able = [r for r in able if r is best or r.figures.validation.removed > 0]
    gain = best.figures.validation.removed

    def nearly(row: Judged) -> bool:
        enough = gain > 0 and row.figures.validation.removed >= NEARLY * gain
        return row is best or enough or near(best.measured, row.measured, rules.seed)

    return next(row for row in sorted(able, key=lambda r: r.order) if nearly(row))


def decide(rules: Rules, rows: Sequence[Judged], setup: Mapping[str, Any]) -> Decision:
    """Choose among ranked closers, plain search among them, and say why."""
    plain = next(r for r in rows if r.is_plain)
    best = None if rules.control else choose(rules, rows)
    control = _control([r.figures for r in rows], plain.figures) if rules.control else None
    nothing, reason = reason_of(
        None if best is None else best.figures,
        [r.figures for r in rows if not r.is_plain],
        plain.figures,
        setup,
        control,
    )
    return Decision(plain if nothing or best is None else best, nothing, reason, control)


def _control(rows: Sequence[CloserFigures], plain: CloserFigures) -> dict[str, Any]:
    """Flips of closers that keep rankings, where theory says that they are all alike."""
    flips = {f"{r.closer}, {r.score}": r.test.flips for r in rows if r.guarantee == "exact"}
    apart = max((abs(share - plain.test.flips) for share in flips.values()), default=0.0)
    return {"flips": flips, "plain": plain.test.flips, "largest_difference": apart}
