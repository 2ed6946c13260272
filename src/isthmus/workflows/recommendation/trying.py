"""Every closer at every setting on the calibration half; the chosen ones on the judging half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from isthmus.closers import METHODS
from isthmus.closers.maps import Closer
from isthmus.core.progress import Progress
from isthmus.core.statistics import mcnemar, paired_difference, share_over_trials, wilson
from isthmus.errors import CloserError, OptionError
from isthmus.robustness import ClosedSearch
from isthmus.workflows.recommendation.advice import Figures, Raise, Row, Shown
from isthmus.workflows.recommendation.halves import Half, Measured
from isthmus.workflows.recommendation.settings import Ground, scores_of, settings_of

SIGNIFICANT = 0.01
ROUNDING = 1e-12
ONE_ERROR = 0.6827
"""Two-sided confidence of one standard error."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Bench:
    """Both halves, what closers are fitted on, and the rules.

    ``control``: theory says that no exact closer changes a flip, so settings are not chosen.
    ``beside``: most floats that may be kept beside a stored vector.
    """

    calibration: Half
    judging: Half
    ground: Ground
    score: str
    floor: float
    beside: int
    control: bool
    seed: int


@dataclass(frozen=True, eq=False)
class Tried:
    """One setting on the calibration half; ``measured`` None where it was not worth measuring."""

    closer: Closer
    options: dict[str, Any]
    agreement: float
    accuracy: float | None
    measured: Measured | None

    @property
    def flips(self) -> float:
        """Share of flips; infinite where not measured."""
        return float("inf") if self.measured is None else float(self.measured.flips.mean())


@dataclass(frozen=True, eq=False)
class Chosen:
    """A closer at its chosen setting: its row, and itself measured on the calibration half."""

    row: Row
    closer: Closer
    measured: Measured
    order: tuple[int, int]
    is_plain: bool


Key = tuple[str, str]


def try_all(
    bench: Bench, names: Sequence[str], progress: Progress
) -> tuple[dict[Key, list[Tried]], dict[str, str]]:
    """All settings of all closers on the calibration half, and what could not be fitted.

    Flips are measured of settings that keep the floor there; of the others nothing but their clean
    answers is needed.
    """
    tried: dict[Key, list[Tried]] = {}
    skipped: dict[str, str] = {}
    for done, name in enumerate(names):
        progress("calibration", done, len(names))
        for score in scores_of(name, bench.score, bench.ground.unit_rows):
            fitted = []
            for options in settings_of(name, bench.ground.candidates.dim, bench.beside):
                try:
                    fitted.append((bench.ground.fit(name, score, options), options))
                except (OptionError, CloserError) as why:
                    skipped[name] = str(why)
            if fitted:
                tried[name, score] = _on_calibration(bench, fitted)
    progress("calibration", len(names), len(names))
    done_names = {name for name, _ in tried}
    return tried, {name: why for name, why in skipped.items() if name not in done_names}


def _on_calibration(bench: Bench, fitted: Sequence[tuple[Closer, dict[str, Any]]]) -> list[Tried]:
    half = bench.calibration
    out: list[Tried] = []
    for some in _batches(fitted, half.batch()):
        searches = [half.search(closer) for closer, _ in some]
        shares = [float(half.same(half.answers(search)).mean()) for search in searches]
        worth = [share >= bench.floor - ROUNDING and not bench.control for share in shares]
        found = iter(half.measured([p for p, yes in zip(searches, worth, strict=True) if yes]))
        for (closer, options), search, share, yes in zip(
            some, searches, shares, worth, strict=True
        ):
            accuracy = half.accuracy(half.answers(search))
            out.append(Tried(closer, options, share, accuracy, next(found) if yes else None))
    return out


def best_setting(settings: Sequence[Tried], seed: int) -> Tried:
    """Fewest flips of those above the floor, or a setting listed earlier that is within one
    standard error of it; where none is above the floor, the one nearest to it."""
    able = [t for t in settings if t.measured is not None]
    if not able:
        return max(settings, key=lambda t: t.agreement)
    best = min(able, key=lambda t: t.flips)
    return next(t for t in able if t is best or near(best.measured, t.measured, seed))


def near(best: Measured | None, other: Measured | None, seed: int) -> bool:
    """Whether the other has more flips than the best by one standard error at most."""
    assert best is not None
    assert other is not None
    worse = paired_difference(best.flips, other.flips, seed=seed, confidence=ONE_ERROR)
    return worse.low <= 0


