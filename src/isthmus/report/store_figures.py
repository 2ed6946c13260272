"""What people do with stored vectors, drawn: the ruler of noise, bytes, thresholds."""

from __future__ import annotations

from typing import Any

from isthmus.report.figures import Figure
from isthmus.report.numbers import said
from isthmus.report.style import CLOSED, GREY, SHARE, TODAY, WHOLE, layout
from isthmus.report.traces import Trace, line, points, safe

DONE = "#aa4499"


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
        ("what is done to vectors", other, DONE, "square"),
    ):
        if own:
            marker = {"color": colour, "symbol": symbol, "size": 9}
            x, y = ([r[key] for r in own] for key in ("total_variance", "flips"))
            traces.append(points(name, x, y, marker))
    largest = max(r["total_variance"] for r in rows)
    labels = [
        {
            "x": row["total_variance"],
            "y": row["flips"],
            "text": safe(said(row.get("disturbance"))),
            "yshift": -44 if row in noise else 0,  # noise below its mark, codes above theirs
            "xanchor": "right" if row["total_variance"] > largest / 10 else "center",
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
        annotations=labels,
    )
    return {"data": traces, "layout": figure}


def bytes_figure(direction: dict[str, Any]) -> Figure | None:
    """Answers that stay by how a vector is stored, fewest bytes first: today, and closed."""
    known = direction.get("verdict") or []
    known = [e for e in known if e.get("bytes_per_vector") and e.get("flips_before") is not None]
    entries = sorted(known, key=lambda e: e["bytes_per_vector"])
    if len(entries) < 2:
        return None
    label = {id(e): _stored(e) for e in entries}
    helped = [e for e in entries if e.get("state") == "closing helps"]
    traces: list[Trace] = [
        {
            "x": [label[id(e)]] * 2,
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
        x, y = [label[id(e)] for e in own], [1 - e[key] for e in own]
        traces.append(points(name, x, y, marker, showlegend=bool(own)))
    axis = {"type": "category", "categoryarray": list(label.values())}
    figure = layout(
        "bytes of a stored vector",
        "first answers that stay",
        height=300,
        xaxis=axis,
        yaxis=WHOLE | {"dtick": 0.2},
        showlegend=True,
    )
    return {"data": traces, "layout": figure}


def _stored(entry: dict[str, Any]) -> str:
    """``one bit<br>rabitq<br>72 B``: a label of an axis."""
    name = said(entry.get("disturbance")).removesuffix(", undisturbed")
    return f"{safe(name).replace(', ', '<br>')}<br>{entry['bytes_per_vector']:,.0f} B"


def threshold_figure(direction: dict[str, Any]) -> Figure | None:
    """Queries that a threshold answers, and how many of those rightly, without any disturbance."""
    rows = direction.get("thresholds") or []
    if not rows:
        return None
    x = [r.get("threshold") for r in rows]
    answered = line("queries answered", None, TODAY, x, [r.get("answered") for r in rows])
    right = line("of these, right", "cosine", CLOSED, x, [r.get("right") for r in rows])
    score = said(direction.get("score"))
    unit = {"euclidean": "largest distance", "dot": "least inner product"}.get(
        score, "least cosine"
    )
    figure = layout(
        f"{unit} of a match", "share", height=300, yaxis=WHOLE | {"dtick": 0.2}, showlegend=True
    )
    return {"data": [answered, right], "layout": figure}
