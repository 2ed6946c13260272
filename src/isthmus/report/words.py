"""Numbers as text, and the sentences that all three renderings share."""

from __future__ import annotations

import shlex
from typing import Any

from isthmus.report.numbers import interval, is_finite, number, percent, said, significant
from isthmus.report.plain import name_of

SIDE_WORDS = {"both": "both sides"}
FAMILY_WORDS = {
    "gaussian": "Gaussian noise",
    "uniform-quantisation": "uniform quantisation",
    "sign-bits": "sign bits",
}
VERDICT_LINES = {"sign-bits": "one bit, sign"}
"""Family of the stress table -> the line of the verdict that says the same."""
CONVENTION_WORDS = {
    "total": "E‖ε‖² of the whole vector",
    "coordinate": "σ² per coordinate",
    "spread": "E‖ε‖² / candidates' variance",
    "relative": "E‖ε‖² / candidates' mean squared norm",
}


CONTROL_WORDS = {
    "random": "a random vector as long",
    "shuffled": "its own vector, coordinates shuffled",
    "flipped": "its own vector, turned round",
}


def control_words(row: dict[str, Any]) -> str:
    """Along what a control closes, and how far."""
    closer, strength = str(row.get("closer")), row.get("strength")
    kind = closer.partition(":")[2]
    if closer == "none":
        return "nothing is moved"
    if kind:
        return CONTROL_WORDS.get(kind, kind)
    return "its own vector" if strength == 1 else f"its own vector, {significant(strength)} times"


def names(report: dict[str, Any]) -> dict[str, str]:
    """What the two sides are called."""
    inputs = report.get("inputs") or {}
    return {side: name_of((inputs.get(side) or {}).get("name") or side) for side in ("a", "b")}


def sides(report: dict[str, Any]) -> str:
    """``images 500 × 512, captions 500 × 512, paired``."""
    inputs, called = report.get("inputs") or {}, names(report)
    given = {side: inputs.get(side) or {} for side in ("a", "b")}
    shapes = [
        f"{called[side]} {number(one.get('rows'))} × {number(one.get('dim'))}"
        for side, one in given.items()
    ]
    return f"{', '.join(shapes)}, {'paired' if inputs.get('paired') else 'not paired'}"


def of_length(gap: dict[str, Any]) -> str:
    """``0.911 of the rows' length``; empty where the gap's norm says as much."""
    relative = gap.get("relative_norm")
    if relative is None or number(relative) == number(gap.get("norm")):
        return ""
    return f"{number(relative)} of the rows' length"


def arrow(direction: dict[str, Any]) -> str:
    """``images → captions``."""
    return f"{query_name(direction)} → {candidate_name(direction)}"


def query_name(direction: dict[str, Any]) -> str:
    """What is asked with."""
    return name_of(direction.get("query_name") or direction.get("query") or "queries")


def candidate_name(direction: dict[str, Any]) -> str:
    """What is searched."""
    return name_of(direction.get("candidate_name") or direction.get("candidate") or "candidates")


def first_hit(direction: dict[str, Any]) -> str:
    """What a right first answer is called in this task."""
    return "accuracy" if direction.get("task") == "zero-shot" else "R@1"


def flips(row: dict[str, Any] | None) -> float | None:
    """One minus consistency: the definition of a flip."""
    kept = None if row is None else row.get("consistency")
    return 1 - kept if is_finite(kept) else None


def level_name(row: dict[str, Any]) -> str:
    """The level of a stress row in words."""
    family, level = row.get("family"), row.get("level")
    if family == "sign-bits":
        return "1 bit"
    if family == "uniform-quantisation":
        return f"{significant(level)} bins"
    return significant(level)


def closer_label(row: dict[str, Any]) -> tuple[str, str]:
    """The closer of a stress row, with its strength unless that is 1, and its score."""
    closer, strength = said(row.get("closer")), row.get("strength")
    plain = closer == "none" or strength in (None, 1)
    return closer if plain else f"{closer} {significant(strength)}", said(row.get("score"))


