"""``isthmus stress --page``: one page of a stress table that needs nothing but itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from isthmus.data.atomic import plain
from isthmus.report import words
from isthmus.report.figures import Figure
from isthmus.report.plots import Plots, template, write_page
from isthmus.report.stress_figures import (
    level_figures,
    line_key,
    perturbation_title,
    single_figures,
)
from isthmus.report.traces import TableRow


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
    rows, plots = [plain(row) for row in rows], Plots()
    page = {
        "queries": queries,
        "candidates": candidates,
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
        "rows": [_line(row) for row in rows],
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
