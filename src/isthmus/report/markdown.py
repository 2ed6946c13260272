"""The report in Markdown, in short: for pull requests, issues and logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from isthmus.report import words
from isthmus.report.gap_words import gap_rows
from isthmus.report.table import header, summary_rows
from isthmus.report.verdict_words import accuracy_rows, pool_rows, score_rows, verdict_cells


def render_markdown(report: dict[str, Any]) -> str:
    """Title, recommendations, warnings, one table per direction, the gap in numbers."""
    called = words.names(report)
    lines = [f"# Modality gap: {inert(called['a'])} and {inert(called['b'])}", ""]
    lines += [inert(header(report)) + ".", ""]
    warnings = report.get("warnings") or []
    for broken in (w for w in warnings if words.is_broken(w)):
        lines += [f"**Every number is meaningless.** {inert(words.warning_line(broken))}", ""]
    for direction in report.get("directions") or []:
        lines += [f"**{inert(words.arrow(direction))}**: {inert(words.sentence(direction))}"]
        cost = words.cost_of(direction)
        lines += [f"Cost: {inert(cost)}."] if cost else []
        lines += [f"Note: {inert(line)}" for line in words.caveats(direction)]
        reason = (direction.get("recommendation") or {}).get("reason")
        lines += [f"Why: {inert(reason)}."] if reason else []
        shown = ("sign", "name", "state", "number", "why")
        cells = [[c[key] for key in shown] for c in verdict_cells(direction)]
        if cells:
            titles = ["", "what is done to vectors", "verdict", "answers that change", "why"]
            lines += ["", *_grid(titles, [_all(row) for row in cells]), ""]
            lines += [inert(x) for x in (*score_rows(direction), *accuracy_rows(direction))]
        shell = words.commands(report, direction)
        lines += ["", *_fenced("\n".join(shell))] if shell else []
        lines.append("")
    pool = pool_rows(report)
    if pool:
        lines += [f"**{inert(pool[0])}**: {inert(' '.join(pool[1:]))}", ""]
    warnings = [w for w in warnings if not words.is_broken(w)]
    if warnings:
        lines += ["## Warnings", ""]
        lines += [f"- {inert(w.get('code'))}: {inert(w.get('text'))}" for w in warnings] + [""]
    for direction in report.get("directions") or []:
        titles, rows = summary_rows(direction)
        if not rows:
            continue
        lines += [f"## {inert(words.arrow(direction))}", ""]
        lines += _grid(titles, [[f"{'**' * on}{c}{'**' * on}" for c in _all(r)] for r, on in rows])
        lines += ["", "Flips: noise (level) or codec on the candidates. Bold: recommended.", ""]
    table = gap_rows(report)
    if table:
        lines += ["## The gap in numbers", ""]
        values = [g["value"] + (f" ({g['why']})" if g["why"] else "") for g in table]
        cells = [
            _all([g["label"], g["part"], value, g["interval"]])
            for g, value in zip(table, values, strict=True)
        ]
        lines += _grid(["measure", "of", "value", "95% interval"], cells)
    return "\n".join(lines).rstrip() + "\n"


def inert(text: Any) -> str:
    """Text that Markdown shows as it is written: one line, markup and HTML taken apart."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)


def _all(cells: Sequence[str]) -> list[str]:
    return [inert(cell) for cell in cells]


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(_all(titles)) + " |",
        "|" + " --- |" * len(titles),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _fenced(text: str) -> list[str]:
    """A code block whose fence is longer than any run of backquotes in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", text, fence]
