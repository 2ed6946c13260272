"""Plots as plain dicts of traces and layout, as plotly calls them; :mod:`.svg` draws them.

Every function takes a part of the report and returns a figure, or None where the part is missing.
"""

from __future__ import annotations

from typing import Any

from isthmus.report.numbers import number, percent, said
from isthmus.report.style import (
    BARS,
    CLOSED,
    GREY,
    SHARE,
    SIDE_COLOURS,
    SIDE_MARKS,
    TODAY,
    WHOLE,
    colours,
    layout,
)
from isthmus.report.traces import TableRow, Trace, bars, curve, line, points, safe
from isthmus.report.words import (
    CONVENTION_WORDS,
    FAMILY_WORDS,
    closers_of,
    first_hit,
    names,
    rows_where,
)

Figure = dict[str, Any]


def gap_figure(report: dict[str, Any]) -> Figure | None:
    """Both sides in the plane of the gap and the widest direction across it, to one scale."""
    picture = report.get("picture")
    if not picture or not picture.get("a") or not picture.get("b"):
        return None
    called, traces = names(report), []
    count = picture.get("pairs") or 0
    if count:
        traces.append(_segments(picture, count))
    for side in ("a", "b"):
        marker = {"color": SIDE_COLOURS[side], "symbol": SIDE_MARKS[side], "size": 5}
        place = picture[side]
        traces.append(points(called[side], place["x"], place["y"], marker | {"opacity": 0.55}))
    axes = picture.get("axes") or {}
    scale = {"yaxis": {"scaleanchor": "x"}, "showlegend": True}
    shape = layout(safe(axes.get("x", "")), safe(axes.get("y", "")), height=480, **scale)
    figure = {"data": traces, "layout": shape}
    means = picture.get("means")
    if means:
        _add_gap(figure, means, called, (report.get("gap") or {}).get("norm"))
    return figure


def _segments(picture: dict[str, Any], count: int) -> dict[str, Any]:
    a, b = picture["a"], picture["b"]
    x: list[float | None] = []
    y: list[float | None] = []
    for i in range(count):
        x += [a["x"][i], b["x"][i], None]
        y += [a["y"][i], b["y"][i], None]
    drawn = {"mode": "lines", "x": x, "y": y, "line": {"color": GREY, "width": 0.8}}
    return drawn | {"name": f"{count} of the pairs"}


def _add_gap(figure: Figure, means: dict[str, Any], called: dict[str, str], norm: Any) -> None:
    """The two means, and the arrow from a's to b's with its length."""
    (ax,), (ay,) = means["a"]["x"], means["a"]["y"]
    (bx,), (by,) = means["b"]["x"], means["b"]["y"]
    for side, x, y in (("a", ax, ay), ("b", bx, by)):
        marker = {"color": SIDE_COLOURS[side], "symbol": SIDE_MARKS[side], "size": 14}
        marker |= {"line": {"color": "#ffffff"}}
        mean = points(f"mean of {called[side]}", [x], [y], marker, showlegend=False)
        figure["data"].append(mean)
    arrow = {"x": bx, "y": by, "ax": ax, "ay": ay, "text": "", "showarrow": True}
    label = {"x": 0, "y": 0, "yshift": 16, "text": f"<b>gap {number(norm)}</b>"}
    figure["layout"]["annotations"] = [arrow, label]


def only_chosen(direction: dict[str, Any]) -> dict[str, Any]:
    """The direction with today's search and the recommended closing alone, of all closers."""
    chosen = direction.get("recommendation") or {}
    kept = {("none", direction.get("score")), (chosen.get("closer"), chosen.get("score"))}
    names = {name for name, _ in kept}
    curve = direction.get("closing_curve") or []
    rows = direction.get("stress") or []
    return direction | {
        "stress": [r for r in rows if (r.get("closer"), r.get("score")) in kept],
        "closing_curve": [p for p in curve if p.get("closer") in names],
    }


