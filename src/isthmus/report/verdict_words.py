"""The verdict of a direction in words: the state with its sign, then the number, then why."""

from __future__ import annotations

from typing import Any

from isthmus.report import words

SIGNS = {"safe as it is": "=", "closing helps": "+", "do nothing": "-"}
LEGEND = (
    "Close the gap? By what is done to stored vectors: how many first answers change, and what "
    "closing would do about it (= safe as it is, + closing helps, - do nothing). Closers are "
    "chosen on one half of the queries; figures are of the other."
)
NAME_WIDTH, STATE_WIDTH = 35, 15
APART = 0.05
"""Least difference of flips between two scores that is worth a word."""


def verdict_heading(direction: dict[str, Any]) -> str:
    """``images → captions: R@1 55.2% today; 500 queries, 500 candidates``."""
    clean, task = direction.get("clean") or {}, words.arrow(direction)
    hit = clean.get("accuracy")
    right = "" if hit is None else f"{words.first_hit(direction)} {words.percent(hit)} today; "
    counts = [words.number(direction.get(name)) for name in ("queries", "candidates")]
    return f"{task}: {right}{counts[0]} queries, {counts[1]} candidates"


def verdict_cells(direction: dict[str, Any]) -> list[dict[str, str]]:
    """``sign``, ``name``, ``state``, ``number``, ``why``, ``dot`` (the number where a store ranks
    by inner product) and ``by_dot`` (the same where it is another), in order."""
    found = []
    for entry in direction.get("verdict") or []:
        state = words.said(entry.get("state"))
        before, after = (words.percent(entry.get(f"flips_{when}")) for when in ("before", "after"))
        by_dot, dot = flips_by_dot(entry), (entry.get("flips_by_score") or {}).get("dot")
        found.append(
            {
                "sign": SIGNS.get(state, " "),
                "name": words.said(entry.get("disturbance")),
                "state": state,
                "number": f"{before} → {after}" if state == "closing helps" else before,
                "why": _why(entry, words.said(direction.get("score"))),
                "by_dot": "" if by_dot is None else words.percent(by_dot),
                "dot": "" if dot is None else words.percent(dot),
            }
        )
    return found


def verdict_rows(direction: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(state, headline, why) of every disturbance, for a terminal."""
    return [
        (
            c["state"],
            f"{c['sign']} {c['name']:<{NAME_WIDTH}}{c['state']:<{STATE_WIDTH}}{c['number']}",
            c["why"],
        )
        for c in verdict_cells(direction)
    ]


def _why(entry: dict[str, Any], score: str) -> str:
    """Why, and at what cost; nothing where the state and the number say it all."""
    why, cost, by_dot = entry.get("why"), entry.get("cost"), flips_by_dot(entry)
    if not why or (entry.get("state") == "safe as it is" and entry.get("perturbation")):
        return ""
    said = f"{why[0].upper()}{why[1:]}." + (f" Cost: {cost}." if cost else "")
    if by_dot is None:
        return said
    return (
        f"{said} Without closing, decoded vectors are ranked by {score} here; an index that ranks "
        f"its codes by inner product, such as FAISS, changes {words.percent(by_dot)}."
    )


def flips_by_dot(entry: dict[str, Any]) -> float | None:
    """Share of answers that a store changes which ranks by inner product; None: about the same."""
    by_dot = (entry.get("flips_by_score") or {}).get("dot")
    before = entry.get("flips_before")
    if by_dot is None or before is None or abs(by_dot - before) < APART:
        return None
    return float(by_dot)


def pool_parts(report: dict[str, Any]) -> tuple[str, str, str] | None:
    """Name, state and number of the verdict of one pool of both modalities."""
    entry = (report.get("mixed") or {}).get("verdict")
    if not entry:
        return None
    state, k = words.said(entry.get("state")), words.number(entry.get("k"))
    numbers = words.number(entry.get("ndcg_before"))
    if state == "closing helps":
        numbers += f" → {words.number(entry.get('ndcg_after'))}"
    called = words.names(report)
    name = f"one pool of {called['a']} and {called['b']}"
    name = name if len(name) < NAME_WIDTH - 2 else "one pool of both modalities"
    return name, state, f"nDCG@{k} {numbers}"


def pool_rows(report: dict[str, Any]) -> list[str]:
    """The verdict of one pool of both modalities: its headline, then a sentence each."""
    parts = pool_parts(report)
    if parts is None:
        return []
    name, state, numbers = parts
    headline = f"{SIGNS.get(state, ' ')} {name:<{NAME_WIDTH}}{state:<{STATE_WIDTH}}{numbers}"
    return [headline, *(report["mixed"]["verdict"].get("sentences") or [])]


def score_rows(direction: dict[str, Any]) -> list[str]:
    """That the scores differ on the rows of the files, where they do."""
    own, *others = direction.get("by_score") or [{}]
    apart = [row for row in others if (row.get("agreement") or 0.0) < 1]
    if not apart:
        return []

    def right(row: dict[str, Any]) -> str:
        hit = row.get("accuracy")
        return "" if hit is None else f" ({words.first_hit(direction)} {words.percent(hit)})"

    said = [
        f"{row.get('score')} answers {words.percent(1 - (row.get('agreement') or 0.0))} of queries "
        f"otherwise{right(row)}"
        for row in apart
    ]
    return [
        f"Scores on the rows of the files, as a store computes them: {own.get('score')}"
        f"{right(own)} in use; {'; '.join(said)}."
    ]


def accuracy_rows(direction: dict[str, Any]) -> list[str]:
    """What is said of changing answers on purpose; nothing where nothing is known to be right."""
    said = direction.get("changes_sentence")
    return [] if said is None else [f"{said[0].upper()}{said[1:]}."]


RULER_NOTE = (
    "Directions: over how many the moves of the rows are spread, where rows after a disturbance "
    "were given. Noise moves rows in all of them alike, so by as much it can cause other flips."
)


def ruler_cells(direction: dict[str, Any]) -> list[list[str]]:
    """Name, size, flips, directions and shared part of every mark of the ruler, smallest first."""
    dim, found = words.number((direction.get("closable") or {}).get("dim")), []
    for row in direction.get("ruler") or []:
        name, along, shared = words.said(row.get("disturbance")), "", ""
        if row.get("shared") is not None:  # rows that were given, of either side
            asks = row.get("target") == "queries"
            name += f", on {(words.query_name if asks else words.candidate_name)(direction)}"
            along = f"{words.number(row.get('directions'), 0)} of {dim}"
            shared = words.percent(row["shared"])
        size = words.significant(row.get("total_variance"))
        found.append([name, size, words.percent(row.get("flips")), along, shared])
    return found


def ruler_rows(direction: dict[str, Any]) -> list[str]:
    """The ruler for a terminal: its head, a line per mark, and a note where rows were given."""
    cells = ruler_cells(direction)
    if not cells:
        return []
    given = any(along for *_, along, _ in cells)
    head = ["ruler: what is done to vectors", "E|e|^2", "flips", "directions" if given else "", ""]
    lines = [
        f"{name:<{NAME_WIDTH}}{size:>10}{flips:>10}{along:>14}".rstrip()
        for name, size, flips, along, _ in (head, *cells)
    ]
    return lines + [RULER_NOTE] * given
