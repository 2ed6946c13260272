"""The demo's input-level stress as one picture: a row per perturbation, a mark per closer."""

from __future__ import annotations

from typing import Any

from isthmus.report.demo_words import expectation, short
from isthmus.report.figures import Figure
from isthmus.report.style import CLOSER_COLOURS, LEGEND, SCORE_MARKS, SHARE, layout
from isthmus.report.traces import intervals, points, safe

SHOWN = (
    ("none", "cosine", "clean"),
    ("orthogonal-shift", "euclidean", "clean"),
    ("center-queries", "dot", "clean"),
)
"""Closers that keep clean answers; mean-shift's consistency says little and stays in the table."""
ROW_HEIGHT = 42


def inputs_figure(demo: dict[str, Any]) -> Figure | None:
    """Consistency with its interval, one row per task and perturbation, first trial on top."""
    trials = [t for t in demo.get("inputs") or [] if t["diagnosis"]["energy"]]
    if not trials:
        return None
    labels = [f"<b>{safe(t['task'])}</b><br>{safe(short(t))}: {expectation(t)}" for t in trials]
    traces = []
    for closer, score, bias in SHOWN:
        kept = [
            (label, row)
            for label, trial in zip(labels, trials, strict=True)
            for row in trial["rows"]
            if (row["closer"], row["score"], row["bias"]) == (closer, score, bias)
        ]
        colour, rows = CLOSER_COLOURS[closer], [row for _, row in kept]
        marker = {"color": colour, "symbol": SCORE_MARKS[score], "size": 9}
        x, y = [row["consistency"] for row in rows], [label for label, _ in kept]
        trace = points("plain" if closer == "none" else closer, x, y, marker)
        reach = intervals(rows, colour, "consistency").get("error_y", {}) | {"thickness": 1.2}
        hover = "%{x:.1%}<extra>%{fullData.name}</extra>"
        traces.append(trace | {"error_x": reach, "hovertemplate": hover})
    figure = layout(
        "consistency",
        "",
        xaxis=SHARE | {"range": [0, 1.02]},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "categoryorder": "array",
            "categoryarray": labels,
        },
        height=90 + ROW_HEIGHT * len(trials),
        showlegend=True,
        legend=LEGEND,
    )
    return {"data": traces, "layout": figure}
