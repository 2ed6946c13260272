"""``isthmus stress --page``: one page of a stress table that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from isthmus.data.atomic import plain
from isthmus.report import words
from isthmus.report.figures import Figure
from isthmus.report.plain import name_of, tamed
from isthmus.report.plots import Plots, template, write_page
from isthmus.report.stress_figures import (
    level_figures,
    line_key,
    perturbation_title,
    single_figures,
)
from isthmus.report.traces import TableRow
from isthmus.report.verdict_words import SIGNS

SAFE = 0.995
"""Share of answers kept from which nothing is to be gained, as in the verdict of an audit."""


def write_stress_page(path: str | os.PathLike[str], rows: list[TableRow], **about: Any) -> None:
    """Write the page of stress ``rows`` to ``path``, atomically. Raises FileError where it cannot.

    ``rows`` are those of ``docs/files.md``, averaged over seeds
    (:func:`isthmus.robustness.averaged`); ``about`` as :func:`_page` has it.
    """
    write_page(path, stress_page(rows, **about))


def stress_page(rows: list[TableRow], **about: Any) -> str:
    """The page as text; see :func:`write_stress_page`."""
    return template("stress.html.j2").render(_page(rows, **about)[0])


def _page(
    rows: list[TableRow],
    *,
    queries: str,
    candidates: str,
    warnings: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Everything that the template shows, and the figures by element id.

    ``queries`` and ``candidates`` are what a reader calls the two sides; ``warnings`` and ``notes``
    stand above the figures, what makes every number meaningless first.
    """
    rows, plots = [tamed(plain(row)) for row in rows], Plots()
    warnings, notes = tamed(plain(list(warnings))), tamed(list(notes))
    page = {
        "queries": name_of(queries),
        "candidates": name_of(candidates),
        "facts": _facts(rows),
        "broken": [w for w in warnings if words.is_broken(w)],
        "warnings": [w for w in warnings if not words.is_broken(w)],
        "notes": notes,
        "closers": line_key(rows),
        "single_plots": [plots.add(figure) for figure in single_figures(rows)],
        "level_plots": [
            (title, [plots.add(figure) for figure in own])
            for title, own in level_figures(rows).items()
        ],
        "predicted": any(row.get("predicted_consistency") is not None for row in rows),
        "judged": any(row.get("accuracy") is not None for row in rows),
        "several": any(row.get("seeds", 1) > 1 for row in rows),
        "verdict": verdict_of(rows),
        "signs": SIGNS,
        "rows": [_line(row) for row in _ranked(rows)],
    }
    return page, plots.figures


def _facts(rows: list[TableRow]) -> list[str]:
    """The line under the title: sizes, draws and seeds, each where it is one number."""
    facts = []
    for key, called in (("queries", "queries"), ("candidates", "candidates"), ("seeds", "seeds")):
        values = {row[key] for row in rows if row.get(key) is not None}
        if len(values) == 1 and values != {1}:
            facts.append(f"{words.number(values.pop())} {called}")
    trials = [row["trials"] for row in rows if row.get("trials", 1) > 1]
    if trials:
        facts.append(f"{words.number(max(trials))} draws of the noise")
    tasks = dict.fromkeys(words.said(row.get("task")) for row in rows)
    return [*facts, *tasks]


def _ranked(rows: Sequence[TableRow]) -> list[TableRow]:
    """The rows of every perturbation together, the most answers kept first."""
    order = list(dict.fromkeys(_perturbation(row) for row in rows))
    return sorted(rows, key=lambda r: (order.index(_perturbation(r)), -(r.get("agreement") or 0)))


def _perturbation(row: TableRow) -> tuple[str, Any]:
    return perturbation_title(row), row.get("level")


def verdict_of(rows: Sequence[TableRow]) -> list[dict[str, str]]:
    """For every perturbation: what plain search keeps, and the closing that keeps most.

    What counts is agreement, the answers of undisturbed plain search that stay: a closing that
    changes answers by itself can be consistent and lose them. Closing helps where the two 95%
    intervals do not overlap; averages over seeds have none and get no state.
    """
    found = []
    for who in dict.fromkeys(_perturbation(row) for row in rows):
        own = [r for r in rows if _perturbation(r) == who and r.get("agreement") is not None]
        plain_rows = [r for r in own if r.get("closer") == "none"]
        if not plain_rows:
            continue
        best = max(own, key=lambda r: r["agreement"])
        title, level = who
        found.append(
            {
                "name": title if level in (None, 1) else f"{title}, {words.significant(level)}",
                "state": _state(plain_rows[0], best),
                "before": words.percent(plain_rows[0]["agreement"]),
                "after": words.percent(best["agreement"]),
                "closer": "" if best["closer"] == "none" else ", ".join(words.closer_label(best)),
            }
        )
    return found


def _state(today: TableRow, best: TableRow) -> str:
    high, low = today.get("agreement_hi"), best.get("agreement_lo")
    if today["agreement"] >= SAFE:
        return "safe as it is"
    if high is None or low is None:
        return ""
    if best["closer"] == "none":
        return "do nothing"
    return "closing helps" if low > high else "not clear"


def _line(row: TableRow) -> TableRow:
    name, score = words.closer_label(row)
    return row | {
        "name": name,
        "score": score,
        "title": perturbation_title(row),
        "level_words": "" if row.get("level") in (None, 1) else words.significant(row["level"]),
        "ci": words.interval((row.get("consistency_lo"), row.get("consistency_hi"))),
        "gain_ci": words.interval((row.get("gain_lo"), row.get("gain_hi"))),
        "verdict": _verdict(row),
    }


def _verdict(row: TableRow) -> str:
    """``more`` or ``fewer`` where the paired interval of the gain does not hold zero."""
    low, high = row.get("gain_lo"), row.get("gain_hi")
    if low is None or high is None:
        return ""
    return "more" if low > 0 else "fewer" if high < 0 else ""