def verdict_figure(direction: dict[str, Any]) -> Figure | None:
    """First answers that change under each disturbance: today, and with the closing advised."""
    entries = [e for e in direction.get("verdict") or [] if e.get("flips_before") is not None]
    if not entries:
        return None
    labels = [safe(said(e.get("disturbance"))) for e in entries]
    helped = [e for e in entries if e.get("state") == "closing helps"]
    traces = []
    for entry in helped:
        y = safe(said(entry.get("disturbance")))
        x = [entry["flips_before"], entry.get("flips_after")]
        traces.append({"x": x, "y": [y, y], "mode": "lines", "line": {"color": CLOSED, "width": 2}})
    today = {"color": TODAY, "symbol": "circle", "size": 10}
    closed = {"color": CLOSED, "symbol": "square", "size": 10}
    traces.append(points("today", [e["flips_before"] for e in entries], labels, today))
    if helped:
        after = [e.get("flips_after") for e in helped]
        places = [safe(said(e.get("disturbance"))) for e in helped]
        traces.append(points("with the closing advised", after, places, closed))
    axis = {"type": "category", "autorange": "reversed", "categoryarray": labels}
    figure = layout(
        "first answers that change",
        "",
        height=76 + 26 * len(labels),
        xaxis=SHARE | {"rangemode": "tozero"},
        yaxis=axis,
        showlegend=True,
    )
    return {"data": traces, "layout": figure}


def closing_figures(direction: dict[str, Any]) -> list[tuple[str, Figure]]:
    """Strength against gap, clean agreement and accuracy, one line per closer."""
    curve, hit = direction.get("closing_curve") or [], first_hit(direction)
    panels = (
        ("gap", "Gap that is left", "gap", {"rangemode": "tozero"}),
        ("clean_agreement", "Clean agreement", "share of first answers", WHOLE),
        ("accuracy", f"Clean {hit}", hit, SHARE | {"rangemode": "tozero"}),
    )
    figures = []
    for key, title, label, axis in panels:
        known = [p for p in curve if p.get(key) is not None]
        if not known:
            continue
        scores = dict(closers_of(direction))
        tint = colours(said(p.get("closer")) for p in curve)
        traces = []
        for name in dict.fromkeys(said(p.get("closer")) for p in known):
            own = [p for p in known if said(p.get("closer")) == name]
            x, y = [p.get("strength") for p in own], [p[key] for p in own]
            traces.append(line(name, scores.get(name), tint[name], x, y))
        shape = layout("strength of the closing", label, yaxis=axis)
        figures.append((title, {"data": traces, "layout": shape}))
    return figures


def closable_figure(direction: dict[str, Any]) -> Figure | None:
    """What can be closed when only the leading part of the candidates' hull is respected."""
    curve = (direction.get("closable") or {}).get("curve") or []
    if not curve:
        return None
    x = [percent(p.get("variance_kept")).replace(".0%", "%") for p in curve]
    share = line("closable share", "cosine", "#0072b2", x, [p.get("share") for p in curve])
    kept = line("clean agreement", "dot", "#aa4499", x, [p.get("clean_agreement") for p in curve])
    kept["line"] = kept["line"] | {"dash": "dash"}
    figure = layout(
        "candidates' variance kept",
        "share",
        yaxis=WHOLE,
        xaxis={"type": "category"},
        showlegend=True,
    )
    return {"data": [share, kept], "layout": figure}


SIDE_TITLES = {
    "candidates": "Noise on candidates",
    "queries": "Noise on queries (control)",
    "both": "Noise on both",
}


def flip_figures(direction: dict[str, Any]) -> list[tuple[str, Figure]]:
    """Consistency against noise level, one panel per side, all panels to one scale."""
    rows = rows_where(direction, family="gaussian")
    ends = [r.get(k) for r in rows for k in ("consistency", "consistency_lo")]
    lowest = min((e for e in ends if isinstance(e, float)), default=0.0)
    floor = int(lowest * 10) / 10
    figures = []
    for side in dict.fromkeys(said(r.get("side")) for r in rows):
        own = [r for r in rows if said(r.get("side")) == side]
        convention = said(own[0].get("convention"))
        x = f"noise level, {CONVENTION_WORDS.get(convention, safe(convention))}"
        figure = layout(
            x,
            "consistency",
            height=300,
            yaxis=SHARE | {"range": [floor, 1.01]},
            xaxis={"rangemode": "tozero"},
        )
        figures.append(
            (SIDE_TITLES.get(side, side), {"data": _flip_lines(direction, own), "layout": figure})
        )
    return figures


