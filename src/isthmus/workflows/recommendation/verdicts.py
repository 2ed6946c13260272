"""The verdict: what closing is worth against what people do to stored vectors, one answer each.

A short, stated list of disturbances, the closers that a search can deploy, and the decision of
:func:`isthmus.recommend`: closers are chosen on one part of the queries, figures are of the other.
Closers are fitted once, at default settings, and every code is searched once for both parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.registry import METHODS
from isthmus.core.levels import usual_convention
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.errors import CloserError, OptionError
from isthmus.robustness import Perturbation
from isthmus.robustness.measurements import FLOAT_BYTES
from isthmus.search.task import RetrievalTask
from isthmus.workflows.recommendation.advice import AccuracyGain
from isthmus.workflows.recommendation.deciding import (
    ROUNDING,
    Decision,
    Rules,
    decide,
    judged,
    ranked,
)
from isthmus.workflows.recommendation.disturbances import (
    CODES,
    FLOAT32,
    NOISE_LEVELS,
    RULER_ONLY,
    Disturbance,
    Disturbed,
    noise_of,
)
from isthmus.workflows.recommendation.flipped import flipped_queries
from isthmus.workflows.recommendation.parts import Measured, Part
from isthmus.workflows.recommendation.recommending import Question, trials_of
from isthmus.workflows.recommendation.settings import FitRows, scores_of
from isthmus.workflows.recommendation.trying import Trials, Tried, accuracy_gains, tried_undisturbed
from isthmus.workflows.recommendation.wording import (
    HELPS,
    NOTHING,
    SAFE,
    cost_in_words,
    on_purpose,
    verdict_sentence,
    why_state,
)

SAFE_SHARE = 0.005
"""Largest share of answers changed that is called safe where no closing clearly helps."""
LEAST_QUERIES = 20
"""Queries below which nothing is tried: both parts would be too small to see anything."""
MOST_QUERIES = 1000
"""Queries judged at most, those of :func:`isthmus.recommend`: half choose, half are reported on."""
STRENGTHS = (1.0, 0.5)
"""Strengths at which closers that change answers are tried for their accuracy."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What an audit says of one direction.

    Attributes:
        entries: one per disturbance: its state, closer, flips and sentence.
        ruler: what disturbs plain search by how much, smallest first.
        changes: closers that change answers on purpose, by accuracy; ``changes_sentence`` says
            what to make of them, None where nothing is known to be right.
        queries: how many were judged, in both parts.
        recommendation: of all entries together, as ``report.json`` has it: the closer
            that most of them name. closer: itself, as it was judged.
        flipped: the judging queries whose answer changes where it was judged; None: not judged.
    """

    entries: list[dict[str, Any]]
    ruler: list[dict[str, Any]]
    changes: list[AccuracyGain]
    changes_sentence: str | None
    recommendation: dict[str, Any]
    queries: int
    closer: Closer | None = None
    flipped: dict[str, Any] | None = None


def verdict_of(
    task: RetrievalTask, rules: Rules, progress: Progress, trials: int | None = None
) -> Verdict:
    """Judge every disturbance of the list on a task in memory.

    Args:
        task: its queries, at most :data:`MOST_QUERIES`, a seeded sample; its candidates, its score.
        rules: the floor, and what may be kept for each candidate.
        progress: called with (what, done, all). trials: noise draws; None: by size.
    """
    if len(task.queries) < LEAST_QUERIES:
        return unjudged(task, rules)
    task = task.sample(MOST_QUERIES, stream("recommend.sample", rules.seed), multiplied=True)
    train, test = task.split(0.5, stream("recommend.split", rules.seed))

    def asked(one: Disturbance, fit_rows: FitRows | None = None) -> Trials:
        found = one.perturbation
        levels = found.level if found.kind == "noise" else None
        question = Question(found.family, levels=levels, trials=trials, seed=rules.seed)
        return replace(trials_of(task, train, test, question.about(task), fit_rows), rules=rules)

    convention = usual_convention(task.unit_rows)
    noises = tuple(noise_of(level, convention) for level in NOISE_LEVELS)
    codes = asked(CODES[0])
    noise = asked(noises[0], codes.fit_rows)
    closers = _deployable(codes)
    disturbed = Disturbed.of(codes, noise, noises, closers, progress)
    rows = disturbed.rows
    found = [_entry(one, rows[one.name], codes, rules) for one in (*CODES, *noises)]
    entries = [_float32(task), *(entry for entry, _ in found)]
    changes, sentence = _changes(noise)
    ruler = _ruler((*CODES, *RULER_ONLY, *noises), disturbed, task.candidate_square_norm)
    advice = _recommendation([(e, _advised(d)) for e, d in found], rules)
    taken = next(d.taken.closer for e, d in found if e["disturbance"] == advice["judged_on"])
    advice["worse"] = _worse(rows, advice, task.score, rules.seed)
    flipped = flipped_queries(task, test, rows[advice["judged_on"]], advice)
    judged = len(task.queries)
    return Verdict(entries, ruler, changes, sentence, advice, judged, taken, flipped)


def _worse(
    rows: Mapping[str, Sequence[tuple[Closer, Measured, Measured]]],
    advice: Mapping[str, Any],
    score: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Disturbances of the verdict under which the advised closer clearly changes more answers than
    plain search does: the closer is one, and the vectors may meet any of them."""
    found = []
    for name, measured in rows.items():
        tests = {(closer.name, closer.score): test for closer, _, test in measured}
        plain, own = tests["none", score], tests.get((advice["closer"], advice["score"]))
        if own is None or own is plain:
            continue
        figures = own.figures(plain, seed)
        if figures.removed_ci[1] < 0:
            before = plain.figures(plain, seed).flips
            found.append(
                {"disturbance": name, "flips_before": before, "flips_after": figures.flips}
            )
    return found


