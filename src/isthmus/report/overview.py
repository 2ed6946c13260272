"""The audit on one screen: the gap, both directions side by side, what to do. 20 lines at most."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from isthmus.report import words
from isthmus.report.numbers import NOTHING
from isthmus.report.verdict_words import SIGNS, pool_parts, ruler_cells, verdict_cells

WIDTH = 80
NAME = 33
SHORT = {"safe as it is": "safe", "closing helps": "helps", "do nothing": "no help"}
QUESTION = "Close the gap?"
NOISE = "noise "
"""How the lines of noise begin; the weakest is enough for one screen."""
LEGEND = "Answers that change (today → closed):"
LINES = 18
"""Of one screen, less the two that a command adds; where there are more, noise is left out."""
BY_DOT = "  if ranked by dot, as FAISS does"
IN_FULL = ("lengths-differ",)
"""Warnings that say what to give: their code alone would leave a reader where they were."""


def overview_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """(text, style) of every line that is printed; lines are broken by the caller.

    Args:
        report: the dict of ``report.json``. Findings that make every number meaningless come
            first and in full; other warnings are named by their code.
    """
    warnings = report.get("warnings") or []
    broken = [w for w in warnings if words.is_broken(w)]
    lines = [(words.warning_line(w), "bold red") for w in broken]
    lines.append((gap_line(report), "bold"))
    others = [w for w in warnings if not words.is_broken(w)]
    lines += [(words.warning_line(w), "yellow") for w in others if w.get("code") in IN_FULL]
    named = _named(words.names(report), [w for w in others if w.get("code") not in IN_FULL])
    if named:
        lines.append((named, "yellow"))
    directions = report.get("directions") or []
    if any(direction.get("verdict") for direction in directions):
        lines += _side_by_side(report, directions)
    lines += [
        (f"{'  ' if i else ''}{line}", "" if i else "bold")
        for direction in directions
        for i, line in enumerate(_advice(direction))
    ]
    printed = sum(len(wrap(text, WIDTH)) for text, _ in lines)
    return [line for line in lines if printed <= LINES or not line[0].startswith(NOISE)]


def gap_line(report: dict[str, Any]) -> str:
    """``gap 0.851 (0.844 to 0.858; severe); image 500 × 512, text 500 × 512, paired``."""
    gap = report.get("gap") or {}
    facts = (words.interval(gap.get("norm_ci")), words.of_length(gap), gap.get("severity"))
    known = "; ".join(str(fact) for fact in facts if fact)
    return f"gap {words.number(gap.get('norm'))} ({known}); {words.sides(report)}"


def _named(called: dict[str, str], warnings: Sequence[dict[str, Any]]) -> str:
    """The warnings by code, with the sides that they are of."""
    sides: dict[str, list[str]] = {}
    for warning in warnings:
        found = sides.setdefault(str(warning.get("code")), [])
        found += [n for n in called.values() if str(warning.get("text")).startswith(f"{n}: ")]
    said = [code + (f" ({', '.join(names)})" if names else "") for code, names in sides.items()]
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return f"{count}: {', '.join(said)}" if said else ""


def _side_by_side(
    report: dict[str, Any], directions: Sequence[dict[str, Any]]
) -> list[tuple[str, str]]:
    """A line per disturbance, a column per direction."""
    wide = (WIDTH - NAME) // max(len(directions), 1)

    def line(name: str, cells: Sequence[str], style: str = "") -> tuple[str, str]:
        columns = "".join(f"{cell:<{wide}}" for cell in cells)
        return f"{name:<{NAME}}{columns}".rstrip(), style

    unmoved = [words.unmoved(direction) for direction in directions]
    safe = [name for name in unmoved[0] if all(name in names for names in unmoved)]
    nothing = f" No for {' and '.join(name.partition(',')[0] for name in safe)}." if safe else ""
    lines = [(f"{QUESTION}{nothing} {LEGEND}", "")]
    lines.append(line("", [words.arrow(direction) for direction in directions], "bold"))
    right = [(direction.get("clean") or {}).get("accuracy") for direction in directions]
    if any(value is not None for value in right):
        today = [words.percent(value) for value in right]
        lines.append(line(f"{words.first_hit(directions[0])} today", today))
    cells = [{cell["name"]: cell for cell in verdict_cells(d)} for d in directions]
    names = dict.fromkeys(name for found in cells for name in found if name not in safe)
    noises = [name for name in names if name.startswith(NOISE)]
    for name in (name for name in names if name not in noises[1:]):
        lines.append(line(name, [_cell(found.get(name)) for found in cells]))
        if any((found.get(name) or {}).get("by_dot") for found in cells):
            by_dot = [(found.get(name) or {}).get("dot") for found in cells]
            lines.append(line(BY_DOT, [f"  {share or NOTHING}" for share in by_dot]))
    given = [{n: c for n, *c in ruler_cells(direction) if c[2]} for direction in directions]
    for name in dict.fromkeys(name for found in given for name in found):
        cells_of = (found.get(name, [NOTHING] * 2) for found in given)
        lines.append(line(name, [f"  {flips}, E|e|^2 {size}" for size, flips, *_ in cells_of]))
    raised = [_raised(direction) for direction in directions]
    if any(raised):
        lines.append(line("R@1 if answers may change", raised))
    pool = pool_parts(report)
    if pool:
        name, state, numbers = pool
        lines.append(
            (f"{name:<{NAME}}{SIGNS.get(state, ' ')} {SHORT.get(state, state)} {numbers}", "")
        )
    return lines


def _cell(cell: dict[str, str] | None) -> str:
    """``+ helps 64.4% → 43.2%``."""
    if cell is None:
        return NOTHING
    return f"{cell['sign']} {SHORT.get(cell['state'], cell['state'])} {cell['number']}"


def _raised(direction: dict[str, Any]) -> str:
    """The closer that raises accuracy by changing answers, on held-out queries; else empty."""
    better = [row for row in direction.get("changes") or [] if row.get("raises")]
    best = max(better, key=lambda row: row.get("after") or 0.0, default=None)
    if best is None:
        return ""
    return f"{words.percent(best.get('before'))} → {words.percent(best.get('after'))}"


def _advice(direction: dict[str, Any]) -> list[str]:
    """What to do in this direction: yes or no; then what is gained and what it costs."""
    chosen, asks = direction.get("recommendation") or {}, words.arrow(direction)
    closer = chosen.get("closer")
    if closer is None:
        return [f"{asks}: {words.sentence(direction)}"]
    if closer == "none":
        return [f"{asks}: no, leave the gap; no closing clearly removed flips."]
    worse = [words.said(row.get("disturbance")) for row in chosen.get("worse") or []]
    before, after = (words.percent(chosen.get(f"flips_{when}")) for when in ("before", "after"))
    keeps, cost = chosen.get("clean_agreement"), words.cost_of(direction)
    kept = "none" if keeps == 1 else words.percent(1 - (keeps or 0.0))
    return [
        f"{asks}: yes for {words.said(chosen.get('judged_on'))}"
        + (f"; with it worse: {'; '.join(worse)}." if worse else "."),
        f"{str(closer).capitalize()}: {before} → {after} change, {kept} undisturbed."
        + (f" Cost: {cost}." if cost else ""),
    ]
