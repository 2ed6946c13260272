"""The demo's report: what it says on the terminal, and its input-level stress as one picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
from isthmus.report.figures import Figure
from isthmus.report.style import CLOSER_COLOURS, SCORE_MARKS, SHARE, layout
from isthmus.report.traces import intervals, points, safe

PLAIN, CLOSED = ("none", "cosine"), ("center-queries", "dot")


def print_demo(demo: dict[str, Any], screen: Console) -> None:
    """Input-level stress, then the flips that a closing removed."""
    from rich.table import Table

    table = Table(
        title="Perturbed inputs: share of answers that stay (95% interval)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("task", "perturbed", "plain", "center-queries", "theory says"):
        right = name in ("plain", "center-queries")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for trial in demo["inputs"]:
        table.add_row(
            trial["task"],
            short(trial),
            consistency(trial, *PLAIN),
            consistency(trial, *CLOSED),
            expectation(trial),
        )
    screen.print(table)
    for line in flip_lines(demo["flips"]):
        screen.print(line)


def short(trial: dict[str, Any]) -> str:
    """The perturbed side and what was done to it, in a few words."""
    level = "" if trial["family"] == "template" else f" {trial['level']:g}"
    return f"{trial['side']}, {trial['family'].replace('_', ' ')}{level}"


def closer_row(trial: dict[str, Any], *wanted: str) -> dict[str, Any]:
    """The row of one trial for a closer, its score and its kind of bias."""
    return next(r for r in trial["rows"] if (r["closer"], r["score"], r["bias"]) == wanted)


def consistency(trial: dict[str, Any], closer: str, score: str) -> str:
    """Consistency of a closer in a trial, in percent with its interval."""
    row = closer_row(trial, closer, score, "clean")
    low, high = 100 * row["consistency_lo"], 100 * row["consistency_hi"]
    return f"{row['consistency']:.1%} ({low:.0f} to {high:.0f})"


def expectation(trial: dict[str, Any]) -> str:
    """What theory expects of a closing with a candidate bias, in two words."""
    verdict = trial["diagnosis"]
    if verdict["energy"] == 0:
        return "nothing moved"
    if trial["side"] == "queries":
        return "cannot help"
    return "should help" if verdict["helps"] else "hardly helps"


def flip_lines(galleries: list[dict[str, Any]]) -> Iterator[str]:
    """One sentence per perturbation of stored rows."""
    for gallery in galleries:
        yield (
            f"Find the picture by its name, stored pictures under {gallery['family']} "
            f"{gallery['level']:g}: {gallery['flips_before']} of {gallery['queries']} answers "
            f"flip, {gallery['flips_after']} with center-queries ({gallery['saved']} saved, "
            f"{gallery['lost']} lost)."
        )


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
        reach = intervals(rows, colour, "consistency").get("error_y", {})
        traces.append(trace | {"error_x": reach})
    figure = layout(
        "consistency",
        "",
        xaxis=SHARE | {"range": [0, 1.02]},
        yaxis={"type": "category", "autorange": "reversed", "categoryarray": labels},
        height=90 + ROW_HEIGHT * len(trials),
        showlegend=True,
    )
    return {"data": traces, "layout": figure}
