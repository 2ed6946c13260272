"""Advice in words: why this closer, why none, and what else has to be known. No new numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.robustness import Perturbation
from isthmus.workflows.recommendation.advice import Raise, Row
from isthmus.workflows.recommendation.trying import SIGNIFICANT, Chosen

Z_SQUARE = 3.841458820694124
"""Square of the normal quantile of a 95 % interval: Wilson's lower end of n of n is n/(n + z²)."""

WHY = {
    "none": "the rows stay as they are; another score is less disturbed",
    "orthogonal-shift": "candidates move nearer to the queries where no ranking can see it",
    "biased-shift": "the whole gap goes, and a stored number puts every ranking back",
    "center-queries": "the disturbance meets the shorter ‖q - μ‖, a stored number puts every "
    "ranking back",
    "center-both": "codes and noise meet centred rows and the shorter ‖q - μ‖, a stored number "
    "puts every ranking back",
    "span": "what of a query cannot tell candidates apart is dropped, and with it its noise",
    "subspace": "both sides keep only the directions that tell candidates apart",
    "low-rank-memo": "the directions that hold the gap stay in float beside the vector",
    "ridge-shift": "queries lose as much of their mean as costs few answers, without a stored "
    "number",
}


def named(row: Row | Raise) -> str:
    """``center-queries (strength 0.5, searched by dot)``."""
    if row.closer == "none":
        return f"plain search by {row.score}"
    told = {"strength": row.strength, **row.options}
    listed = ", ".join(f"{k} {v:g}" for k, v in told.items() if (k, v) != ("strength", 1.0))
    return f"{row.closer} ({listed + ', ' if listed else ''}searched by {row.score})"


def disturbance(setup: Mapping[str, Any]) -> str:
    """``gaussian on candidates, levels 0.005, 0.022``."""
    levels = setup["levels"]
    more = f", level{'s' * (len(levels) > 1)} " + ", ".join(f"{v:g}" for v in levels)
    return f"{setup['family']} on {setup['side']}{more if levels else ''}"


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
    best: Chosen | None,
    rows: Sequence[Chosen],
    plain: Chosen,
    setup: Mapping[str, Any],
    control: Mapping[str, Any] | None,
) -> tuple[bool, str]:
    """Whether the answer is to do nothing, and why."""
    before = plain.row.judging.flips
    about = f"{before:.1%} of answers {flip_word(setup)} ({disturbance(setup)})"
    count = setup["judging_queries"]
    if control is not None:
        return True, (
            "do nothing: the disturbance is on queries, and no closer that keeps rankings can help "
            "(D10): it sees only margins and differences of candidates, which such a closer leaves "
            f"as they are. The control: {about}, and under {len(control['flips'])} exact closers "
            f"the share differs by at most {control['largest_difference']:.2%}"
        )
    if before * count < 1:
        return True, (
            f"do nothing: the disturbance is below what {count} queries resolve, {about}, less "
            "than one answer"
        )
    if best is None:
        return True, f"do nothing: {_none_left(rows, setup)}; {about}"
    figures = best.row.judging
    low, high = figures.removed_ci
    if low <= 0:
        does = "removes" if figures.removed >= 0 else "adds"
        told = "is below 0" if high < 0 else "includes 0"
        return True, (
            f"do nothing: the best that keeps the answers, {named(best.row)}, {does} "
            f"{points(abs(figures.removed))} of flips (95 % interval of those removed "
            f"{100 * low:.1f} to {points(high)}, which {told}); {about}"
        )
    first, second = plain.row.calibration.flips, best.row.calibration.flips
    keeps = {
        "by guarantee": "keeps every undisturbed answer by its guarantee",
        "by count": f"keeps {figures.clean_agreement:.1%} of the undisturbed answers",
        "unresolved": f"keeps {figures.clean_agreement:.1%} of the undisturbed answers",
        "missed": "",
    }[best.row.shown]
    holds = best.row.guarantee == "exact" or best.row.closer == "ridge-shift"
    why = WHY.get(best.row.closer) if holds else None
    return False, (
        f"{named(best.row)} {keeps} and removes {figures.removed / before:.0%} of the flips: "
        f"{figures.flips:.1%} of {count} judged answers {flip_word(setup)} instead of {before:.1%} "
        f"({points(figures.removed)} fewer, 95 % interval {100 * low:.1f} to {100 * high:.1f}; on "
        f"the calibration half {second:.1%} instead of {first:.1%}; {disturbance(setup)})"
        + (f". Why: {why}" if why else "")
    )


