"""Plots of a stress table: curves where a perturbation has levels, bars where it has one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.report.figures import (
    SHARE,
    WHOLE,
    Figure,
    error_bars,
    family_label,
    line,
    open_marks,
    safe,
)
from isthmus.report.style import INK, SCORE_PATTERNS, colours, layout, mark
from isthmus.report.words import CONVENTION_WORDS, said, small

Row = dict[str, Any]
Player = tuple[str, str]
"""A closer as it is called here (its strength with it, unless that is 1), and its score."""

MEASURES = (("consistency", "answers that survive"), ("gain", "more than plain search"))
"""What is drawn of every perturbation, and the words on its axis."""


def player(row: Row) -> Player:
    """Who a row is of."""
    closer, strength = said(row.get("closer")), row.get("strength")
    plain = closer == "none" or strength in (None, 1.0)
    return closer if plain else f"{closer} {small(strength)}", said(row.get("score"))


def players(rows: Iterable[Row]) -> list[dict[str, str]]:
    """What each line is: name, score, colour and mark, in the order of the rows."""
    found = list(dict.fromkeys(player(row) for row in rows))
    tint = colours(name for name, _ in found)
    return [
        {"name": name, "score": score, "colour": tint[name], "mark": mark(score)}
        for name, score in found
    ]


def hit(row: Row) -> str:
    """``rabitq on queries``: what is perturbed how, its level aside."""
    side = said(row.get("side"))
    where = "" if side == "candidates" else f" on {side}"
    shortlist = row.get("rescored")
    again = f", {shortlist:g} ranked again" if shortlist else ""
    kind = said(row.get("convention"))
    fitted = f", fitted on {kind}" if kind in ("other", "union") else ""
    return f"{family_label(row)}{where}{fitted}{again}"


def level_figures(rows: list[Row]) -> dict[str, list[Figure]]:
    """For every perturbation of several levels: consistency, and gain, against the level."""
    figures: dict[str, list[Figure]] = {}
    key = players(rows)
    for title, own in _by_hit(rows).items():
        levels = dict.fromkeys(r.get("level") for r in own)
        if len(levels) < 2:
            continue
        unit = CONVENTION_WORDS.get(said(own[0].get("convention")))
        x = "dimensions kept (below 1: a share)" if unit is None else f"noise level, {unit}"
        for measure, label in MEASURES:
            drawn = [r for r in own if _drawn(r, measure)]
            if not drawn:
                continue
            figure = layout(x, label, height=300, yaxis=_axis(drawn, measure),
                            xaxis={"rangemode": "tozero"})  # fmt: skip
            name = f"{title[0].upper()}{title[1:]}"
            figures.setdefault(name, []).append(
                {"data": _lines(drawn, measure, key), "layout": figure}
            )  # fmt: skip
    return figures


def _lines(rows: list[Row], measure: str, key: list[dict[str, str]]) -> list[dict[str, Any]]:
    traces = []
    for who in key:
        own = [r for r in rows if player(r) == (who["name"], who["score"])]
        if not own:
            continue
        own.sort(key=lambda r: r["level"])
        label, x = f"{who['name']} · {who['score']}", [r["level"] for r in own]
        trace = line(label, who["score"], who["colour"], x, [r[measure] for r in own])
        traces.append(trace | _intervals(own, who["colour"], measure))
        guess = [r for r in own if r.get("predicted_consistency") is not None]
        if guess and measure == "consistency":
            y = [r["predicted_consistency"] for r in guess]
            at = [r["level"] for r in guess]
            traces.append(open_marks(label, who["score"], who["colour"], at, y))
    return traces


def single_figures(rows: list[Row]) -> list[Figure]:
    """Bars of all perturbations of one level, codecs above all: consistency, and gain."""
    alone = {
        title: own
        for title, own in _by_hit(rows).items()
        if len({r.get("level") for r in own}) == 1
    }
    figures: list[Figure] = []
    for measure, label in MEASURES:
        drawn = {
            _with_level(title, own[0]): [r for r in own if _drawn(r, measure)]
            for title, own in alone.items()
        }
        flat = [r for own in drawn.values() for r in own]
        if not flat:
            continue
        figure = layout(
            "", label, height=320, yaxis=_axis(flat, measure, bars=True),
            xaxis={"type": "category"}, barmode="group", bargap=0.18, bargroupgap=0.06,
        )  # fmt: skip
        figures.append({"data": _bars(drawn, measure, players(rows)), "layout": figure})
    return figures


def _bars(
    groups: dict[str, list[Row]], measure: str, key: list[dict[str, str]]
) -> list[dict[str, Any]]:
    traces = []
    for who in key:
        found = {
            title: row
            for title, own in groups.items()
            for row in own
            if player(row) == (who["name"], who["score"])
        }
        if not found:
            continue
        traces.append(
            {
                "type": "bar", "name": safe(f"{who['name']} · {who['score']}"),
                "x": [safe(title).replace(" on ", "<br>on ") for title in found],
                "hoverinfo": "x+y+name",
                "y": [row[measure] for row in found.values()],
                "marker": {
                    "color": who["colour"],
                    "pattern": {
                        "shape": SCORE_PATTERNS.get(who["score"], "x"), "fgcolor": "#ffffff",
                        "bgcolor": who["colour"], "size": 5, "solidity": 0.3,
                    },
                },
            } | _intervals(list(found.values()), INK, measure)
        )  # fmt: skip
    return traces


def _intervals(rows: list[Row], colour: str, measure: str) -> dict[str, Any]:
    """``error_y``, where there are intervals: averages over seeds have none."""
    known = any(row.get(f"{measure}_lo") is not None for row in rows)
    return {"error_y": error_bars(rows, colour, measure)} if known else {}


def _drawn(row: Row, measure: str) -> bool:
    """Whether a row has the number; plain search gains nothing over itself and is left out."""
    return row.get(measure) is not None and not (measure == "gain" and row["closer"] == "none")


def _by_hit(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(hit(row), []).append(row)
    return found


def _with_level(title: str, row: Row) -> str:
    level = row.get("level")
    return title if level in (None, 1, 1.0) else f"{title}, {small(level)}"


def _axis(rows: list[Row], measure: str, *, bars: bool = False) -> dict[str, Any]:
    """Shares up to 1, from the tenth below the lowest (bars from 0); a gain has its zero drawn."""
    if measure != "consistency":
        return {
            "tickformat": "~%", "rangemode": "tozero",
            "zeroline": True, "zerolinecolor": INK, "zerolinewidth": 1,
        }  # fmt: skip
    if bars:
        return WHOLE
    ends = [r[k] for r in rows for k in ("consistency", "consistency_lo") if r.get(k) is not None]
    return SHARE | {"range": [int(min(ends) * 10) / 10, 1.01]}