def _of_closers(
    direction: dict[str, Any], rows: list[TableRow]
) -> list[tuple[str, str, str, list[TableRow]]]:
    """Name, score, colour and rows of every closer that was stressed."""
    found = closers_of(direction)
    tint = colours(name for name, _ in found)
    return [
        (
            name,
            score,
            tint[name],
            [r for r in rows if (r.get("closer"), r.get("score")) == (name, score)],
        )
        for name, score in found
    ]


def _flip_lines(direction: dict[str, Any], rows: list[TableRow]) -> list[Trace]:
    traces = []
    for name, score, colour, own in _of_closers(direction, rows):
        traces += curve(own, name, score, colour)
    return traces


def codec_figures(direction: dict[str, Any]) -> list[tuple[str, Figure]]:
    """Bars of consistency under codecs: number of bins, and sign bits."""
    quantised = rows_where(direction, family="uniform-quantisation")
    bins = [
        (f"{row.get('level'):g} bins", row.get("level"))
        for row in {r.get("level"): r for r in quantised}.values()
    ]
    figures = []
    if quantised:
        drawn = _bars(direction, quantised, "level", bins)
        figures.append(("Uniform quantisation of stored candidates", drawn))
    signs = rows_where(direction, family="sign-bits")
    words = {"candidates": "candidates only", "both": "candidates and queries"}
    sides = [(words.get(s, s), s) for s in dict.fromkeys(said(r.get("side")) for r in signs)]
    if signs:
        figures.append(("Sign bits, 1 bit per dimension", _bars(direction, signs, "side", sides)))
    return figures


def _bars(
    direction: dict[str, Any], rows: list[TableRow], key: str, groups: list[tuple[str, Any]]
) -> Figure:
    traces = []
    for name, score, colour, own in _of_closers(direction, rows):
        by_group = {r.get(key): r for r in own}
        found = {label: by_group[value] for label, value in groups if value in by_group}
        traces.append(bars(found, name, score, colour, hatched=name == "none"))
    figure = layout("", "consistency", yaxis=WHOLE | {"dtick": 0.2}, **BARS)
    return {"data": traces, "layout": figure}


def mixed_figure(report: dict[str, Any]) -> Figure | None:
    """Share of side a in the top ten of a mixed pool, for queries of each side."""
    mixed = report.get("mixed") or {}
    shares = mixed.get("a_share_at_10")
    if not shares:
        return None
    called = names(report)
    x = [safe(f"queries: {called[side]}") for side in ("a", "b")]
    traces = []
    for when, colour in (("before", GREY), ("after", "#3d4b59")):
        y = [(shares.get(when) or {}).get(f"queries_{side}") for side in ("a", "b")]
        trace: Trace = {"type": "bar", "name": f"{when} centring", "x": x, "y": y}
        traces.append(
            trace | {"marker": {"color": colour}, "text": [percent(share) for share in y]}
        )
    bars = BARS | {"bargap": 0.4, "showlegend": True}
    label = safe(f"share of {called['a']} in the top 10")
    figure = layout("", label, yaxis=SHARE | {"range": [0, 1.12]}, height=300, **bars)
    expected = mixed.get("expected")
    if expected is not None:
        figure["shapes"] = [{"y0": expected}]
        text = f"a fair pool: {percent(expected)}"
        figure["annotations"] = [{"xref": "paper", "y": expected, "text": text}]
    return {"data": traces, "layout": figure}


def family_label(row: dict[str, Any]) -> str:
    """A stress row's family in words."""
    family = said(row.get("family"))
    return FAMILY_WORDS.get(family, family)
