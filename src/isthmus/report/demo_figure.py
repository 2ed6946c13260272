"""The demo's input-level stress as one picture: a row per perturbation, a mark per closer."""

from __future__ import annotations

from typing import Any

from isthmus.report.demo_words import expectation, short
from isthmus.report.figures import SHARE, Figure, layout, safe
from isthmus.report.style import CLOSER_COLOURS, SCORE_MARKS

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
        found = [
            next(
                (
                    r
                    for r in t["rows"]
                    if (r["closer"], r["score"], r["bias"]) == (closer, score, bias)
                ),
                None,
            )
            for t in trials
        ]
        kept = [(label, row) for label, row in zip(labels, found, strict=True) if row]
        colour = CLOSER_COLOURS[closer]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": closer if closer != "none" else "plain",
                "x": [row["consistency"] for _, row in kept],
                "y": [label for label, _ in kept],
                "marker": {"color": colour, "symbol": SCORE_MARKS[score], "size": 9},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "color": colour,
                    "thickness": 1.2,
                    "width": 3,
                    "array": [row["consistency_hi"] - row["consistency"] for _, row in kept],
                    "arrayminus": [row["consistency"] - row["consistency_lo"] for _, row in kept],
                },
                "hovertemplate": "%{x:.1%}<extra>%{fullData.name}</extra>",
            }
        )
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
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    return {"data": traces, "layout": figure}