def unjudged(task: RetrievalTask, rules: Rules) -> Verdict:
    """What is said where too few queries are there to judge."""
    entry = _float32(task)
    nothing = {
        "options": {},
        "reason": f"do nothing: {len(task.queries)} queries are too few to see anything",
        "flips_removed": 0.0,
        "flips_removed_ci": None,
        "clean_agreement": 1.0,
        "flip_reference": "today",
    }
    advice = _recommendation([(entry, nothing)], rules)
    return Verdict([entry], [], [], None, advice, 0)


def _advised(decision: Decision) -> dict[str, Any]:
    """What a recommendation says besides its entry of the verdict."""
    taken = decision.taken.figures
    return {
        "options": dict(taken.options),
        "reason": decision.reason,
        "flips_removed": taken.test.removed,
        "flips_removed_ci": list(taken.test.removed_ci),
        "clean_agreement": taken.test.clean_agreement,
        "flip_reference": taken.flip_reference,
        "gain": taken.validation.removed,
    }


def _recommendation(
    judged: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], rules: Rules
) -> dict[str, Any]:
    """One closer for the direction: one that helps a code before one that helps against noise,
    since vectors are stored in codes; then that which most entries name, judged where it removes
    most flips on the validation queries. Where closing never helps, none, judged where most change.
    """
    helped = [pair for pair in judged if pair[0]["state"] == HELPS]
    names = [(entry["closer"], entry["score"]) for entry, _ in helped]
    ranked_by = [
        (Perturbation(**entry["perturbation"]).kind == "codec", names.count(who), more["gain"])
        for who, (entry, more) in zip(names, helped, strict=True)
    ]
    if helped:
        entry, more = helped[max(range(len(helped)), key=ranked_by.__getitem__)]
    else:
        entry, more = max(judged, key=lambda pair: pair[0]["flips_before"])
    who = entry["closer"], entry["score"]
    also = [
        other["disturbance"]
        for (other, _), name in zip(helped, names, strict=True)
        if name == who and other is not entry
    ]
    return {
        "closer": entry["closer"],
        "score": entry["score"],
        "file": None,
        "reason": more["reason"],
        "flips_before": entry["flips_before"],
        "flips_after": entry["flips_after"],
        "floor": rules.floor,
        "judged_on": entry["disturbance"],
        "also": also,
        **{name: value for name, value in more.items() if name not in ("reason", "gain")},
    }


def _deployable(trials: Trials) -> list[Closer]:
    """Plain search first, then what keeps every answer by its guarantee, at default settings;
    below a floor of 1 also what keeps enough of them on the validation queries."""
    fit_rows, score = trials.fit_rows, trials.score
    found = []
    for name in ("none", *(name for name in METHODS if name != "none")):
        exact = METHODS[name].guarantee == "exact"
        if not exact and trials.rules.floor >= 1:
            continue
        for own in scores_of(name, score, fit_rows.normalised):
            try:
                closer = fit_rows.fit(name, own, {"rank": 1} if name == "low-rank-memo" else {})
            except (OptionError, CloserError):
                continue
            if exact or _agreement(trials.validation, closer) >= trials.rules.floor - ROUNDING:
                found.append(closer)
    return found


def _agreement(part: Part, closer: Closer) -> float:
    return float(part.same(part.answers([closer])[0]).mean())


