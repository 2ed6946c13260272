"""One direction: closers, clean search, stress, curves, radii, controls, recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.closers.closer import Closer
from isthmus.closers.controls import controls
from isthmus.closers.registry import METHODS
from isthmus.core.levels import total_variance, usual_convention
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.core.statistics import quantiles, wilson
from isthmus.data.moments import Moments
from isthmus.metrics.live_sample import live_sample
from isthmus.robustness import (
    Perturbation,
    Result,
    closed_answers,
    closed_searches,
    default_perturbations,
    grid,
    measure_perturbation,
    row_of,
    rows_of,
    trials_for,
)
from isthmus.robustness.mixed import ranked_gain
from isthmus.search.outcomes import outcome_of
from isthmus.search.shared import Moved
from isthmus.search.task import RetrievalTask
from isthmus.theory.curves import Curve, curves_over
from isthmus.theory.radii import certified_radii
from isthmus.theory.rows import moved_search
from isthmus.workflows.audits.options import AuditOptions
from isthmus.workflows.audits.scores import by_score
from isthmus.workflows.audits.thresholds import thresholds_of
from isthmus.workflows.recommendation.deciding import ROUNDING
from isthmus.workflows.recommendation.verdicts import Verdict, verdict_of

VARIANCES = (0.9, 0.95, 0.99, 0.999, 1.0)
RECALL_AT = (1, 5, 10)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
UNRECOMMENDED = "center-queries"
"""What controls are about where the recommendation is to do nothing."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The queries that are scored, and the moments that closers are fitted on."""

    task: RetrievalTask
    queries: Moments
    candidates: Moments
    opts: AuditOptions

    @classmethod
    def of(cls, whole: RetrievalTask, opts: AuditOptions) -> Direction:
        """The scored queries of a direction, by the seed of the options."""
        rng = stream("audit.split", opts.seed)
        task, moments = whole.scored(opts.fit_share, opts.max_queries, rng)
        return cls(task, moments, whole.candidate_moments, opts)

    @property
    def convention(self) -> str:
        """What a noise level is."""
        return self.opts.convention or usual_convention(self.task.unit_rows)

    @property
    def middle_noise(self) -> tuple[float, float]:
        """The middle level, and what it is as E‖ε‖² of a candidate's noise."""
        level, task = sorted(self.opts.levels)[len(self.opts.levels) // 2], self.task
        sizes = task.candidates.shape[1], task.candidate_variance, task.candidate_square_norm
        return level, total_variance(level, self.convention, *sizes)

    @property
    def trials(self) -> int:
        """Noise draws where candidates alone are hit; a third of it elsewhere."""
        return self.opts.trials or trials_for(len(self.task.queries), len(self.task.candidates))

    @property
    def control_trials(self) -> int:
        """Noise draws on queries or both, and of controls."""
        return max(1, self.trials // 3)

    def fit(self, method: str, score: str | None = None, **options: Any) -> Closer:
        """One closer; None takes its own score."""
        options["normalised"] = self.task.normalised
        return fit(method, self.queries, self.candidates, score=score, **options)

    def closers(self, recommended: Closer | None = None) -> list[Closer]:
        """The default grid's closers under their own scores, plain search as a baseline, and the
        recommended one."""
        plain = ("cosine",) * self.task.normalised + ("euclidean", "dot")
        usual = [
            *(self.fit("none", score) for score in plain),
            self.fit("mean-shift", self.opts.score),
            self.fit("orthogonal-shift"),
            self.fit("center-queries"),
        ]
        known = {(c.name, c.score) for c in usual}
        more = recommended is not None and (recommended.name, recommended.score) not in known
        return usual + [recommended] * more  # type: ignore[list-item]

    def recommended(self, verdict: Verdict) -> Closer:
        """The verdict's closer; where its guarantee holds for any fit, of all rows' moments."""
        chosen = verdict.recommendation
        if verdict.closer is not None and METHODS[verdict.closer.name].guarantee != "exact":
            return verdict.closer
        return self.fit(chosen["closer"], chosen["score"], **chosen["options"])


def direction_part(
    whole: RetrievalTask, opts: AuditOptions, say: Progress
) -> tuple[dict[str, Any], Closer, list[Result]]:
    """One entry of ``directions``, its recommended closer, and every result behind its rows."""
    one = Direction.of(whole, opts)
    task = one.task
    called = opts.direction_name(task.direction)
    perturbations = default_perturbations(opts.levels, one.convention)
    done = 0

    def tick(_: Any) -> None:
        nonlocal done
        done += 1
        say(f"stress {called}", done, len(perturbations))

    verdict = verdict_of(task, opts.rules, lambda _, *done: say(f"verdict {called}", *done))
    closer = one.recommended(verdict)
    results = grid(
        task,
        one.closers(closer),
        perturbations,
        trials=one.trials,
        control_trials=one.control_trials,
        seed=opts.seed,
        by_law=opts.trials is None,
        on_perturbation=tick,
    )
    roles = dict(zip("ab", opts.names, strict=True))
    query, candidate = task.direction[0], task.direction[-1]
    entry = {
        "query": query,
        "candidate": candidate,
        "query_name": roles[query],
        "candidate_name": roles[candidate],
        "task": task.relevance.task,
        "score": opts.score,
        "queries": len(task.queries),
        "candidates": len(task.candidates),
        "clean": _clean(task),
        "by_score": by_score(task),
        "live": _live(one),
        "verdict": verdict.entries,
        "verdict_queries": verdict.queries,
        "ruler": verdict.ruler,
        "flipped": verdict.flipped,
        "thresholds": thresholds_of(task),
        "changes": [change.to_dict() for change in verdict.changes],
        "changes_sentence": verdict.changes_sentence,
        "closable": closable(one),
        "closers": [_closer_entry(r) for r in _first_of_each(results)],
        "closing_curve": closing_curve(one),
        "stress": [row_of(task, r, opts.seed) for r in results],
        "controls": control_rows(one, closer, verdict.recommendation["options"]),
        "radius": _radius(task, closer),
        "recommendation": verdict.recommendation
        | {"rejected": rejected(task, results, opts.floor)},
    }
    task.facts.forget()  # products and copies of rows, which the results would keep alive
    return entry, closer, results


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


def _live(one: Direction) -> dict[str, Any]:
    """Rows that the page shakes: with each query its clean first answer by inner product."""
    task = one.task
    first = task.today("dot")
    means = (one.queries.mean, one.candidates.mean)
    found = live_sample(task.queries, task.candidates, first, *means, seed=one.opts.seed)
    for role, given in (("query", task.query_input), ("candidate", task.candidate_input)):
        ids = None if given is None else given.ids
        found[f"{role}_ids"] = None if ids is None else ids[found[f"{role}_rows"]].tolist()
    return found


def rejected(task: RetrievalTask, results: Sequence[Result], floor: float) -> list[dict[str, Any]]:
    """Closers of the grid that keep fewer of today's answers than the floor, with their flips
    under noise on candidates."""
    today, found = task.today(), []
    for result in _first_of_each(results):
        search = result.search
        kept = float((search.clean_top1 == today).mean())
        if search.closer.name != "none" and kept < floor - ROUNDING:
            flips = [
                1 - r.kept.mean()
                for r in results
                if r.search is search
                and (r.perturbation.kind, r.perturbation.target) == ("noise", "candidates")
            ]
            who = {"closer": search.closer.name, "score": search.score, "clean_agreement": kept}
            why = f"changes {1 - kept:.1%} of the clean answers"
            found.append({**who, "flips": float(np.mean(flips)), "why": why})
    return found


def _clean(task: RetrievalTask) -> dict[str, Any]:
    """Plain search by the user's score: accuracy, recall and ties, without any disturbance."""
    outcome = outcome_of(task.plain(), task.relevance, task.candidate_items, task.product)
    judged = task.relevance.judged
    clean: dict[str, Any] = {"ties": int((outcome.ties > 0).sum()), "judged": int(judged.sum())}
    names = [f"recall@{k}" for k in RECALL_AT]
    if not judged.any():
        why = "no pairs, labels or relevance say what is right"
        return clean | dict.fromkeys(["accuracy", *names]) | {"why_null": why}
    for name, k in zip(names, RECALL_AT, strict=True):
        hits = outcome.hit(k)
        share = wilson(int(hits.sum()), len(hits))
        clean |= {name: share.mean, f"{name}_ci": [share.low, share.high]}
    if task.relevance.grades is not None:
        clean["ndcg@10"] = float(np.nanmean(ranked_gain(task)))
    return clean | {"accuracy": clean["recall@1"]}


def closable(one: Direction) -> dict[str, Any]:
    """How much of |g|² can be closed exactly, and what closing more would cost in answers."""
    before = one.task.today("euclidean")
    closers = [one.fit("orthogonal-shift", "euclidean", variance=share) for share in VARIANCES]
    curve = [
        {
            "variance_kept": variance,
            "rank": int(closer.facts["rank"]),
            "share": closer.facts["share"],
            "clean_agreement": float((moved == before).mean()),
        }
        for variance, closer, moved in zip(
            VARIANCES, closers, closed_answers(one.task, closers), strict=True
        )
    ]
    return {
        "exact_share": curve[-1]["share"],
        "rank": curve[-1]["rank"],
        "dim": one.queries.dim,
        "curve": curve,
    }


def closing_curve(one: Direction) -> list[dict[str, Any]]:
    """Each closer at growing strength: what closing alone does to answers and accuracy, and the
    consistency that is predicted under noise of the middle level."""
    scores = {"mean-shift": one.opts.score, "orthogonal-shift": None, "center-queries": None}
    return [
        point
        for name, score in scores.items()
        for point in _points(one, [one.fit(name, score, strength=s) for s in STRENGTHS])
    ]


def _points(one: Direction, closers: Sequence[Closer]) -> Iterator[dict[str, Any]]:
    """Those of one method, whose moved rows are held no longer than they are looked at."""
    task, relevance = one.task, one.task.relevance
    searches = closed_searches(task, closers)
    curves: Sequence[Curve | None] = [None] * len(closers)
    if task.candidate_items is None and task.lists is None:
        moves = [(search.clean, search.moved) for search in searches]
        curves = curves_over(task.product, moves, [one.middle_noise[1]])
    for search, curve in zip(searches, curves, strict=True):
        correct = relevance.correct(search.clean_top1)[relevance.judged]
        apart = search.queries.mean(axis=0) - search.candidates.mean(axis=0)
        yield {
            "closer": search.closer.name,
            "strength": search.closer.strength,
            "gap": float(np.linalg.norm(apart)),
            "clean_agreement": float(search.clean_agreement.mean()),
            "accuracy": float(correct.mean()) if len(correct) else None,
            "predicted_consistency": None if curve is None else float(curve.value[0]),
        }


def control_rows(
    one: Direction, closer: Closer, options: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Was it the gap that mattered, and not just any move? Rows at the middle level, noise on
    candidates, each with its gain over plain search.

    The closer itself, closed along a random vector of the same length, along its own vector
    shuffled or flipped, half as far the wrong way and half too far. Then every one that rescales
    rows at *matched noise-to-spread* (convention ``spread``): noise that is the same share of the
    stored candidates' variance, so that a closer cannot win by stretching them.
    """
    task, opts = one.task, one.opts
    name, own = closer.name, closer
    given: dict[str, Any] = {"score": closer.score, **(options or {})}
    if name == "none":
        name, given = UNRECOMMENDED, {"score": None}
        own = one.fit(name)
    stretching = one.fit("mean-shift", opts.score)
    given["normalised"] = task.normalised
    others = controls(name, one.queries, one.candidates, seed=opts.seed, **given)
    made = [one.fit("none", s) for s in dict.fromkeys([own.score, stretching.score])]
    searches = closed_searches(task, [*made, own, stretching, *others])
    plain, (mine, stretched, *moved) = searches[: len(made)], searches[len(made) :]

    level, total = one.middle_noise
    share = total / task.candidate_variance if task.candidate_variance else 0.0
    compared = (
        (Perturbation("gaussian", "candidates", level, one.convention), [plain[0], mine, *moved]),
        (Perturbation("gaussian", "candidates", share, "spread"), [*plain, stretched, mine]),
    )
    rows = []
    for perturbation, some in compared:
        results = measure_perturbation(
            task,
            some,
            perturbation,
            trials=one.control_trials,
            seed=opts.seed,
            by_law=opts.trials is None,
        )
        rows += rows_of(task, results, opts.seed)
    return rows


def _radius(task: RetrievalTask, closer: Closer) -> dict[str, Any]:
    """Certified radii before and after the recommended closer, as quantiles over queries.

    Before: plain search, euclidean where the user searches by cosine (unit rows, the paper's
    case), else by the user's own score. After: the closer's score.
    """
    plain = "euclidean" if task.score == "cosine" else task.score
    before, after = task.plain(plain), closed_searches(task, [closer])[0]
    ranking, moved = after.clean, after.moved
    if after.score == "cosine":
        ranking = ranking.under("dot")
        moved = moved_search(task.product, closer, ranking, normalised=task.normalised)
    own_rows = task.candidate_items is None and task.lists is None  # else answers are of others
    found = certified_radii(
        (before, task.today(plain) if own_rows else None, Moved.of(task.product, before)),
        (ranking, after.clean_top1 if own_rows else None, moved),
        product=task.product,
        items=task.candidate_items,
    )
    radii = dict(zip(("before", "after"), found, strict=True))
    return {
        "query_l2": {name: quantiles(one.query) for name, one in radii.items()},
        "candidate_l2": {name: quantiles(one.candidate) for name, one in radii.items()},
        "score": {"before": plain, "after": ranking.score},
        "certified": {name: one.share for name, one in radii.items()},
    }
