"""What plots are made of: a closer's curve or bar, with its interval.

Text that came from a user is escaped by :func:`safe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from isthmus.report.style import INK, SCORE_PATTERNS, mark

TableRow = dict[str, Any]
"""A row of a stress table: ``docs/files.md``."""
Trace = dict[str, Any]
LONGEST_NAME = 40


def safe(text: Any) -> str:
    """User text for a label: cut to 40 characters, markup shown as it is written."""
    words = " ".join(str(text).split())
    cut = words if len(words) <= LONGEST_NAME else words[: LONGEST_NAME - 1] + "…"
    return escape(cut, quote=False)


def points(
    name: str, x: Sequence[Any], y: Sequence[Any], marker: dict[str, Any], **more: Any
) -> Trace:
    """Marks at (x, y)."""
    drawn = {"mode": "markers", "name": safe(name), "x": list(x), "y": list(y)}
    return drawn | {"marker": marker} | more


def line(name: str, score: str | None, colour: str, x: Sequence[Any], y: Sequence[Any]) -> Trace:
    """A closer's curve, with its score's marks."""
    marker = {"color": colour, "symbol": mark(score), "size": 8}
    return points(name, x, y, marker, mode="lines+markers", line={"color": colour, "width": 2})


def curve(
    rows: Sequence[TableRow], name: str, score: str, colour: str, measure: str = "consistency"
) -> list[Trace]:
    """A closer's stress rows against their level: line, intervals, and what theory predicts."""
    label, levels = f"{name} · {score}", [row.get("level") for row in rows]
    drawn = line(label, score, colour, levels, [row.get(measure) for row in rows])
    traces = [drawn | intervals(rows, colour, measure)]
    guess = [row for row in rows if row.get(f"predicted_{measure}") is not None]
    if guess:
        marker = {"color": colour, "symbol": f"{mark(score)}-open", "size": 14}
        traces.append(
            points(
                f"{label}, predicted",
                [row.get("level") for row in guess],
                [row[f"predicted_{measure}"] for row in guess],
                marker,
            )
        )
    return traces


def bars(
    rows: dict[str, TableRow],
    name: str,
    score: str,
    colour: str,
    measure: str = "consistency",
    *,
    hatched: bool,
) -> Trace:
    """A closer's stress rows as one bar per label; ``hatched`` shows its score by a pattern."""
    pattern = {"shape": SCORE_PATTERNS.get(score, "x") if hatched else ""}
    return {
        "type": "bar",
        "name": safe(f"{name} · {score}"),
        "x": list(rows),
        "y": [row.get(measure) for row in rows.values()],
        "marker": {"color": colour, "pattern": pattern},
    } | intervals(list(rows.values()), INK, measure)


def intervals(rows: Sequence[TableRow], colour: str, measure: str) -> dict[str, Any]:
    """``error_y`` as distances from the points; nothing where no row has an interval."""

    def reach(row: TableRow, end: str) -> float | None:
        middle, edge = row.get(measure), row.get(f"{measure}_{end}")
        return None if middle is None or edge is None else abs(edge - middle)

    above, below = ([reach(row, end) for row in rows] for end in ("hi", "lo"))
    if all(value is None for value in (*above, *below)):
        return {}
    return {"error_y": {"array": above, "arrayminus": below, "color": colour}}