def _none_left(rows: Sequence[Chosen], setup: Mapping[str, Any]) -> str:
    """Why there is no closer to choose."""
    others = [r.row for r in rows if not r.is_plain]
    if not others:
        return "no closer was left to try"
    if any(row.passes for row in others):
        return (
            f"every closer that keeps the answers keeps more floats beside each vector than the "
            f"{setup['beside']} allowed"
        )
    near = max(others, key=lambda row: row.judging.clean_agreement)
    return (
        f"no closer keeps {setup['floor']:.1%} of the answers (the nearest, {named(near)}, keeps "
        f"{near.judging.clean_agreement:.1%})"
    )


def notes_of(
    best: Chosen | None,
    rows: Sequence[Chosen],
    plain: Chosen,
    changes: Sequence[Raise],
    setup: Mapping[str, Any],
) -> tuple[str, ...]:
    """What else has to be known, a sentence each."""
    out = [_prediction(best), _fewer(best, rows, setup), _accuracy(best, plain), _scale(best)]
    out += [_floor(best, rows, setup), _queries_coded(setup), *_on_purpose(changes, setup)]
    return tuple(note for note in out if note)


def points(share: float) -> str:
    """A difference of shares: ``4.9 points``."""
    return f"{100 * share:.1f} points"


def _prediction(best: Chosen | None) -> str:
    if best is None or best.row.judging.predicted is None:
        return ""
    figures = best.row.judging
    return f"theory predicts {figures.predicted:.1%} flips, {figures.flips:.1%} were measured"


def _fewer(best: Chosen | None, rows: Sequence[Chosen], setup: Mapping[str, Any]) -> str:
    """Why the first of the ranking is not the one recommended, where it is not."""
    first = rows[0]
    if first is best or not first.row.passes or first.is_plain:
        return ""
    judged = f"{named(first.row)} has {first.row.judging.flips:.1%} on the judging half"
    if first.row.beside > setup["beside"]:
        return (
            f"{judged}, but keeps {first.row.beside} floats beside each vector, and "
            f"{setup['beside']} were allowed"
        )
    if best is None:
        return ""
    ahead = best.row.calibration.flips < first.row.calibration.flips
    why = "was ahead there" if ahead else "which has fewer moving parts, does nearly as well"
    return (
        f"{judged} ({first.row.calibration.flips:.1%} on the calibration half, where the choice "
        f"was made, beside {best.row.calibration.flips:.1%}); {best.row.closer}"
        f"{' ' if ahead else ', '}{why}"
    )


def _accuracy(best: Chosen | None, plain: Chosen) -> str:
    row = plain.row if best is None else best.row
    figures, base = row.judging, plain.row.judging
    if figures.accuracy is None or base.accuracy is None:
        return ""
    told = f"accuracy is {base.clean_accuracy:.3f} undisturbed, {base.accuracy:.3f} disturbed"
    if best is None:
        return told
    return f"{told}; with {row.closer} {figures.clean_accuracy:.3f} and {figures.accuracy:.3f}"


def _scale(best: Chosen | None) -> str:
    if best is None or abs(best.row.spread - 1) <= 0.05:
        return ""
    return (
        f"{best.row.closer} changes the variance of what is stored by a factor "
        f"{best.row.spread:.2f}, so that noise of one size is not the same noise; compare at "
        "convention 'spread'"
    )


def _floor(best: Chosen | None, rows: Sequence[Chosen], setup: Mapping[str, Any]) -> str:
    """That so few queries cannot show the floor, where that matters for some closer."""
    floor, count = setup["floor"], setup["judging_queries"]
    open_ones = [r.row for r in rows if r.row.shown == "unresolved" and r.row.passes]
    needs = floor_needs(floor)
    if needs is not None and needs <= count and not (best and best.row.shown == "unresolved"):
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


def _on_purpose(changes: Sequence[Raise], setup: Mapping[str, Any]) -> list[str]:
    raising = [c for c in changes if c.raises]
    if not raising:
        return []
    top = raising[0]
    others = ", ".join(f"{c.closer} {c.after:.3f}" for c in raising[1:4])
    below = "below" if top.clean_agreement < setup["floor"] else "above"
    return [
        f"changing answers on purpose raises accuracy: {named(top)} keeps "
        f"{top.clean_agreement:.1%} of the answers, {below} the floor, and is right more often: "
        f"{top.before:.3f} without it, {top.after:.3f} with it on the judging half ({top.won} won, "
        f"{top.lost} lost, McNemar p {top.p:.1g} after correction, below {SIGNIFICANT:g}; "
        f"calibration half {top.calibration_before:.3f} and {top.calibration_after:.3f})"
        + (f"; so do {others}" if others else "")
        + ". Not recommended here, where answers are to be kept; take it if accuracy is the aim"
    ]
