"""What people do to stored vectors, drawn: the ruler of noise, and bytes against answers kept."""

from __future__ import annotations

from typing import Any

from isthmus.report.figures import Figure
from isthmus.report.style import GREY, INK, LEGEND, SHARE, WHOLE, layout
from isthmus.report.traces import Trace, points, safe
from isthmus.report.words import said

TODAY, CLOSED = "#5f6b76", "#009e73"


def ruler_figure(direction: dict[str, Any]) -> Figure | None:
    """Flips of plain search against the total variance of what disturbs the stored vectors."""
    rows = [r for r in direction.get("ruler") or [] if (r.get("total_variance") or 0) > 0]
    rows = [r for r in rows if r.get("flips") is not None]
    if not rows:
        return None
    noise = [r for r in rows if said(r.get("disturbance")).startswith("noise ")]
    other = [r for r in rows if r not in noise]
    traces = []
    for name, own, colour, symbol in (
        ("Gaussian noise", noise, GREY, "circle"),
        ("what is done to vectors", other, INK, "square"),
    ):
        if own:
            marker = {"color": colour, "symbol": symbol, "size": 9}
            x, y = ([r[key] for r in own] for key in ("total_variance", "flips"))
            traces.append(points(name, x, y, marker))
    last = rows[-1]
    labels = [
        {
            "x": row["total_variance"],
            "y": row["flips"],
            "text": safe(said(row.get("disturbance"))),
            "showarrow": False,
            "yshift": -44 if row in noise else 0,  # noise below its mark, codes above theirs
            "xanchor": "right" if row is last else "center",
        }
        for row in rows
    ]
    top = max(r["flips"] for r in rows)
    figure = layout(
        "total variance of what is added, E‖e‖²",
        "first answers that change",
        height=320,
        xaxis={"type": "log"},
        yaxis=SHARE | {"range": [-0.08 * top - 0.005, 1.12 * top + 0.01]},
        showlegend=True,
        legend=LEGEND,
        annotations=labels,
    )
    return {"data": traces, "layout": figure}


def bytes_figure(direction: dict[str, Any]) -> Figure | None:
    """Answers that stay against the bytes of a stored vector: today, and with the closing."""
    entries = [
        e
        for e in direction.get("verdict") or []
        if e.get("bytes_per_vector") and e.get("flips_before") is not None
    ]
    if len(entries) < 2:
        return None
    helped = [e for e in entries if e.get("state") == "closing helps"]
    traces: list[Trace] = [
        {
            "x": [e["bytes_per_vector"]] * 2,
            "y": [1 - e["flips_before"], 1 - e["flips_after"]],
            "mode": "lines",
            "line": {"color": CLOSED, "width": 2},
        }
        for e in helped
    ]
    for name, own, key, colour, symbol in (
        ("today", entries, "flips_before", TODAY, "circle"),
        ("with the closing advised", helped, "flips_after", CLOSED, "square"),
    ):
        marker = {"color": colour, "symbol": symbol, "size": 10}
        x, y = [e["bytes_per_vector"] for e in own], [1 - e[key] for e in own]
        traces.append(points(name, x, y, marker, showlegend=bool(own)))
    widest = max(e["bytes_per_vector"] for e in entries)
    labels = [
        {
            "x": e["bytes_per_vector"],
            "y": 1 - e["flips_before"],
            "text": safe(said(e.get("disturbance")).removesuffix(", undisturbed")),
            "showarrow": False,
            "yshift": -44,
            "xanchor": "right" if e["bytes_per_vector"] == widest else "center",
        }
        for e in entries
    ]
    figure = layout(
        "bytes of a stored vector",
        "first answers that stay",
        height=320,
        xaxis={"type": "log"},
        yaxis=WHOLE | {"dtick": 0.2},
        showlegend=True,
        legend=LEGEND,
        annotations=labels,
    )
    return {"data": traces, "layout": figure}
