"""Every closer at every setting on the validation queries; the chosen ones on the test queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from isthmus.closers.closer import Closer
from isthmus.closers.registry import METHODS
from isthmus.core.progress import Progress
from isthmus.core.statistics import mcnemar
from isthmus.errors import CloserError, OptionError
from isthmus.workflows.recommendation.advice import SIGNIFICANT, AccuracyGain
from isthmus.workflows.recommendation.deciding import ROUNDING, Judged, Rules, judged, near
from isthmus.workflows.recommendation.parts import Measured, Part
from isthmus.workflows.recommendation.settings import FitRows, scores_of, settings_of

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Trials:
    """Both parts of the queries, what closers are fitted on, and the rules."""

    validation: Part
    test: Part
    fit_rows: FitRows
    score: str
    rules: Rules


@dataclass(frozen=True, eq=False)
class Tried:
    """One setting on the validation queries; ``measured`` None where it was not worth measuring."""

    closer: Closer
    options: dict[str, Any]
    agreement: float
    accuracy: float | None
    measured: Measured | None

    @property
    def flips(self) -> float:
        """Share of flips; infinite where not measured."""
        return float("inf") if self.measured is None else float(self.measured.flips.mean())


Key = tuple[str, str]


def try_all(
    trials: Trials, names: Sequence[str], progress: Progress
) -> tuple[dict[Key, list[Tried]], dict[str, str]]:
    """All settings of all closers on the validation queries, and what could not be fitted.

    Flips are measured of settings that keep the floor there; of the others nothing but their clean
    answers is needed.
    """
    tried: dict[Key, list[Tried]] = {}
    skipped: dict[str, str] = {}
    rows = trials.fit_rows
    for done, name in enumerate(names):
        progress("validation", done, len(names))
        for score in scores_of(name, trials.score, rows.normalised):
            fitted = []
            for options in settings_of(
                name, rows.candidates.dim, trials.rules.floats_per_candidate
            ):
                try:
                    fitted.append((rows.fit(name, score, options), options))
                except (OptionError, CloserError) as why:
                    skipped[name] = str(why)
            if fitted:
                tried[name, score] = _validated(trials, fitted)
    progress("validation", len(names), len(names))
    done_names = {name for name, _ in tried}
    return tried, {name: why for name, why in skipped.items() if name not in done_names}


def _validated(trials: Trials, fitted: Sequence[tuple[Closer, dict[str, Any]]]) -> list[Tried]:
    part, rules = trials.validation, trials.rules
    tried = tried_undisturbed(part, fitted)
    worth = [t for t in tried if t.agreement >= rules.floor - ROUNDING and not rules.control]
    found: dict[int, Measured] = {}
    for some in _batches(worth, part.batch()):
        measured = part.measured(part.searches([t.closer for t in some]))
        found |= {id(t): one for t, one in zip(some, measured, strict=True)}
    return [replace(t, measured=found.get(id(t))) for t in tried]


def tried_undisturbed(part: Part, fitted: Sequence[tuple[Closer, dict[str, Any]]]) -> list[Tried]:
    """Fitted closers and their options by what they do to undisturbed answers."""
    found = part.answers([closer for closer, _ in fitted])
    return [
        Tried(closer, options, float(part.same(answers).mean()), part.accuracy(answers), None)
        for (closer, options), answers in zip(fitted, found, strict=True)
    ]


def best_setting(settings: Sequence[Tried], seed: int) -> Tried:
    """Fewest flips of those above the floor, or a setting listed earlier that is within one
    standard error of it; where none is above the floor, the one nearest to it."""
    able = [t for t in settings if t.measured is not None]
    if not able:
        return max(settings, key=lambda t: t.agreement)
    best = min(able, key=lambda t: t.flips)
    return next(t for t in able if t is best or near(best.measured, t.measured, seed))


def tested(trials: Trials, tried: dict[Key, list[Tried]], progress: Progress) -> list[Judged]:
    """The chosen settings measured on both parts; plain search by today's score is among them."""
    rules = trials.rules
    picked = [
        (key, settings[0] if rules.control else best_setting(settings, rules.seed), len(settings))
        for key, settings in tried.items()
        if not rules.control or METHODS[key[0]].guarantee == "exact"
    ]
    plain = [key for key, _, _ in picked].index(("none", trials.score))
    parts: list[list[Measured]] = []
    chosen = [setting for _, setting, _ in picked]
    for part in (trials.validation, trials.test):
        known = [s.measured if part is trials.validation else None for s in chosen]
        left = [s.closer for s, measured in zip(chosen, known, strict=True) if measured is None]
        found: list[Measured] = []
        for some in _batches(left, part.batch()):
            progress("test", len(found), len(left))
            found += part.measured(part.searches(some))
        rest = iter(found)
        parts.append([measured or next(rest) for measured in known])
    progress("test", len(picked), len(picked))
    reference = trials.test.perturbations[0].flip_reference
    return [
        judged(
            rules,
            setting.closer,
            [(found[place], found[plain]) for found in parts],
            options=setting.options,
            tried=count,
            is_plain=place == plain,
            reference=reference,
        )
        for place, (_, setting, count) in enumerate(picked)
    ]


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def accuracy_gains(trials: Trials, tried: dict[Key, list[Tried]]) -> list[AccuracyGain]:
    """Closers that change answers, at their most accurate setting on the validation queries.

    Undisturbed accuracy is tested on the other queries by McNemar's exact test against plain
    search, the p-value times the number of closers tested (Bonferroni).
    """
    first, second = trials.validation, trials.test
    if not (first.judged.any() and second.judged.any()):
        return []
    before = second.right(second.today)
    moved = [
        max(changing, key=lambda t: t.accuracy or 0.0)
        for settings in tried.values()
        if (changing := [t for t in settings if t.agreement < 1 - ROUNDING])
    ]
    out = []
    found = second.answers([setting.closer for setting in moved])
    for setting, answers in zip(moved, found, strict=True):
        closer = setting.closer
        after = second.right(answers)
        p = min(1.0, mcnemar(before, after) * len(moved))
        gain = AccuracyGain(
            closer.name,
            closer.score,
            setting.options,
            closer.strength,
            float(second.same(answers).mean()),
            first.accuracy(first.today) or 0.0,
            setting.accuracy or 0.0,
            float(before.mean()),
            float(after.mean()),
            int((~before & after).sum()),
            int((before & ~after).sum()),
            p,
            bool(p < SIGNIFICANT and after.mean() > before.mean()),
        )
        out.append(gain)
    return sorted(out, key=lambda r: -r.validation_after)
