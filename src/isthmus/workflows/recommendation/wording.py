"""Advice in words: why this closer, why none, and what else has to be known. No new numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.closers.registry import METHODS
from isthmus.robustness import Perturbation
from isthmus.workflows.recommendation.advice import SIGNIFICANT, AccuracyGain, CloserFigures

SAFE, HELPS, NOTHING = "safe as it is", "closing helps", "do nothing"
STATES = (SAFE, HELPS, NOTHING)
"""What a verdict says of a disturbance."""
Z_SQUARE = 3.841458820694124
"""Square of the normal quantile of a 95 % interval: Wilson's lower end of n of n is n/(n + z²)."""


def named(row: CloserFigures | AccuracyGain) -> str:
    """``center-queries (strength 0.5, searched by dot)``."""
    if row.closer == "none":
        return f"plain search by {row.score}"
    options = {"strength": row.strength, **row.options}
    listed = ", ".join(f"{k} {v:g}" for k, v in options.items() if (k, v) != ("strength", 1.0))
    return f"{row.closer} ({listed + ', ' if listed else ''}searched by {row.score})"


def disturbance(setup: Mapping[str, Any]) -> str:
    """``gaussian on candidates, levels 0.005, 0.022``."""
    levels = setup["levels"]
    more = f", level{'s' * (len(levels) > 1)} " + ", ".join(f"{v:g}" for v in levels)
    depth = setup.get("rescored")
    again = f", the best {depth} ranked again in float" if depth else ""
    return f"{setup['family']} on {setup['side']}{more if levels else ''}{again}"


def flip_word(setup: Mapping[str, Any]) -> str:
    """What a flip is here."""
    if is_codec(setup):
        return "differ from exact search"
    return "flip"


def is_codec(setup: Mapping[str, Any]) -> bool:
    """Whether the disturbance is a code."""
    return Perturbation(setup["family"], "candidates", 1.0).kind == "codec"


def floor_needs(floor: float) -> int | None:
    """Queries that have to be asked, none changed, to show a floor by counting; None: no number."""
    return None if floor >= 1 else math.ceil(Z_SQUARE * floor / (1 - floor))


def reason_of(
    best: CloserFigures | None,
    others: Sequence[CloserFigures],
    plain: CloserFigures,
    setup: Mapping[str, Any],
    control: Mapping[str, Any] | None,
) -> tuple[bool, str]:
    """Whether the answer is to do nothing, and why; ``others`` are all closers but plain search."""
    before = plain.test.flips
    about = f"{before:.1%} of answers {flip_word(setup)} ({disturbance(setup)})"
    count = setup["judging_queries"]
    if control is not None:
        why = (
            "the disturbance is on queries, and no closer that keeps rankings can help (D10): it "
            "sees only margins and differences of candidates, which such a closer leaves as they "
            f"are. The control: {about}, and under {len(control['flips'])} exact closers the share "
            f"differs by at most {control['largest_difference']:.2%}"
        )
    elif before * count < 1:
        why = (
            f"the disturbance is below what {count} queries resolve, {about}, less than one answer"
        )
    elif best is None:
        why = f"{_none_left(others, setup)}; {about}"
    elif best.test.removed_ci[0] <= 0:
        why = f"{_no_gain(best)}; {about}"
    else:
        return False, _gain(best, plain, setup)
    return True, f"do nothing: {why}"


def _no_gain(best: CloserFigures) -> str:
    removed, (low, high) = best.test.removed, best.test.removed_ci
    return (
        f"the best that keeps the answers, {named(best)}, {'removes' if removed >= 0 else 'adds'} "
        f"{points(abs(removed))} of flips (95 % interval of those removed {100 * low:.1f} to "
        f"{points(high)}, which {'is below 0' if high < 0 else 'includes 0'})"
    )


