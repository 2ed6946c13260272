"""From rows to advice: settings are chosen on one half of the queries and judged on the other.

split -> fit (calibration queries, all stored candidates) -> try settings on calibration
  -> the closer: fewest flips on calibration, or a plainer one that is nearly as good
  -> judge: floor, flips removed with their interval, accuracy -> words
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from isthmus.core.arrays import row_norms, to_numpy, unit, working
from isthmus.core.progress import Progress, quiet
from isthmus.data.row_checks import check_same_space, checked_rows
from isthmus.data.row_stats import RowStats
from isthmus.errors import LabelsError, OptionError
from isthmus.robustness import BIN_COUNTS, GAUSSIAN_LEVELS, Perturbation, check_perturbation
from isthmus.search.relevance import Relevance, no_relevance
from isthmus.search.scores import check_score
from isthmus.workflows.recommendation.advice import Advice, Row
from isthmus.workflows.recommendation.halves import half_of, split, task_of
from isthmus.workflows.recommendation.measured import DEFAULT_FLOOR
from isthmus.workflows.recommendation.settings import checked_closers, ground_of
from isthmus.workflows.recommendation.trying import (
    Bench,
    Chosen,
    changes_of,
    near,
    rows_of,
    try_all,
)
from isthmus.workflows.recommendation.wording import notes_of, reason_of

TRIALS = 20
TRIAL_PRODUCTS = 20 * 500 * 500
LEAST_TRIALS = 4
UNIT = 1e-5
"""Rows whose norms are this near 1 count as unit rows."""
NEARLY = 0.9
"""Share of the best closer's gain with which a plainer one is taken."""


