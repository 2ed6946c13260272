"""One direction: closers, clean search, stress, curves, radii, recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from isthmus.closers import fit, hull_rank, off_hull
from isthmus.closers.maps import Closer
from isthmus.closers.registry import METHODS
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.core.statistics import quantiles, wilson
from isthmus.data.moments import Moments
from isthmus.errors import ShapeError
from isthmus.robustness import Result, closed_searches, default_perturbations, grid, row_of
from isthmus.search.relevance import Relevance, outcome_of
from isthmus.search.scores import Ranking, top1
from isthmus.search.task import RetrievalTask
from isthmus.theory.radii import candidate_radius, query_radius
from isthmus.workflows.audits.control_part import control_part
from isthmus.workflows.audits.options import (
    LEAST_TRIALS,
    TRIAL_PRODUCTS,
    TRIALS,
    VARIANCES,
    AuditOptions,
)
from isthmus.workflows.audits.sides import Sides
from isthmus.workflows.recommendation import recommend


def direction_part(
    sides: Sides, direction: str, opts: AuditOptions, say: Progress
) -> tuple[dict[str, Any], Closer, list[Result]]:
    """One entry of ``directions``, its recommended closer, and every result behind its rows."""
    forward = direction == "a_to_b"
    task, query_moments = task_of(sides, forward, opts)
    candidate_moments = sides.moments_b if forward else sides.moments_a
    closers = default_closers(query_moments, candidate_moments, opts)
    perturbations = default_perturbations(opts.levels, opts.convention)
    trials = opts.trials or trials_for(len(task.queries), len(task.candidates))
    done = 0

    def tick(_: Any) -> None:
        nonlocal done
        done += 1
        say(f"stress {direction}", done, len(perturbations))

    results = grid(
        task,
        closers,
        perturbations,
        trials=trials,
        control_trials=max(1, trials // 3),
        seed=opts.seed,
        on_perturbation=tick,
    )
    chosen = recommend(results, score=opts.score, floor=opts.floor, seed=opts.seed)
    closer = next(c for c in closers if c.name == chosen.closer and c.score == chosen.score)
    plain = Ranking.of(task.queries, task.candidates, opts.score)
    entry = {
        "query": "a" if forward else "b",
        "candidate": "b" if forward else "a",
        "query_name": opts.names[0 if forward else 1],
        "candidate_name": opts.names[1 if forward else 0],
        "task": task.relevance.task,
        "score": opts.score,
        "queries": len(task.queries),
        "candidates": len(task.candidates),
        "clean": _clean(plain, task.relevance),
        "closable": closable(task, query_moments, candidate_moments, opts),
        "closers": [_closer_entry(r) for r in _first_of_each(results)],
        "closing_curve": closing_curve(task, query_moments, candidate_moments, opts),
        "stress": [row_of(task, r, opts.seed) for r in results],
        "controls": control_part(
            task, query_moments, candidate_moments, closer, opts, max(1, trials // 3)
        ),
        "radius": _radius(task, closer, opts.score),
        "recommendation": chosen.to_dict(),
    }
    return entry, closer, results


def task_of(sides: Sides, forward: bool, opts: AuditOptions) -> tuple[RetrievalTask, Moments]:
    """One direction's task, and the moments its queries' closers are fitted on."""
    queries, candidates = (sides.rows_a, sides.rows_b) if forward else (sides.rows_b, sides.rows_a)
    truth = sides.truth if forward else sides.truth.reversed()
    moments = sides.moments_a if forward else sides.moments_b
    rng = stream("audit.split", opts.seed)
    order = rng.permutation(len(queries))
    scored = np.sort(order)
    if opts.fit_share:
        cut = max(2, round(opts.fit_share * len(queries)))
        if len(queries) - cut < 2:
            raise ShapeError(
                f"fit share {opts.fit_share} of {len(queries)} queries leaves "
                f"{len(queries) - cut} to score; give more rows or a smaller share"
            )
        kept = queries[np.sort(order[:cut])]
        moments = Moments.of(kept, precise=True, normalised=opts.unit_rows)
        scored = np.sort(order[cut:])
    if len(scored) > opts.max_queries:
        scored = np.sort(rng.permutation(scored)[: opts.max_queries])
    every = np.arange(len(candidates))
    task = RetrievalTask(
        queries[scored],
        candidates,
        truth.restricted(scored, every),
        opts.score,
        opts.unit_rows,
        direction="a_to_b" if forward else "b_to_a",
    )
    return task.calibrated(rng), moments


def default_closers(queries: Moments, candidates: Moments, opts: AuditOptions) -> list[Closer]:
    """The default grid's closers under its own scores, plain dot beside them as a baseline."""
    normalised = opts.unit_rows
    plain = ("cosine", "euclidean", "dot") if normalised else ("euclidean", "dot")
    if opts.score not in plain:
        plain = (opts.score, *plain)
    closers = [fit("none", queries, candidates, score=s, normalised=normalised) for s in plain]
    moved_score = "cosine" if normalised else opts.score
    return [
        *closers,
        fit("mean-shift", queries, candidates, score=moved_score, normalised=normalised),
        fit("orthogonal-shift", queries, candidates, normalised=normalised),
        fit("center-queries", queries, candidates, normalised=normalised),
    ]


