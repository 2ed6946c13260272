"""``isthmus lab paper``: the base paper's tables and figures, for a model and data of yours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.report.charts import Chart, Series
from isthmus.robustness import trials_for
from isthmus.workflows.paper.measured import STRENGTHS, Row, measured
from isthmus.workflows.paper.tasks import Given, tasks_of

TRIALS, MAX_QUERIES, FIT_SHARE = 30, 300, 0.5
SHOWN_LEVEL = 0.022
"""Noise, in ``total``, under which several numbers of components are drawn in one figure."""
TITLES = {"classes": "zero-shot classes", "retrieval": "retrieval", "choice": "multiple choice"}


def paper(
    seed: int,
    progress: Progress,
    *,
    strengths: Sequence[float] = STRENGTHS,
    trials: int | None = None,
    max_queries: int = MAX_QUERIES,
    fit_share: float = FIT_SHARE,
    **given: Any,
) -> tuple[list[Row], dict[str, Chart], list[str], list[Row]]:
    """Accuracy and robustness against the closing's strength, for what the reader brings.

    Args:
        strengths: of the closing; 0 (plain search) and 1 (the paper's) are always among them.
        trials: noise draws; None: 30, fewer for large inputs. max_queries: queries scored, a
            sample. fit_share: queries that the gap is taken from and that are not scored.
        given: see :class:`Given`; nothing: the emoji world.

    Returns:
        rows of the tables (``part``: noise, bins, rephrased), figures, notes, and a summary: each
        perturbation without closing and at strength 1.

    Cost: 35 closings at most, each searched ``trials`` times under 6 levels of noise.
    """
    steps = sorted({0.0, 1.0, *map(float, strengths)})
    rows: list[Row] = []
    drawn: dict[str, Chart] = {}
    notes = []
    for one in tasks_of(Given(**given)):
        task, queries = one.task.scored(fit_share, max_queries, stream("lab.paper", seed))
        count = trials or trials_for(len(task.queries), len(task.candidates), TRIALS)
        found = measured(one.name, task, queries, one.rephrased, steps, count, seed, progress)
        notes.append(_note(one.name, found))
        drawn |= _figures(one.name, found)
        rows += found
    return rows, drawn, notes, _summary(rows)


def _note(name: str, rows: list[Row]) -> str:
    """What closing does to the clean answers and to the gap, by number of components."""
    before = _plain(rows)["gap"]
    said = [
        f"{row['components']} components: gap {before:.3f} to {row['gap']:.3f}, "
        f"clean agreement {row['clean_agreement']:.1%}"
        for row in _where(rows, convention="total", level=SHOWN_LEVEL, strength=1.0)
    ]
    return f"{TITLES[name]}, strength 1. " + "; ".join(said) + "."


def _summary(rows: list[Row]) -> list[Row]:
    """Each perturbation at strength 0 and 1: the most components that leave something to move,
    and none."""
    out = []
    for at_one in _where(rows, strength=1.0):
        same = {key: at_one[key] for key in ("task", "perturbation", "convention", "level")}
        before = _where(rows, **same, components=at_one["components"], strength=0.0)[0]
        if at_one["components"] not in (_shown(_where(rows, task=at_one["task"])), 0):
            continue
        row = {**same, "components": at_one["components"]}
        for key in ("accuracy", "consistency", "predicted_consistency"):
            row |= {f"{key}_before": before[key], f"{key}_after": at_one[key]}
        out.append(row)
    return out


def _where(rows: list[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _plain(rows: list[Row]) -> Row:
    return _where(rows, strength=0.0)[0]


def _shown(rows: list[Row]) -> int:
    """The most components outside of which a tenth of the gap or more is left to move."""
    at_one = _where(rows, strength=1.0)
    moves = [r["components"] for r in at_one if r["gap"] < 0.9 * _plain(rows)["gap"]]
    return max(moves, default=0)


def _figures(name: str, rows: list[Row]) -> dict[str, Chart]:
    """Noise, accuracy under it, numbers of components, bins, and the rephrased template."""
    components = _shown(rows)
    mine = _where(rows, components=components)
    noise, bins = _where(mine, part="noise"), _where(mine, part="bins")
    several = _where(rows, part="noise", convention="total", level=SHOWN_LEVEL)
    about = f"{TITLES[name]}, {components} components"
    charts = {
        "noise": _chart(f"Answers that survive noise: {about}", noise, "consistency", _noise_name),
        "accuracy": _chart(f"Right answers under noise: {about}", noise, "accuracy", _noise_name),
        "components": _chart(
            f"Noise of {SHOWN_LEVEL:g}: {TITLES[name]}, by components",
            several,
            "consistency",
            lambda row: f"{row['components']} components",
        ),
        "bins": _chart(
            f"Answers that survive rounding: {about}",
            bins,
            "consistency",
            lambda row: f"{row['level']:g} bins",
        ),
    }
    if rephrased := _where(rows, part="rephrased"):
        charts["rephrased"] = _chart(
            "'a photo of' becomes 'photograph of': right answers",
            rephrased,
            "accuracy",
            lambda row: f"{row['components']} components, {row['convention']}",
        )
    clean = Series(
        "undisturbed",
        [row["strength"] for row in _curve(noise)],
        [row["clean_accuracy"] for row in _curve(noise)],
        "line",
        7,
    )
    accuracy = charts["accuracy"]
    charts["accuracy"] = Chart(accuracy.title, accuracy.x, accuracy.y, [*accuracy.series, clean])
    return {f"{part}-{name}": chart for part, chart in charts.items() if chart.series}


def _curve(rows: list[Row]) -> list[Row]:
    """Rows of the first curve among several."""
    keys = ("level", "convention", "components")
    return _where(rows, **{key: rows[0][key] for key in keys}) if rows else []


def _noise_name(row: Row) -> str:
    unit = "a row" if row["convention"] == "total" else "a coordinate"
    return f"{row['level']:g} {unit}"


def _chart(title: str, rows: list[Row], what: str, name: Any) -> Chart:
    """What was measured as dots, what D12 predicts as dashes, a colour a curve."""
    series: list[Series] = []
    left = rows
    while left:
        curve = _curve(left)
        left = [row for row in left if row not in curve]
        colour = len(series) // 2

        def column(key: str, curve: list[Row] = curve) -> list[float | None]:
            return [row[key] for row in curve]

        at = [row["strength"] for row in curve]
        ends = {"low": column(f"{what}_lo"), "high": column(f"{what}_hi")}
        series += [
            Series(name(curve[0]), at, column(what), "dots", colour, **ends),
            Series("", at, column(f"predicted_{what}"), "dashes", colour),
        ]
    return Chart(title, "strength of the closing", what, series)