def advise(
    queries: Any,
    candidates: Any,
    truth: Relevance | None = None,
    *,
    score: str = "cosine",
    side: str = "candidates",
    family: str = "gaussian",
    levels: float | Sequence[float] | None = None,
    convention: str | None = None,
    floor: float = DEFAULT_FLOOR,
    beside: int = 1,
    closers: str | Iterable[str] | None = None,
    share: float = 0.5,
    trials: int | None = None,
    lists: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Advice:
    """Which closer for these rows, this score and this disturbance, or nothing, and why.

    Args:
        queries: (n, d). candidates: (K, d), all that are stored: their moments are fitted on, no
            truth of theirs. Under cosine rows are normalised first.
        truth: what is right (``isthmus.search.relevance``); None: only flips and agreement are
        measured.
        score: how you search today: dot, cosine or euclidean.
        side: what is disturbed: candidates, queries, both, or shared (one draw for all candidates).
        family: noise (gaussian, uniform, …), a cut, or a codec by name (rabitq, sq8, sign, pq32x8).
        levels: variances of noise, bins, dimensions kept; None takes the stress grid's. A codec
            by name has none.
        convention: of a variance: total (the default), coordinate or spread.
        floor: least share of today's answers that a closer must keep undisturbed, 0 to 1.
        beside: most floats that may be kept beside each stored vector: 1 allows the stored number,
            0 only what any store can do, more a ``low-rank-memo`` of that rank.
        closers: names to consider; None: all that apply.
        share: part of the queries that settings are chosen on.
        trials: draws on the judging half, a third of it on calibration; None: by size.
        lists: (n, c) candidate rows that each query chooses among; None: among all.
        seed: of the split and all draws. progress: called with (what, done, all).

    Cost: about as many searches of n × K as closers times settings times trials; on 500 × 500 in
    512 dimensions well below a minute.

    Raises:
        OptionError: a score, side, family, level, floor, closer or count that is none.
        ShapeError: sides of two dimensions, fewer than 4 queries or 2 candidates.
        ValuesError: NaN, infinity, or a zero row under cosine. LabelsError: a truth of other sizes.
    """
    check_score(score)
    perturbations = perturbations_for(family, side, levels, convention)
    _check_numbers(floor, share, trials, beside, seed)
    names = checked_closers(closers)
    q, c, unit_rows = _checked_sides(queries, candidates, score)
    truth = truth or no_relevance(len(q), len(c))
    if (truth.queries, truth.candidates) != (len(q), len(c)):
        raise LabelsError(
            f"the truth is about {truth.queries} queries and {truth.candidates} candidates, but "
            f"there are {len(q)} and {len(c)}; give the truth of these rows"
        )
    first, second = split(len(q), share, seed)
    task = task_of(q, c, truth, first, lists, seed)
    draws = trials or _trials_for(len(second), len(c))
    bench = Bench(
        half_of(task, first, score, perturbations, trials=max(2, draws // 3), seed=seed + 0x5EED),
        half_of(task, second, score, perturbations, trials=draws, seed=seed),
        ground_of(task, first, unit_rows, perturbations),
        score,
        floor,
        beside,
        control=all(perturbation.kind == "noise" for perturbation in perturbations)
        and side == "queries",
        seed=seed,
    )
    tried, skipped = try_all(bench, names, progress or quiet)
    rows, plain = rows_of(bench, tried, progress or quiet)
    changes = changes_of(bench, tried)
    best = None if bench.control else choose(bench, rows)
    setup = {
        "score": score,
        "side": side,
        "family": family,
        "levels": [perturbation.level for perturbation in perturbations]
        if perturbations[0].kind != "codec" or len(perturbations) > 1
        else [],
        "convention": perturbations[0].convention,
        "floor": floor,
        "beside": beside,
        "unit_rows": unit_rows,
        "calibration_queries": len(first),
        "judging_queries": len(second),
        "candidates": len(c),
        "dim": c.shape[1],
        "trials": [bench.calibration.trials, draws],
        "seed": seed,
    }
    control = _control(rows, plain) if bench.control else None
    nothing, reason = reason_of(best, rows, plain, setup, control)
    taken = plain if nothing or best is None else best
    return Advice(
        taken.row.closer,
        taken.row.score,
        taken.row.options,
        nothing,
        reason,
        notes_of(None if nothing else best, rows, plain, changes, setup),
        taken.closer,
        tuple(r.row for r in rows),
        tuple(changes),
        plain.row,
        control,
        skipped,
        setup,
    )


def choose(bench: Bench, rows: Sequence[Chosen]) -> Chosen | None:
    """The closer to recommend, were its gain to hold; None where no closer meets the floor.

    Fewest flips on the *calibration* half among those that meet the floor on both halves; or, where
    it is within one standard error of that or removes nine tenths of what that removes, the first
    in the registry, which is ordered by moving parts. The judging half decides nothing but
    the floor, so its figures are not those of a winner.
    """
    able = [r for r in rows if r.row.passes and r.row.beside <= bench.beside and not r.is_plain]
    if not able:
        return None
    best = min(able, key=lambda r: r.row.calibration.flips)
    able = [r for r in able if r is best or r.row.calibration.removed > 0]
    gain = best.row.calibration.removed

    def nearly(row: Chosen) -> bool:
        enough = gain > 0 and row.row.calibration.removed >= NEARLY * gain
        return row is best or enough or near(best.measured, row.measured, bench.seed)

    return next(row for row in sorted(able, key=lambda r: r.order) if nearly(row))


def perturbations_for(
    family: str, side: str, levels: float | Sequence[float] | None, convention: str | None
) -> tuple[Perturbation, ...]:
    """The perturbations of one family and side.

    Raises:
        OptionError: anything unknown, or a level of something that has none.
    """
    kind = check_perturbation(Perturbation(family, side, 1.0)).kind  # type: ignore[arg-type]
    given = None if levels is None else tuple(np.atleast_1d(np.asarray(levels, float)).tolist())
    leveled = kind != "codec" or family == "uniform-quantisation"
    if given is not None and (not given or not leveled):
        raise OptionError(
            f"{family} has no level; leave it out"
            if given
            else "no level was given; expected one number or more, such as 0.022"
        )
    usual = {"noise": GAUSSIAN_LEVELS, "cut": (0.5, 0.25), "codec": (1.0,)}[kind]
    if family == "uniform-quantisation":
        usual = tuple(float(count) for count in BIN_COUNTS)
    if kind != "noise" and convention is not None:
        raise OptionError(f"{family} has no level convention; that is for noise")
    told = (convention or "total") if kind == "noise" else None
    perturbations = tuple(
        check_perturbation(Perturbation(family, side, level, told))  # type: ignore[arg-type]
        for level in given or usual
    )
    if kind == "noise" and any(not (np.isfinite(c.level) and c.level > 0) for c in perturbations):
        raise OptionError(f"levels {given}: expected variances above 0, such as 0.022")
    return perturbations


def _checked_sides(
    queries: Any, candidates: Any, score: str
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Both sides as float64 rows, normalised where they are searched so; whether they are."""
    sides = []
    for name, rows in (("queries", queries), ("candidates", candidates)):
        found = to_numpy(checked_rows(rows, name))
        RowStats.of(found).refuse(name, cosine=score == "cosine")
        sides.append(np.asarray(working(found, double=True)))
    q, c = sides
    check_same_space("queries", q.shape[1], "candidates", c.shape[1])
    unit_rows = score == "cosine" or all(
        bool((np.abs(row_norms(side) - 1) <= UNIT).all()) for side in sides
    )
    if unit_rows:
        q, c = np.asarray(unit(q)), np.asarray(unit(c))
    return q, c, unit_rows


def _check_numbers(floor: float, share: float, trials: int | None, beside: int, seed: int) -> None:
    if not 0 <= floor <= 1:
        raise OptionError(f"floor {floor} is not a share; expected 0 to 1")
    if not 0 < share < 1:
        raise OptionError(f"share {share} of the queries to choose on; expected between 0 and 1")
    if trials is not None and trials < 1:
        raise OptionError(f"{trials} trials; expected at least 1")
    if beside < 0:
        raise OptionError(f"{beside} floats beside a vector; expected 0 or more")
    if seed < 0:
        raise OptionError(f"seed {seed}; expected 0 or more")


def _trials_for(queries: int, candidates: int) -> int:
    return int(np.clip(TRIAL_PRODUCTS / (queries * candidates), LEAST_TRIALS, TRIALS))


def _control(rows: Sequence[Chosen], plain: Chosen) -> dict[str, Any]:
    """Flips of closers that keep rankings, where theory says that they are all alike."""
    exact: list[Row] = [r.row for r in rows if r.row.guarantee == "exact"]
    flips = {f"{r.closer}, {r.score}": r.judging.flips for r in exact}
    apart = max((abs(r.judging.flips - plain.row.judging.flips) for r in exact), default=0.0)
    return {"flips": flips, "plain": plain.row.judging.flips, "largest_difference": apart}