def trials_for(queries: int, candidates: int) -> int:
    """60 noise draws up to 500 × 500, then fewer as the product grows, at least 8."""
    return int(np.clip(TRIAL_PRODUCTS / (queries * candidates), LEAST_TRIALS, TRIALS))


def _first_of_each(results: Sequence[Result]) -> Iterator[Result]:
    seen = set()
    for result in results:
        if id(result.search) not in seen:
            seen.add(id(result.search))
            yield result


def _closer_entry(result: Result) -> dict[str, Any]:
    search = result.search
    share = wilson(int(search.clean_agreement.sum()), len(search.clean_agreement))
    return {
        "name": search.closer.name,
        "score": search.score,
        "strength": search.closer.strength,
        "guarantee": search.closer.guarantee.to_dict(),
        "words": METHODS[search.closer.name].words,
        "use": METHODS[search.closer.name].use,
        "clean_agreement": share.mean,
        "clean_agreement_ci": [share.low, share.high],
        "facts": dict(search.closer.facts),
    }


def _clean(plain: Ranking, truth: Relevance) -> dict[str, Any]:
    outcome = outcome_of(plain, truth)
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
    task: RetrievalTask, queries: Moments, candidates: Moments, opts: AuditOptions
) -> dict[str, Any]:
    """How much of |g|² can be closed exactly, and what closing more would cost in answers."""
    gap = queries.mean - candidates.mean
    total = float(gap @ gap)
    before = top1(Ranking.of(task.queries, task.candidates, "euclidean"))
    curve = []
    for variance in VARIANCES:
        rank = hull_rank(candidates, variance)
        part = off_hull(candidates, gap, rank)
        moved = Ranking.of(task.queries, task.candidates + part, "euclidean")
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
    task: RetrievalTask, queries: Moments, candidates: Moments, opts: AuditOptions
) -> list[dict[str, Any]]:
    """Each closer at growing strength: what closing alone does to answers and accuracy."""
    fitted = []
    for name in ("mean-shift", "orthogonal-shift", "center-queries"):
        given: dict[str, Any] = {"normalised": opts.unit_rows}
        if name == "mean-shift":
            given["score"] = opts.score
        fitted += [fit(name, queries, candidates, strength=s, **given) for s in STRENGTHS]
    judged = task.relevance.judged
    points = []
    for search in closed_searches(task, fitted):
        correct = task.relevance.correct(search.clean_top1)[judged]
        points.append(
            {
                "closer": search.closer.name,
                "strength": search.closer.strength,
                "gap": float(
                    np.linalg.norm(search.queries.mean(axis=0) - search.candidates.mean(axis=0))
                ),
                "clean_agreement": float(search.clean_agreement.mean()),
                "accuracy": float(correct.mean()) if len(correct) else None,
            }
        )
    return points


def _radius(task: RetrievalTask, closer: Closer, own_score: str) -> dict[str, Any]:
    """Certified radii before and after the recommended closer, as quantiles over queries.

    Before: plain search, euclidean where the user searches by cosine (unit rows, the paper's
    case), else by the user's own score. After: the closer's score.
    """
    plain = "euclidean" if own_score == "cosine" else own_score
    before = Ranking.of(task.queries, task.candidates, plain)
    after = closed_searches(task, [closer])[0]
    ranking = after.clean.under("dot") if after.score == "cosine" else after.clean
    return {
        "query_l2": {
            "before": quantiles(query_radius(before)),
            "after": quantiles(query_radius(ranking)),
        },
        "candidate_l2": {
            "before": quantiles(candidate_radius(before)),
            "after": quantiles(candidate_radius(ranking)),
        },
        "score": {"before": plain, "after": ranking.score},
    }