def _gain(best: CloserFigures, plain: CloserFigures, setup: Mapping[str, Any]) -> str:
    figures, before = best.test, plain.test.flips
    low, high = figures.removed_ci
    keeps = "keeps every undisturbed answer by its guarantee"
    if best.shown != "by guarantee":
        keeps = f"keeps {figures.clean_agreement:.1%} of the undisturbed answers"
    first, second = plain.validation.flips, best.validation.flips
    chosen_on = f" on the validation queries {second:.1%} instead of {first:.1%};"
    why = METHODS[best.closer].why if best.guarantee != "none" else ""
    return (
        f"{named(best)} {keeps} and removes {figures.removed / before:.0%} of the flips: "
        f"{figures.flips:.1%} of {setup['judging_queries']} answers {flip_word(setup)} instead of "
        f"{before:.1%} ({points(figures.removed)} fewer, 95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f};{chosen_on} {disturbance(setup)})" + (f". Why: {why}" if why else "")
    )


def _none_left(others: Sequence[CloserFigures], setup: Mapping[str, Any]) -> str:
    """Why there is no closer to choose."""
    if not others:
        return "no closer was left to try"
    if any(row.passes for row in others):
        return (
            "every closer that keeps the answers keeps more floats for each candidate than the "
            f"{setup['beside']} allowed"
        )
    near = max(others, key=lambda row: row.test.clean_agreement)
    return (
        f"no closer keeps {setup['floor']:.1%} of the answers (the nearest, {named(near)}, keeps "
        f"{near.test.clean_agreement:.1%})"
    )


def notes_of(
    best: CloserFigures | None,
    rows: Sequence[CloserFigures],
    plain: CloserFigures,
    changes: Sequence[AccuracyGain],
    setup: Mapping[str, Any],
) -> tuple[str, ...]:
    """What else has to be known, a sentence each."""
    out = [
        _prediction(best),
        _fewer(best, rows[0], plain, setup),
        _accuracy(best, plain),
        _scale(best),
    ]
    out += [_floor(best, rows, setup), _queries_coded(setup), *_on_purpose(changes, setup)]
    return tuple(note for note in out if note)


def points(share: float) -> str:
    """A difference of shares: ``4.9 points``."""
    return f"{100 * share:.1f} points"


def _prediction(best: CloserFigures | None) -> str:
    if best is None or best.test.predicted is None:
        return ""
    figures = best.test
    if figures.by_law:
        return f"{figures.flips:.1%} flips are by law, not counted; --trials N counts them in draws"
    return f"theory predicts {figures.predicted:.1%} flips, {figures.flips:.1%} were measured"


def _fewer(
    best: CloserFigures | None, first: CloserFigures, plain: CloserFigures, setup: Mapping[str, Any]
) -> str:
    """Why the first of the ranking is not the one recommended, where it is not."""
    if first is best or not first.passes or first is plain:
        return ""
    tested = f"{named(first)} has {first.test.flips:.1%} on the test queries"
    if first.floats_per_candidate > setup["beside"]:
        return (
            f"{tested}, but keeps {first.floats_per_candidate} floats for each candidate, and "
            f"{setup['beside']} were allowed"
        )
    if best is None:
        return ""
    ahead = best.validation.flips < first.validation.flips
    why = "was ahead there" if ahead else "which has fewer moving parts, does nearly as well"
    return (
        f"{tested} ({first.validation.flips:.1%} on the validation queries, where the choice "
        f"was made, against {best.validation.flips:.1%}); {best.closer}"
        f"{' ' if ahead else ', '}{why}"
    )


def _accuracy(best: CloserFigures | None, plain: CloserFigures) -> str:
    base = plain.test
    if base.accuracy is None:
        return ""
    today = f"accuracy is {base.clean_accuracy:.3f} undisturbed, {base.accuracy:.3f} disturbed"
    if best is None:
        return today
    figures = best.test
    return f"{today}; with {best.closer} {figures.clean_accuracy:.3f} and {figures.accuracy:.3f}"


def _scale(best: CloserFigures | None) -> str:
    if best is None or abs(best.spread - 1) <= 0.05:
        return ""
    return (
        f"{best.closer} changes the variance of what is stored by a factor "
        f"{best.spread:.2f}, so that noise of one size is not the same noise; compare at "
        "convention 'spread'"
    )