def rows_of(
    bench: Bench, tried: dict[Key, list[Tried]], progress: Progress
) -> tuple[list[Chosen], Chosen]:
    """The chosen settings judged, in the order of the ranking, and plain search among them."""
    picked = [
        (key, settings[0] if bench.control else best_setting(settings, bench.seed), len(settings))
        for key, settings in tried.items()
        if not bench.control or METHODS[key[0]].guarantee == "exact"
    ]
    plain = [key for key, _, _ in picked].index(("none", bench.score))
    played: list[list[tuple[Clean, Measured]]] = []
    for half in (bench.calibration, bench.judging):
        found: list[tuple[Clean, Measured]] = []
        for some in _batches(picked, half.batch()):
            progress("judging", len(found), len(picked))
            searches = [half.search(setting.closer) for _, setting, _ in some]
            found += zip([_clean(half, p) for p in searches], half.measured(searches), strict=True)
        played.append(found)
    progress("judging", len(picked), len(picked))
    chosen = []
    for place, ((name, _), setting, count) in enumerate(picked):
        first, second = (found[place] for found in played)
        figures = [_figures(*found[place], found[plain][1].flips, bench.seed) for found in played]
        row = _row(bench, setting, second, figures, count)
        order = (list(METHODS).index(name), place)
        chosen.append(Chosen(row, setting.closer, first[1], order, place == plain))
    return _ranked(chosen)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _ranked(found: list[Chosen]) -> tuple[list[Chosen], Chosen]:
    """Above the floor first, then by flips on the judging half; ties as the registry has them."""
    found = sorted(
        found, key=lambda r: (not r.row.passes, r.row.judging.flips, not r.is_plain, r.order)
    )
    able = [i for i, r in enumerate(found) if r.row.passes]
    known = [i for i in able if found[i].row.judging.predicted is not None]
    known.sort(key=lambda i: found[i].row.judging.predicted or 0.0)
    for place, i in enumerate(able):
        guess = known.index(i) + 1 if i in known else None
        row = replace(found[i].row, rank=place + 1, predicted_rank=guess)
        found[i] = replace(found[i], row=row)
    return found, next(r for r in found if r.is_plain)


@dataclass(frozen=True)
class Clean:
    """A closer undisturbed: answers kept (n,) bool, near ties, accuracy, what is stored."""

    same: np.ndarray
    near_ties: int
    accuracy: float | None
    spread: float


def _clean(half: Half, search: ClosedSearch) -> Clean:
    answers = half.answers(search)
    same = half.same(answers)
    before = float(search.task.candidates.var(axis=0).sum())
    stored = float(search.candidates[:, : search.stored_dims].var(axis=0).sum())
    ties = int((same & (answers != half.today)).sum())
    return Clean(same, ties, half.accuracy(answers), stored / before if before else 1.0)


def _figures(clean: Clean, own: Measured, base: np.ndarray, seed: int) -> Figures:
    kept = wilson(int(clean.same.sum()), len(clean.same))
    share = share_over_trials(own.flips, seed=seed)
    change = paired_difference(own.flips, base, seed=seed)
    return Figures(
        len(clean.same),
        share.mean,
        (share.low, share.high),
        own.predicted,
        change.mean,
        (change.low, change.high),
        own.agreement,
        kept.mean,
        (kept.low, kept.high),
        clean.near_ties,
        own.accuracy,
        clean.accuracy,
    )


def _row(
    bench: Bench,
    setting: Tried,
    played: tuple[Clean, Measured],
    figures: Sequence[Figures],
    tried: int,
) -> Row:
    closer, (clean, measured) = setting.closer, played
    kind = closer.guarantee.kind
    shown = floor_shown(kind, figures[1], bench.floor)
    passes = shown != "missed" and figures[0].clean_agreement >= bench.floor - ROUNDING
    return Row(
        closer.name,
        closer.score,
        setting.options,
        closer.strength,
        kind,
        passes,
        shown,
        None,
        None,
        figures[0],
        figures[1],
        tried,
        clean.spread,
        measured.floats,
        measured.size,
    )


def floor_shown(kind: str, figures: Figures, floor: float) -> Shown:
    """How far the judging half shows that a closer keeps the floor."""
    if figures.clean_agreement < floor - ROUNDING:
        return "missed"
    if kind == "exact":
        return "by guarantee"
    return "by count" if figures.clean_agreement_ci[0] >= floor else "unresolved"


def changes_of(bench: Bench, tried: dict[Key, list[Tried]]) -> list[Raise]:
    """Closers that change answers, at their most accurate setting on the calibration half.

    Undisturbed accuracy is judged on the other half by McNemar's exact test against plain search,
    the p-value times the number of closers tested (Bonferroni).
    """
    first, second = bench.calibration, bench.judging
    if not (first.judged.any() and second.judged.any()):
        return []
    before = second.right(second.today)
    rough = []
    for settings in tried.values():
        moved = [t for t in settings if t.agreement < 1 - ROUNDING]
        if not moved:
            continue
        setting = max(moved, key=lambda t: t.accuracy or 0.0)
        answers = second.answers(second.search(setting.closer))
        after = second.right(answers)
        agreement = float(second.same(answers).mean())
        rough.append((setting, before, after, agreement))
    out = []
    for setting, before, after, agreement in rough:
        closer = setting.closer
        p = min(1.0, mcnemar(before, after) * len(rough))
        told = Raise(
            closer.name,
            closer.score,
            setting.options,
            closer.strength,
            agreement,
            first.accuracy(first.today) or 0.0,
            setting.accuracy or 0.0,
            float(before.mean()),
            float(after.mean()),
            int((~before & after).sum()),
            int((before & ~after).sum()),
            p,
            bool(p < SIGNIFICANT and after.mean() > before.mean()),
        )
        out.append(told)
    return sorted(out, key=lambda r: -r.calibration_after)
