"""The main job: two sets of embeddings in, one report and a closer per direction out.

The flow, each step a function of its own room:

    open -> summarise (census, moments; streaming) -> refuse or warn -> sample rows
      -> gap report
      -> per direction: closers -> clean search -> stress grid -> radii -> recommendation
      -> mixed search -> one plain dict (``report.json``, schema 1)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from isthmus._arrays import unit
from isthmus._version import __version__
from isthmus.cautions import cautions_of_both
from isthmus.closers import fit, hull_rank, off_hull
from isthmus.embeddings import Caution, Census, check_same_space, decide_paired
from isthmus.engines.local import Executor
from isthmus.errors import OptionError, ShapeError
from isthmus.gap import SAMPLE_ROWS, measure_gap
from isthmus.io import RowSource
from isthmus.maps import Closer
from isthmus.mixed import mixed_share
from isthmus.moments import Moments, PairMoments
from isthmus.perturb.noise import CONVENTIONS
from isthmus.picture import gap_picture
from isthmus.predict import candidate_radius, query_radius
from isthmus.recommend import DEFAULT_FLOOR, recommend
from isthmus.scores import Ranking, check_score, top1
from isthmus.stats import quantiles, wilson
from isthmus.stress import (
    GAUSSIAN_LEVELS,
    Problem,
    Result,
    default_cells,
    grid,
    plays_of,
    row_of,
)
from isthmus.summarise import opened, summarise
from isthmus.tasks import Truth, no_truth, retrieval_by_pairs, retrieval_by_relevance, run
from isthmus.tasks import zero_shot as zero_shot_truth

SCHEMA = 1
MAX_QUERIES = 2000
MAX_CANDIDATES = 10_000
TRIALS = 60
TRIAL_PRODUCTS = 60 * 500 * 500
LEAST_TRIALS = 8
VARIANCES = (0.9, 0.95, 0.99, 0.999, 1.0)

Progress = Callable[[str, int, int], None]
"""Called with (what, done, all)."""


@dataclass(frozen=True)
class AuditOptions:
    """Everything an audit may be told. The defaults are the contract's default grid."""

    names: tuple[str, str] = ("a", "b")
    paired: bool | None = None
    score: str = "cosine"
    seed: int = 0
    levels: tuple[float, ...] = GAUSSIAN_LEVELS
    convention: str = "total"
    trials: int | None = None
    floor: float = DEFAULT_FLOOR
    max_queries: int = MAX_QUERIES
    max_candidates: int = MAX_CANDIDATES
    fit_share: float = 0.0

    def __post_init__(self) -> None:
        check_score(self.score)
        if self.convention not in CONVENTIONS:
            raise OptionError(
                f"level convention '{self.convention}' is unknown; choose one of "
                f"{', '.join(CONVENTIONS)}"
            )
        if not 0 <= self.fit_share < 1:
            raise OptionError(f"fit share {self.fit_share}; expected 0 (all rows) to below 1")
        if not 0 <= self.floor <= 1:
            raise OptionError(f"floor {self.floor} is not a share; expected 0 to 1")
        if self.trials is not None and self.trials < 1:
            raise OptionError(f"{self.trials} trials; expected at least 1")
        if min(self.max_queries, self.max_candidates) < 2:
            raise OptionError("at least 2 queries and 2 candidates are needed to see a flip")

    @property
    def unit_rows(self) -> bool:
        """Rows are normalised first: under cosine only."""
        return self.score == "cosine"


@dataclass(frozen=True, eq=False)
class Audit:
    """The report as a plain dict, and the recommended closer of each direction."""

    report: dict[str, Any]
    closers: dict[str, Closer]
    results: dict[str, list[Result]] = field(repr=False, default_factory=dict)