def _floor(
    best: CloserFigures | None, rows: Sequence[CloserFigures], setup: Mapping[str, Any]
) -> str:
    """That so few queries cannot show the floor, where that matters for some closer."""
    floor, count = setup["floor"], setup["judging_queries"]
    open_ones = [r for r in rows if r.shown == "unresolved" and r.passes]
    needs = floor_needs(floor)
    if needs is not None and needs <= count and not (best and best.shown == "unresolved"):
        return ""
    if not open_ones and (needs is None or needs <= count):
        return ""
    kept = count / (count + Z_SQUARE)
    asks = (
        "no number of queries shows a floor of 1, a guarantee does"
        if needs is None
        else (f"{needs} unchanged answers would")
    )
    who = ""
    if open_ones:
        who = f"; it is open for {', '.join(sorted({r.closer for r in open_ones}))}"
    return (
        f"counting cannot show the floor {floor:g} with {count} queries: none changed of {count} "
        f"shows {kept:.3f} at best, {asks}{who}"
    )


def _queries_coded(setup: Mapping[str, Any]) -> str:
    if is_codec(setup) and setup["side"] == "queries":
        return (
            "a code's error depends on the rows coded, so D10, by which no closer helps against "
            "noise on queries, is not about this; the figures are measured"
        )
    return ""


def on_purpose(changes: Sequence[AccuracyGain]) -> str | None:
    """What an audit says of closers that change answers on purpose, held-out test and all."""
    if not changes:
        return None
    raising = [c for c in changes if c.raises]
    top = (raising or sorted(changes, key=lambda c: -c.after))[0]
    figures = (
        f"{named(top)}: {top.before:.3f} -> {top.after:.3f} on held-out queries ({top.won} won, "
        f"{top.lost} lost, McNemar p {top.p:.1g} corrected for {len(changes)} closers), keeps "
        f"{top.clean_agreement:.1%} of today's answers"
    )
    if not raising:
        return (
            f"changing answers on purpose raises accuracy with no closer tried; nearest, {figures}"
        )
    return (
        f"changing answers on purpose raises accuracy with {figures}. It is not part of the "
        "verdict, which keeps answers: take it if accuracy is the aim"
    )


def _on_purpose(changes: Sequence[AccuracyGain], setup: Mapping[str, Any]) -> list[str]:
    raising = [c for c in changes if c.raises]
    if not raising:
        return []
    top = raising[0]
    others = ", ".join(f"{c.closer} {c.after:.3f}" for c in raising[1:4])
    below = "below" if top.clean_agreement < setup["floor"] else "above"
    return [
        f"changing answers on purpose raises accuracy: {named(top)} keeps "
        f"{top.clean_agreement:.1%} of the answers, {below} the floor, and is right more often: "
        f"{top.before:.3f} without it, {top.after:.3f} with it on the test queries ({top.won} won, "
        f"{top.lost} lost, McNemar p {top.p:.1g} after correction, below {SIGNIFICANT:g}; "
        f"validation queries {top.validation_before:.3f} and {top.validation_after:.3f})"
        + (f"; so do {others}" if others else "")
        + ". Not recommended here, where answers are to be kept; take it if accuracy is the aim"
    ]


def why_state(state: str, taken: CloserFigures, reason: str) -> str:
    """Why the state is what it is, without the share that stands beside it."""
    if state == SAFE:
        return "there is nothing worth removing"
    if state == NOTHING:
        return reason.removeprefix("do nothing: ").rpartition("; ")[0] or reason
    low, high = taken.test.removed_ci
    return (
        f"{named(taken)}: {points(taken.test.removed)} fewer, 95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f}"
    )


def verdict_sentence(entry: Mapping[str, Any]) -> str:
    """The verdict for someone who reads nothing else."""
    head = f"{entry['disturbance']}: {entry['state']}"
    before = f"{entry['flips_before']:.1%} of first answers change"
    if entry["state"] == HELPS:
        after = f"{entry['flips_after']:.1%} with closing ({entry['why']})"
        return f"{head}, {before}, {after}; cost: {entry['cost']}"
    return f"{head}, because {entry['why']}; {before}"


def cost_in_words(taken: CloserFigures, score: str) -> str:
    """What has to be stored and changed for a closer, in words."""
    floats = taken.floats_per_candidate
    parts = ["both sides are mapped"]
    if floats:
        parts.append(f"{floats} more float{'s' * (floats > 1)} per candidate")
    if taken.score != score:
        parts.append(f"search by {taken.score}, not {score}")
    if taken.shown != "by guarantee":
        parts.append(f"{1 - taken.test.clean_agreement:.1%} of undisturbed answers change")
    return "; ".join(parts)