def rows_where(direction: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """Stress rows whose columns have these values."""
    return [
        row
        for row in direction.get("stress") or []
        if all(row.get(key) == value for key, value in wanted.items())
    ]


def closers_of(direction: dict[str, Any]) -> list[tuple[str, str]]:
    """Every (closer, score) that was stressed, in the report's order."""
    rows = direction.get("stress") or []
    return list(dict.fromkeys((said(r.get("closer")), said(r.get("score"))) for r in rows))


def _chosen(direction: dict[str, Any]) -> dict[str, Any]:
    return direction.get("recommendation") or {}


def acts(direction: dict[str, Any]) -> bool:
    """Whether a closer is recommended."""
    return _chosen(direction).get("closer") not in (None, "none")


def chosen_closer(direction: dict[str, Any]) -> dict[str, Any]:
    """The entry of the recommended closer in the report's list, or an empty dict."""
    chosen = _chosen(direction)
    wanted = chosen.get("closer"), chosen.get("score")
    entries = direction.get("closers") or []
    return next((e for e in entries if (e.get("name"), e.get("score")) == wanted), {})


def sentence(direction: dict[str, Any]) -> str:
    """Yes or no, what is gained and what it costs, for someone who reads nothing else."""
    chosen = _chosen(direction)
    closer, judged = chosen.get("closer"), said(chosen.get("judged_on"))
    before, after = percent(chosen.get("flips_before")), percent(chosen.get("flips_after"))
    if closer is None and chosen.get("reason"):
        return "No recommendation: a finding makes every number meaningless."
    if closer is None:
        return "No recommendation is in this report."
    if closer == "none":
        return (
            f"No, leave the gap: no closing kept at least {percent(chosen.get('floor'))} of "
            f"today's first answers and clearly removed flips. Most answers, {before}, change "
            f"under {judged}."
        )
    also = "; ".join(map(str, chosen.get("also") or []))
    share = chosen.get("clean_agreement")
    kept = "all first answers" if share == 1 else f"{percent(share)} of first answers"
    safe = " and ".join(name.partition(",")[0] for name in unmoved(direction))
    return (
        f"{f'For {safe} no; for' if safe else 'For'} {judged} yes: {after} of first answers change "
        f"instead of {before}. With nothing disturbed, {kept} stay what {_today(direction)}. "
        f"Use {closer}, searched by {said(chosen.get('score'))}."
        + (f" It also helps with {also}." if also else "")
    )


def unmoved(direction: dict[str, Any]) -> list[str]:
    """What changes no answer of this direction, by name: closing gains nothing there."""
    return [
        said(entry.get("disturbance"))
        for entry in direction.get("verdict") or []
        if entry.get("state") == "safe as it is" and entry.get("flips_before") == 0
    ]


def cost_of(direction: dict[str, Any]) -> str:
    """What the recommended closer costs, as the line that it was judged on says; else empty."""
    judged = _chosen(direction).get("judged_on")
    entries = direction.get("verdict") or []
    return next((e.get("cost") or "" for e in entries if e.get("disturbance") == judged), "")


def judged_on_a_code(direction: dict[str, Any]) -> bool:
    """Whether the recommendation is for rows in fewer bits, which each store does in its way."""
    judged = str(_chosen(direction).get("judged_on") or "noise")
    return acts(direction) and not judged.startswith(("noise", "gaussian"))


def is_broken(warning: dict[str, Any]) -> bool:
    """Whether a finding makes every number meaningless."""
    return warning.get("severity") == "broken"


def warning_line(warning: dict[str, Any]) -> str:
    """A warning as a line of a terminal: those that break everything say so."""
    word = "BROKEN" if is_broken(warning) else "warning"
    return f"{word} {warning.get('code')}: {warning.get('text')}"


def _today(direction: dict[str, Any]) -> str:
    """What clean agreement compares with: today's search, where the score ranks as it does."""
    score = _chosen(direction).get("score")
    if direction.get("score") in ("cosine", score):  # unit rows rank alike under every score
        return "they are today"
    return f"plain search by {said(score)} gives"


def commands(report: dict[str, Any], direction: dict[str, Any]) -> list[str]:
    """The shell commands that put the recommendation into a store, or write files; none where
    nothing is recommended."""
    if not acts(direction):
        return []
    chosen = _chosen(direction)
    queries, candidates = (
        _source(report, str(direction.get(role)), word)
        for role, word in (("query", "QUERIES"), ("candidate", "CANDIDATES"))
    )
    file, made = chosen.get("file"), []
    if file is None:
        file = "CLOSER.safetensors"
        made = [
            f"isthmus close {queries} {candidates} \\\n    --method {chosen['closer']} --out {file}"
        ]
    else:
        file = shlex.quote(str(file))
        made = [f"# {file} lies beside this page;", "# other paths are as at the audit"]
    tried, stored = [], file
    if judged_on_a_code(direction):
        stored = "in-store.safetensors"  # not the audit's: nothing is written where nothing helps
        tried = [
            "# a store codes in its own way, and may code the",
            "# float per candidate too: try closings in yours,",
            "# such as faiss:FILE?codec=RaBitQ",
            f"isthmus recommend {queries} STORE \\\n    --perturb store --out {stored}",
        ]
    return [
        *made,
        *tried,
        "# write it into the store; it is tried there first",
        f"isthmus deploy {stored} STORE \\\n    --queries {queries}",
        "# or into files",
        f"isthmus apply {file} {queries} \\\n    --role query --out queries.closed.npy",
        f"isthmus apply {file} {candidates} \\\n    --role candidate --out candidates.closed.npy",
    ]


def _source(report: dict[str, Any], side: str, placeholder: str) -> str:
    source = ((report.get("inputs") or {}).get(side) or {}).get("source")
    return placeholder if source in (None, "array") else shlex.quote(str(source))


def compared(direction: dict[str, Any]) -> list[dict[str, Any]]:
    """Plain search and the recommended closer, one entry per perturbation.

    Returns:
        ``what`` (in words), ``side``, ``before`` and ``after`` (stress rows), ``verdict``:
        ``more`` or ``fewer`` answers kept where the two intervals do not overlap, else empty.
    """
    chosen = _chosen(direction)
    closer, score = chosen.get("closer"), chosen.get("score")
    if not acts(direction):
        return []
    found = []
    plain_score = direction.get("score")
    for row in rows_where(direction, closer=closer, score=score):
        same = {key: row.get(key) for key in ("family", "side", "level", "convention")}
        plain = rows_where(direction, closer="none", score=plain_score, **same)
        if plain:
            what = FAMILY_WORDS.get(str(row.get("family")), said(row.get("family")))
            if row.get("family") != "sign-bits":
                what += f", {level_name(row)}"
            found.append(
                {
                    "what": what,
                    "side": SIDE_WORDS.get(str(row.get("side")), said(row.get("side"))),
                    "before": plain[0],
                    "after": row,
                    "verdict": _verdict(plain[0], row),
                }
            )
    return found


def _verdict(before: dict[str, Any], after: dict[str, Any]) -> str:
    ends = [row.get(f"consistency_{end}") for row in (before, after) for end in ("lo", "hi")]
    if not all(is_finite(end) for end in ends):
        return ""
    low, high, low_after, high_after = (float(end) for end in ends if end is not None)
    if low_after > high:
        return "more"
    return "fewer" if high_after < low else ""


def gallery_lines(found: dict[str, Any] | None) -> list[str]:
    """Flips over a whole gallery by law, level by level: plain search, and the closer that removes
    most."""
    lines = []
    rows = (found or {}).get("stress") or []
    for level in dict.fromkeys(row["level"] for row in rows):
        mine = [row for row in rows if row["level"] == level and row["gain"] is not None]
        best = max(mine, key=lambda row: row["gain"], default=None)
        if best is None or found is None:
            continue
        before = next(r for r in mine if (r["closer"], r["score"]) == ("none", best["score"]))
        line = (
            f"Among all {number(found['rows'])} candidates noise {level:g} flips "
            f"{percent(1 - before['consistency'])} of answers by {best['score']}"
        )
        if best["gain_lo"] > 0:
            span = interval([best["gain_lo"], best["gain_hi"]], percent)
            after = percent(1 - best["consistency"])
            line += f", {after} with {best['closer']} (gain {percent(best['gain'])}, {span})"
        lines.append(line + ", by law.")
    return lines


def caveats(direction: dict[str, Any]) -> list[str]:
    """What the whole gallery says, and where the recommended closer keeps clearly fewer answers."""
    worse_on = {row.get("disturbance") for row in _chosen(direction).get("worse") or []}
    worse = [
        c
        for c in compared(direction)
        if c["verdict"] == "fewer"
        and VERDICT_LINES.get(str(c["after"].get("family"))) not in worse_on
    ]
    return [
        *gallery_lines(direction.get("gallery")),
        *worse_lines(direction),
        *(
            f"Under {c['what']} on {c['side']} it keeps fewer answers than plain search: "
            f"{percent(c['after'].get('consistency'))} against "
            f"{percent(c['before'].get('consistency'))}."
            for c in worse
        ),
    ]


def worse_lines(direction: dict[str, Any]) -> list[str]:
    """Lines of the verdict on which the recommended closer clearly changes more answers."""
    chosen = _chosen(direction)
    return [
        f"Not for {said(row.get('disturbance'))}: {percent(row.get('flips_after'))} of first "
        f"answers change with {said(chosen.get('closer'))}, "
        f"{percent(row.get('flips_before'))} without."
        for row in chosen.get("worse") or []
    ]
