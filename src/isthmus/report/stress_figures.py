"""Plots of a stress table: curves where a perturbation has levels, bars where it has one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.report.figures import Figure, family_label
from isthmus.report.numbers import said, significant
from isthmus.report.style import BARS, SHARE, WHOLE, colours, layout, mark
from isthmus.report.traces import TableRow, Trace, bars, curve, safe
from isthmus.report.words import CONVENTION_WORDS, closer_label

LineKey = list[dict[str, str]]
"""Every closer of a table: name, score, colour and mark. One for all plots of a page."""

MEASURES = (
    ("consistency", "answers that survive"),
    ("gain", "more than plain search by the same score"),
)
"""What is drawn of every perturbation, and the words on its axis."""


def line_key(rows: Iterable[TableRow]) -> LineKey:
    """What each line is, in the order of the rows."""
    found = list(dict.fromkeys(closer_label(row) for row in rows))
    tint = colours(name for name, _ in found)
    return [
        {"name": name, "score": score, "colour": tint[name], "mark": mark(score)}
        for name, score in found
    ]


def perturbation_title(row: TableRow) -> str:
    """``rabitq on queries``: what is perturbed how, its level aside."""
    side = said(row.get("side"))
    where = "" if side == "candidates" else f" on {side}"
    shortlist = row.get("rescored")
    again = f", {shortlist:g} ranked again" if shortlist else ""
    kind = said(row.get("convention"))
    fitted = f", fitted on {kind}" if kind in ("other", "union") else ""
    return f"{family_label(row)}{where}{fitted}{again}"


def level_figures(rows: list[TableRow]) -> dict[str, list[Figure]]:
    """For every perturbation of several levels: consistency, and gain, against the level."""
    key, figures = line_key(rows), {}
    for title, own in _by_title(rows, several=True).items():
        unit = CONVENTION_WORDS.get(said(own[0].get("convention")))
        x = "dimensions kept (below 1: a share)" if unit is None else f"noise level, {unit}"
        panels = []
        for measure, label in MEASURES:
            if drawn := [row for row in own if _drawn(row, measure)]:
                figure = layout(
                    x, label, height=300, yaxis=_axis(drawn, measure), xaxis={"rangemode": "tozero"}
                )
                panels.append({"data": _curves(drawn, measure, key), "layout": figure})
        figures[f"{title[0].upper()}{title[1:]}"] = panels
    return figures


def _curves(rows: list[TableRow], measure: str, key: LineKey) -> list[Trace]:
    traces = []
    for who in key:
        if own := [row for row in rows if _is(row, who)]:
            own.sort(key=lambda row: row["level"])
            traces += curve(own, who["name"], who["score"], who["colour"], measure)
    return traces


def single_figures(rows: list[TableRow]) -> list[Figure]:
    """Bars of all perturbations of one level, codecs above all: consistency, and gain."""
    key, figures = line_key(rows), []
    alone = [
        (_with_level(title, row), row)
        for title, own in _by_title(rows, several=False).items()
        for row in own
    ]
    for measure, label in MEASURES:
        if drawn := [(title, row) for title, row in alone if _drawn(row, measure)]:
            axis = _axis([row for _, row in drawn], measure, bars=True)
            figure = layout("", label, height=320, yaxis=axis, **BARS)
            figures.append({"data": _bars(drawn, measure, key), "layout": figure})
    return figures


def _bars(drawn: list[tuple[str, TableRow]], measure: str, key: LineKey) -> list[Trace]:
    return [
        bars(own, who["name"], who["score"], who["colour"], measure, hatched=True)
        for who in key
        if (own := {title: row for title, row in drawn if _is(row, who)})
    ]


def _is(row: TableRow, who: dict[str, str]) -> bool:
    return closer_label(row) == (who["name"], who["score"])


def _drawn(row: TableRow, measure: str) -> bool:
    """Whether a row has the number; plain search gains nothing over itself and is left out."""
    return row.get(measure) is not None and not (measure == "gain" and row["closer"] == "none")


def _by_title(rows: list[TableRow], *, several: bool) -> dict[str, list[TableRow]]:
    """The rows of every perturbation that has ``several`` levels, or of those that have not."""
    found: dict[str, list[TableRow]] = {}
    for row in rows:
        found.setdefault(perturbation_title(row), []).append(row)
    return {
        title: own
        for title, own in found.items()
        if (len({row.get("level") for row in own}) > 1) == several
    }


def _with_level(title: str, row: TableRow) -> str:
    """A label of an axis; the side is on a line of its own."""
    level = row.get("level")
    label = title if level in (None, 1) else f"{title}, {significant(level)}"
    return safe(label).replace(" on ", "<br>on ")


def _axis(rows: list[TableRow], measure: str, *, bars: bool = False) -> dict[str, Any]:
    """Shares up to 1, from the tenth below the lowest (bars from 0); a gain is seen against 0."""
    if measure != "consistency":
        return {"tickformat": "~%", "rangemode": "tozero"}
    if bars:
        return WHOLE
    ends = [r[k] for r in rows for k in ("consistency", "consistency_lo") if r.get(k) is not None]
    return SHARE | {"range": [int(min(ends) * 10) / 10, 1.01]}