def _entry(
    one: Disturbance,
    measured: Sequence[tuple[Closer, Measured, Measured]],
    trials: Trials,
    rules: Rules,
) -> tuple[dict[str, Any], Decision]:
    """The decision about one disturbance, as ``report.json`` has it and as it was taken."""
    place = next(
        i for i, (c, _, _) in enumerate(measured) if (c.name, c.score) == ("none", trials.score)
    )
    _, *plain = measured[place]
    rows = [
        judged(
            rules,
            closer,
            [(a, plain[0]), (b, plain[1])],
            options={"rank": 1} if closer.memo else {},
            tried=1,
            is_plain=i == place,
            reference=one.perturbation.flip_reference,
        )
        for i, (closer, a, b) in enumerate(measured)
    ]
    asked = one.perturbation
    setup = {
        "side": asked.target,
        "family": asked.family,
        "levels": [asked.level] if asked.kind == "noise" else [],
        "rescored": asked.rescored,
        "floor": rules.floor,
        "beside": rules.floats_per_candidate,
        "judging_queries": len(trials.test.rows),
    }
    decision = decide(rules, ranked(rows), setup)
    before = rows[place].figures
    taken = decision.taken.figures
    state = HELPS if not decision.nothing else SAFE
    if decision.nothing and before.test.flips > SAFE_SHARE:
        state = NOTHING
    entry = {
        "disturbance": one.name,
        "perturbation": asdict(asked),
        "state": state,
        "closer": taken.closer,
        "score": taken.score,
        "flips_before": before.test.flips,
        "flips_before_ci": list(before.test.flips_ci),
        "flips_after": taken.test.flips,
        "interval": list(taken.test.removed_ci) if state == HELPS else None,
        "queries": len(trials.test.rows),
        "bytes_per_vector": plain[1].size,
        "flips_by_score": {
            closer.score: float(test.flips.mean())
            for closer, _, test in measured
            if closer.name == "none" and asked.kind == "codec"
        },
        "cost": cost_in_words(taken, trials.score) if state == HELPS else None,
        "why": why_state(state, taken, decision.reason),
    }
    return entry | {"sentence": verdict_sentence(entry)}, decision


def _float32(task: RetrievalTask) -> dict[str, Any]:
    """The first entry: nothing happens to the vectors."""
    why = (
        "undisturbed float32 vectors gain nothing from closing the gap: a closing that keeps your "
        "answers gives the answers that you have"
    )
    entry: dict[str, Any] = {
        "disturbance": FLOAT32,
        "perturbation": None,
        "state": SAFE,
        "closer": "none",
        "score": task.score,
        "flips_before": 0.0,
        "flips_before_ci": None,
        "flips_after": 0.0,
        "interval": None,
        "queries": len(task.queries),
        "bytes_per_vector": float(FLOAT_BYTES * task.candidates.shape[1]),
        "flips_by_score": {},
        "cost": None,
        "why": why,
    }
    return entry | {"sentence": verdict_sentence(entry)}


def _ruler(
    shown: Sequence[Disturbance], disturbed: Disturbed, square_norm: float
) -> list[dict[str, Any]]:
    """What disturbs plain search, by E‖e‖² of the stored vectors, with the flips it causes."""
    found = []
    for one in shown:
        asked = one.perturbation
        if asked.rescored:
            continue
        _, validation, test = disturbed.rows[one.name][0]
        flips = np.concatenate([validation.flips.mean(axis=0), test.flips.mean(axis=0)])
        unit = square_norm if asked.convention == "relative" else 1.0
        size = disturbed.codec_errors.get(one.name, asked.level * unit)
        found.append(
            {
                "disturbance": one.name,
                "total_variance": size,
                "relative": size / square_norm if square_norm else None,
                "flips": float(flips.mean()),
                "target": asked.target,
                "directions": None,
                "shared": None,
            }
        )
    return sorted(found, key=lambda entry: entry["total_variance"])


def _changes(trials: Trials) -> tuple[list[AccuracyGain], str | None]:
    """Closers that change answers on purpose: accuracy, chosen and tested on different queries."""
    part = trials.validation
    if not (part.judged.any() and trials.test.judged.any()):
        return [], None
    fitted: list[tuple[Closer, dict[str, Any]]] = []
    for name in METHODS:
        method = METHODS[name]
        if method.guarantee == "exact":
            continue
        for score in scores_of(name, trials.score, trials.fit_rows.normalised):
            for strength in STRENGTHS if method.has_strength else (1.0,):
                options = {"strength": strength} if method.has_strength else {}
                try:
                    fitted.append((trials.fit_rows.fit(name, score, options), options))
                except (OptionError, CloserError):
                    continue
    tried: dict[tuple[str, str], list[Tried]] = {}
    for one in tried_undisturbed(part, fitted):
        tried.setdefault((one.closer.name, one.closer.score), []).append(one)
    found = accuracy_gains(trials, tried)
    return found, on_purpose(found)