def audit(
    a: Any,
    b: Any,
    *,
    labels: Any = None,
    relevance: Any = None,
    options: AuditOptions | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure, explain, stress and recommend.

    Args:
        a, b: file names (``FILE``, ``FILE:KEY``, folder, glob) or (n, d) and (m, d) arrays.
        labels: (n,) integers: b holds class texts and row i of a belongs to class ``labels[i]``.
        relevance: (r, 2) integers: row of a, row of b; many to many.
        options: see :class:`AuditOptions`.
        executor: maps over shards; processes of this machine by default.
        progress: called with (what, done, all).

    Returns:
        The report of section "report.json" of ``docs/files.md`` and the recommended closers.

    Raises:
        IsthmusError: any of its kinds, when the input is refused.
    """
    opts = options or AuditOptions()
    say = progress or (lambda what, done, of: None)
    sides = _open_sides(a, b, labels, relevance, opts, executor, say)
    gap, cautions = _gap(sides, opts, say)
    directions, closers, results = [], {}, {}
    for direction in ("a_to_b", "b_to_a"):
        entry, closer, cells = _direction(sides, direction, opts, say)
        directions.append(entry)
        closers[direction] = closer
        results[direction] = cells
    report = {
        "schema": SCHEMA,
        "isthmus": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": opts.seed,
        "inputs": {
            "a": _input(opts.names[0], sides.a, sides.census_a),
            "b": _input(opts.names[1], sides.b, sides.census_b),
            "paired": sides.paired,
            "labels": sides.truth.task == "zero-shot",
            "unit_rows": opts.unit_rows,
            "fit_rows": "all" if not opts.fit_share else opts.fit_share,
        },
        "gap": gap,
        "picture": _picture(sides, opts),
        "directions": directions,
        "mixed": mixed_share(
            sides.rows_a, sides.rows_b, sides.moments_a, sides.moments_b, paired=sides.paired
        ),
        "warnings": [c.as_dict() for c in cautions + _fit_cautions(opts)],
    }
    return Audit(report, closers, results)


@dataclass(frozen=True, eq=False)
class _Sides:
    """Both inputs after the door: sources, censuses, moments, truth and sampled rows."""

    a: RowSource
    b: RowSource
    census_a: Census
    census_b: Census
    moments_a: Moments
    moments_b: Moments
    pair: PairMoments | None
    paired: bool
    truth: Truth
    rows_a: np.ndarray
    rows_b: np.ndarray
    places_a: np.ndarray
    places_b: np.ndarray


def _open_sides(
    a: Any,
    b: Any,
    labels: Any,
    relevance: Any,
    opts: AuditOptions,
    executor: Executor | None,
    say: Progress,
) -> _Sides:
    first, second = opened(a, opts.names[0]), opened(b, opts.names[1])
    check_same_space(opts.names[0], first.dim, opts.names[1], second.dim)
    if labels is not None and relevance is not None:
        raise OptionError("both labels and relevance were given; one of them says what is right")
    judged = labels is not None or relevance is not None
    if judged and opts.paired:
        raise OptionError("paired rows and labels or relevance were both given; drop one")
    paired = (
        False
        if judged
        else decide_paired(opts.names[0], first.rows, opts.names[1], second.rows, opts.paired)
    )
    truth = _truth(labels, relevance, paired, first.rows, second.rows)
    watch = {"unit_rows": opts.unit_rows, "executor": executor}

    def step(done: int, of: int) -> None:
        say("moments", done, of)

    if paired:
        both = summarise(first, second, on_partition=step, **watch)  # type: ignore[arg-type]
        assert both.pair is not None
        assert both.census_b is not None
        census_a, census_b, pair = both.census_a, both.census_b, both.pair
        moments_a, moments_b = pair.a, pair.b
    else:
        one = summarise(first, on_partition=step, **watch)  # type: ignore[arg-type]
        two = summarise(second, on_partition=step, **watch)  # type: ignore[arg-type]
        census_a, census_b, pair = one.census_a, two.census_a, None
        moments_a, moments_b = one.a, two.a
    census_a.refuse(opts.names[0], cosine=opts.unit_rows)
    census_b.refuse(opts.names[1], cosine=opts.unit_rows)
    places_a, places_b = _places(truth, opts)
    rows_a = _rows(first, places_a, opts.unit_rows)
    rows_b = _rows(second, places_b, opts.unit_rows)
    return _Sides(
        first,
        second,
        census_a,
        census_b,
        moments_a,
        moments_b,
        pair,
        paired,
        truth.restricted(places_a, places_b),
        rows_a,
        rows_b,
        places_a,
        places_b,
    )


def _truth(labels: Any, relevance: Any, paired: bool, n: int, m: int) -> Truth:
    if labels is not None:
        return zero_shot_truth(labels, n, m)
    if relevance is not None:
        return retrieval_by_relevance(relevance, n, m)
    return retrieval_by_pairs(n, m) if paired else no_truth(n, m)


def _places(truth: Truth, opts: AuditOptions) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers kept of each side: all, or a seeded sample that keeps truths together."""
    rng = np.random.default_rng([opts.seed, 0x5A3])
    n, m, most = truth.queries, truth.candidates, opts.max_candidates
    if n <= most and m <= most:
        return np.arange(n), np.arange(m)
    kept_a = np.sort(rng.permutation(n)[:most]) if n > most else np.arange(n)
    if m <= most:
        return kept_a, np.arange(m)
    wanted = np.unique(truth.pairs[np.isin(truth.pairs[:, 0], kept_a), 1])
    others = np.setdiff1d(rng.permutation(m)[: 2 * most], wanted, assume_unique=True)
    rng.shuffle(others)
    rng.shuffle(wanted)
    return kept_a, np.sort(np.concatenate([wanted, others])[:most])


def _rows(source: RowSource, places: np.ndarray, unit_rows: bool) -> np.ndarray:
    rows = source.read() if len(places) == source.rows else source.take(places)
    rows = rows.astype(np.float64)
    return np.asarray(unit(rows)) if unit_rows else rows


def _input(name: str, source: RowSource, census: Census) -> dict[str, Any]:
    return {
        "name": name,
        "source": source.name,
        "rows": census.rows,
        "dim": source.dim,
        "dtype": source.dtype,
        "norm_mean": census.norm_mean,
        "norm_std": census.norm_std,
        "duplicates": census.duplicates,
    }


def _gap(sides: _Sides, opts: AuditOptions, say: Progress) -> tuple[dict[str, Any], list[Caution]]:
    say("gap", 0, 1)
    size_a = min(len(sides.rows_a), SAMPLE_ROWS)
    size_b = min(len(sides.rows_b), SAMPLE_ROWS)
    rng = np.random.default_rng([opts.seed, 0x6A9])
    together = sides.paired and np.array_equal(sides.places_a, sides.places_b)
    pick_a = np.sort(rng.permutation(len(sides.rows_a))[:size_a])
    pick_b = pick_a if together else np.sort(rng.permutation(len(sides.rows_b))[:size_b])
    sample = sides.rows_a[pick_a], sides.rows_b[pick_b]
    report = measure_gap(
        sides.moments_a,
        sides.moments_b,
        sides.pair,
        *sample,
        paired=together,
        unit_rows=opts.unit_rows,
        rows_a=sides.census_a.rows,
        rows_b=sides.census_b.rows,
        seed=opts.seed,
    )
    cautions = sides.census_a.cautions(opts.names[0]) + sides.census_b.cautions(opts.names[1])
    if opts.unit_rows:
        cautions += cautions_of_both(
            opts.names,
            report,
            sides.moments_a,
            sides.moments_b,
            sides.pair,
            sample if together else None,
        )
    say("gap", 1, 1)
    return report.as_dict(), cautions


def _picture(sides: _Sides, opts: AuditOptions) -> dict[str, Any]:
    """Two coordinates for a few hundred rows of each side."""
    return gap_picture(
        sides.rows_a,
        sides.rows_b,
        sides.moments_a.mean,
        sides.moments_b.mean,
        seed=opts.seed,
        paired=sides.paired and np.array_equal(sides.places_a, sides.places_b),
    )


def _fit_cautions(opts: AuditOptions) -> list[Caution]:
    if opts.fit_share:
        return []
    return [
        Caution(
            "fit-equals-score",
            "the closers' means and ranges of directions were fitted on the rows they are scored "
            "on (guarantees hold for any fit; flips removed may be slightly optimistic); "
            "--fit-share 0.5 scores queries the fit has not seen",
        )
    ]


def _direction(
    sides: _Sides, direction: str, opts: AuditOptions, say: Progress
) -> tuple[dict[str, Any], Closer, list[Result]]:
    forward = direction == "a_to_b"
    problem, query_moments = _problem(sides, forward, opts)
    candidate_moments = sides.moments_b if forward else sides.moments_a
    closers = default_closers(query_moments, candidate_moments, opts)
    cells = default_cells(opts.levels, opts.convention)
    trials = opts.trials or trials_for(len(problem.queries), len(problem.candidates))
    done = 0

    def tick(_: Any) -> None:
        nonlocal done
        done += 1
        say(f"stress {direction}", done, len(cells))

    results = grid(
        problem,
        closers,
        cells,
        trials=trials,
        control_trials=max(1, trials // 3),
        seed=opts.seed,
        on_cell=tick,
    )
    chosen = recommend(results, score=opts.score, floor=opts.floor, seed=opts.seed)
    closer = next(c for c in closers if c.name == chosen.closer and c.score == chosen.score)
    plain = Ranking.of(problem.queries, problem.candidates, opts.score)
    entry = {
        "query": "a" if forward else "b",
        "candidate": "b" if forward else "a",
        "query_name": opts.names[0 if forward else 1],
        "candidate_name": opts.names[1 if forward else 0],
        "task": problem.truth.task,
        "score": opts.score,
        "queries": len(problem.queries),
        "candidates": len(problem.candidates),
        "clean": _clean(plain, problem.truth),
        "closable": closable(problem, query_moments, candidate_moments, opts),
        "closers": [_closer_entry(r) for r in _first_of_each(results)],
        "closing_curve": closing_curve(problem, query_moments, candidate_moments, opts),
        "stress": [row_of(problem, r, opts.seed) for r in results],
        "radius": _radius(problem, closer, opts.score),
        "recommendation": chosen.as_dict(),
    }
    return entry, closer, results


def _problem(sides: _Sides, forward: bool, opts: AuditOptions) -> tuple[Problem, Moments]:
    """One direction's problem, and the moments its queries' closers are fitted on."""
    queries, candidates = (sides.rows_a, sides.rows_b) if forward else (sides.rows_b, sides.rows_a)
    truth = sides.truth if forward else sides.truth.reversed()
    moments = sides.moments_a if forward else sides.moments_b
    rng = np.random.default_rng([opts.seed, 0x0D1])
    order = rng.permutation(len(queries))
    scored = np.sort(order)
    if opts.fit_share:
        cut = max(2, round(opts.fit_share * len(queries)))
        if len(queries) - cut < 2:
            raise ShapeError(
                f"fit share {opts.fit_share} of {len(queries)} queries leaves "
                f"{len(queries) - cut} to score; give more rows or a smaller share"
            )
        moments = Moments.of(queries[np.sort(order[:cut])], precise=True)
        scored = np.sort(order[cut:])
    if len(scored) > opts.max_queries:
        scored = np.sort(rng.permutation(scored)[: opts.max_queries])
    half = np.sort(rng.permutation(len(candidates))[: max(1, len(candidates) // 2)])
    query_half = np.sort(rng.permutation(len(scored))[: max(1, len(scored) // 2)])
    every = np.arange(len(candidates))
    problem = Problem(
        "a_to_b" if forward else "b_to_a",
        queries[scored],
        candidates,
        truth.restricted(scored, every),
        half,
        query_half,
    )
    return problem, moments


def default_closers(queries: Moments, candidates: Moments, opts: AuditOptions) -> list[Closer]:
    """The default grid's closers under its own scores, plain dot beside them as a baseline."""
    unit_in = opts.unit_rows
    plain = ("cosine", "euclidean", "dot") if unit_in else ("euclidean", "dot")
    if opts.score not in plain:
        plain = (opts.score, *plain)
    closers = [fit("none", queries, candidates, score=s, unit_in=unit_in) for s in plain]
    moved_score = "cosine" if unit_in else opts.score
    return [
        *closers,
        fit(
            "mean-shift",
            queries,
            candidates,
            score=moved_score,
            unit_in=unit_in,
            renormalise=unit_in,
        ),
        fit("orthogonal-shift", queries, candidates, unit_in=unit_in),
        fit("center-queries", queries, candidates, unit_in=unit_in),
    ]


def trials_for(queries: int, candidates: int) -> int:
    """60 noise draws up to 500 × 500, then fewer as the product grows, at least 8."""
    return int(np.clip(TRIAL_PRODUCTS / (queries * candidates), LEAST_TRIALS, TRIALS))


def _first_of_each(results: Sequence[Result]) -> Iterator[Result]:
    seen = set()
    for result in results:
        if id(result.play) not in seen:
            seen.add(id(result.play))
            yield result


def _closer_entry(result: Result) -> dict[str, Any]:
    play = result.play
    share = wilson(int(play.clean_agreement.sum()), len(play.clean_agreement))
    return {
        "name": play.closer.name,
        "score": play.score,
        "strength": play.closer.strength,
        "guarantee": play.closer.guarantee.as_dict(),
        "clean_agreement": share.mean,
        "clean_agreement_ci": [share.low, share.high],
        "facts": dict(play.closer.facts),
    }


def _clean(plain: Ranking, truth: Truth) -> dict[str, Any]:
    outcome = run(plain, truth)
    clean: dict[str, Any] = {"ties": int((outcome.ties > 0).sum()), "judged": 0}
    if not truth.judged.any():
        return clean | {
            "accuracy": None,
            "recall@1": None,
            "recall@5": None,
            "recall@10": None,
            "why_null": "no pairs, labels or relevance say what is right",
        }
    clean["judged"] = int(truth.judged.sum())
    for k in (1, 5, 10):
        hits = outcome.hit(k)
        share = wilson(int(hits.sum()), len(hits))
        clean[f"recall@{k}"] = share.mean
        clean[f"recall@{k}_ci"] = [share.low, share.high]
    clean["accuracy"] = clean["recall@1"]
    return clean


def closable(
    problem: Problem, queries: Moments, candidates: Moments, opts: AuditOptions
) -> dict[str, Any]:
    """How much of |g|² can be closed exactly, and what closing more would cost in answers."""
    gap = queries.mean - candidates.mean
    total = float(gap @ gap)
    before = top1(Ranking.of(problem.queries, problem.candidates, "euclidean"))
    curve = []
    for variance in VARIANCES:
        rank = hull_rank(candidates, variance)
        part = off_hull(candidates, gap, rank)
        moved = Ranking.of(problem.queries, problem.candidates + part, "euclidean")
        curve.append(
            {
                "variance_kept": variance,
                "rank": rank,
                "share": float(part @ part) / total if total else 0.0,
                "clean_agreement": float((top1(moved) == before).mean()),
            }
        )
    return {
        "exact_share": curve[-1]["share"],
        "rank": curve[-1]["rank"],
        "dim": queries.dim,
        "curve": curve,
    }


STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


def closing_curve(
    problem: Problem, queries: Moments, candidates: Moments, opts: AuditOptions
) -> list[dict[str, Any]]:
    """Each closer at growing strength: what closing alone does to answers and accuracy."""
    fitted = []
    for name in ("mean-shift", "orthogonal-shift", "center-queries"):
        given: dict[str, Any] = {"unit_in": opts.unit_rows}
        if name == "mean-shift":
            given |= {"score": opts.score, "renormalise": opts.unit_rows}
        fitted += [fit(name, queries, candidates, strength=s, **given) for s in STRENGTHS]
    judged = problem.truth.judged
    points = []
    for play in plays_of(problem, fitted):
        correct = problem.truth.correct(play.clean_top1)[judged]
        points.append(
            {
                "closer": play.closer.name,
                "strength": play.closer.strength,
                "gap": float(
                    np.linalg.norm(play.queries.mean(axis=0) - play.candidates.mean(axis=0))
                ),
                "clean_agreement": float(play.clean_agreement.mean()),
                "accuracy": float(correct.mean()) if len(correct) else None,
            }
        )
    return points


def _radius(problem: Problem, closer: Closer, own_score: str) -> dict[str, Any]:
    """Certified radii before and after the recommended closer, as quantiles over queries.

    Before: plain search, euclidean where the user searches by cosine (unit rows, the paper's
    case), else by the user's own score. After: the closer's score.
    """
    plain = "euclidean" if own_score == "cosine" else own_score
    before = Ranking.of(problem.queries, problem.candidates, plain)
    after = plays_of(problem, [closer])[0]
    score = "dot" if after.score == "cosine" else after.score
    ranking = Ranking.of(after.queries, after.candidates, score, after.bias)
    return {
        "query_l2": {
            "before": quantiles(query_radius(before)),
            "after": quantiles(query_radius(ranking)),
        },
        "candidate_l2": {
            "before": quantiles(candidate_radius(before, plain)),
            "after": quantiles(candidate_radius(ranking, score)),
        },
        "score": {"before": plain, "after": score},
    }
