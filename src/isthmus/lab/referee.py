"""The referee: does the size of a gap predict what matters, and when is it best closed?

Computed from the kept figures of small emoji trainings (``referee_runs``, written by
``training/referee.py``) by the plan of ``docs/referee-plan.md``, which was fixed before any run.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.lab.laws import Found
from isthmus.report.charts import Chart, Series

RUNS = Path(__file__).parent / "referee_runs"
METRICS = (
    "centroid_gap",
    "distribution_gap",
    "distribution_gap_unpaired",
    "closable_share",
    "rmg",
    "effective_rank",
)
OUTCOMES = ("retrieval", "flips", "mixed", "clustering", "flips_spread", "one_bit", "zero_shot")
MEASURES = ("retrieval", "zero_shot", "consistency", "one_bit", "one_bit_retrieval", "mixed")
WAYS = {
    "infonce": ("gap-penalty", "align-uniform", "centroid-uniform", "whitened"),
    "offset": ("offset-penalty",),
}
"""Start -> the recipes that close the gap of that start in training."""
AFTER_THE_RUNS = "whitened"
"""The recipe that the second analysis leaves out: its loss sees other rows than those stored, and
its runs lie so far from the rest that they decide every line alone."""
RESAMPLES = 2000


@cache
def kept_runs() -> list[dict[str, Any]]:
    """Every kept run that did not diverge: recipe, seed, curve, metrics, outcomes, afterwards."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RUNS.glob("*.json"))]
    return [run for run in runs if not run.get("diverged")]


def recipe_sums(x: np.ndarray, y: np.ndarray, recipes: np.ndarray) -> np.ndarray:
    """Per recipe (R, 6): count and sums of x, y, x², xy, y². x and y (n,), recipes (n,) numbers.

    x and y are centred first, so that differences of sums lose nothing.
    """
    x, y = x - x.mean(), y - y.mean()
    columns = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    sums = np.zeros((int(recipes.max()) + 1, 6))
    np.add.at(sums, recipes, columns)
    return sums


def left_out_squares(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R² of lines that predict a recipe they were not fitted on, for each weighting, (B,).

    Args:
        sums: (R, 6), :func:`recipe_sums`. weights: (B, R), how often each recipe counts.

    1 - Σ(y - ŷ)²/Σ(y - ȳ)²: ŷ by the line, ȳ the mean, both of all recipes but the one predicted.
    A recipe that is drawn twice is left out twice.
    """
    part = weights[:, :, None] * sums
    count, sx, sy, sxx, sxy, _ = np.moveaxis(part.sum(axis=1, keepdims=True) - part, 2, 0)
    count = np.maximum(count, 1)
    mean_x, mean_y = sx / count, sy / count
    spread = sxx - sx * mean_x
    flat = spread <= 1e-12 * np.maximum(sxx, 1e-300)
    slope = np.where(flat, 0.0, (sxy - sx * mean_y) / np.where(flat, 1.0, spread))
    start = mean_y - slope * mean_x
    n, own_x, own_y, own_xx, own_xy, own_yy = np.moveaxis(part, 2, 0)
    around_mean = own_yy - 2 * mean_y * own_y + n * mean_y**2
    around_line = (
        own_yy
        - 2 * (start * own_y + slope * own_xy)
        + start * start * n
        + 2 * start * slope * own_x
        + slope * slope * own_xx
    )
    return np.asarray(1 - around_line.sum(axis=1) / around_mean.sum(axis=1))


def squares(runs: list[dict[str, Any]], seed: int) -> dict[tuple[str, str], np.ndarray]:
    """(metric, outcome) -> R² of all recipes, then of each resample of them, (1 + 2000,)."""
    names = sorted({run["recipe"] for run in runs})
    recipes = np.array([names.index(run["recipe"]) for run in runs])
    draws = stream("lab.referee", seed).integers(len(names), size=(RESAMPLES, len(names)))
    weights = np.stack([(draws == r).sum(axis=1) for r in range(len(names))], axis=1)
    weights = np.concatenate([np.ones((1, len(names))), weights])
    found = {}
    for outcome in OUTCOMES:
        y = column(runs, "outcomes", outcome)
        for metric in METRICS:
            sums = recipe_sums(column(runs, "metrics", metric), y, recipes)
            found[metric, outcome] = left_out_squares(sums, weights)
    return found


def column(runs: list[dict[str, Any]], kind: str, name: str) -> np.ndarray:
    """One number of each run, (n,)."""
    return np.array([run[kind][name] for run in runs])


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """What all recipes give, and the 95 % percentiles of the resamples behind it."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def referee(seed: int, progress: Progress = quiet) -> Found:
    """Rows of metric and outcome: r2 with lo and hi, and what it gains over the centroid gap.

    ``posthoc_r2`` leaves one recipe out, which was decided after the runs (``AFTER_THE_RUNS``).
    """
    runs = kept_runs()
    planned = squares(runs, seed)
    progress("analyses", 1, 2)
    others = squares([run for run in runs if run["recipe"] != AFTER_THE_RUNS], seed)
    progress("analyses", 2, 2)
    rows = []
    for (metric, outcome), values in planned.items():
        x, y = column(runs, "metrics", metric), column(runs, "outcomes", outcome)
        correlation = float(np.corrcoef(x, y)[0, 1])
        row: dict[str, Any] = {"metric": metric, "outcome": outcome}
        row |= dict(zip(("r2", "lo", "hi"), interval(values), strict=True))
        row |= {"r2_in_sample": correlation**2, "sign": "+" if correlation > 0 else "-"}
        gain = interval(values - planned[METRICS[0], outcome])
        row |= dict(zip(("gain", "gain_lo", "gain_hi"), gain, strict=True))
        later = interval(others[metric, outcome])
        row |= dict(zip(("posthoc_r2", "posthoc_lo", "posthoc_hi"), later, strict=True))
        rows.append(row | {"recipes": len({run["recipe"] for run in runs}), "runs": len(runs)})
    return rows, {outcome: scatter(runs, outcome) for outcome in OUTCOMES[:4]}, verdict(rows)


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows say, by the plan's own rule: a lower end above 0 predicts."""
    notes = []
    for outcome in OUTCOMES:
        mine = [row for row in rows if row["outcome"] == outcome]
        said = []
        for r2, low in (("r2", "lo"), ("posthoc_r2", "posthoc_lo")):
            sure = [f"{r['metric']} ({r['sign']}, {r[r2]:.2f})" for r in mine if r[low] > 0]
            said.append(", ".join(sure) or "nothing")
        notes.append(
            f"{outcome} is predicted by: {said[0]}. Without {AFTER_THE_RUNS} (not planned): "
            f"{said[1]}."
        )
    return notes


def scatter(runs: list[dict[str, Any]], outcome: str) -> Chart:
    """The centroid gap against an outcome, the three starts apart."""
    kinds = {
        "with an offset at the start": lambda name: name.startswith("offset"),
        "from the ordinary start": lambda name: not name.startswith("offset"),
    }
    series = []
    for kind, belongs in kinds.items():
        mine = [run for run in runs if belongs(run["recipe"])]
        x = [run["metrics"]["centroid_gap"] for run in mine]
        series.append(Series(kind, x, [run["outcomes"][outcome] for run in mine], mark="dots"))
    return Chart(f"Centroid gap and {outcome}", "centroid gap", outcome, series)


def closing(seed: int, progress: Progress = quiet) -> Found:
    """Rows of start, way and measure: mean over seeds, and the difference from the start's own
    model left as it is, with a 95 % interval by Student's t over seeds. Nothing is drawn."""
    by_recipe: dict[str, dict[int, dict[str, Any]]] = {}
    for run in kept_runs():
        by_recipe.setdefault(run["recipe"], {})[run["seed"]] = run["afterwards"]
    rows = []
    for start, recipes in WAYS.items():
        own = by_recipe[start]
        ways = {("as it is", "none"): own}
        ways |= {("in training", recipe): by_recipe.get(recipe, {}) for recipe in recipes}
        ways |= {("afterwards", name): own for name in own[min(own)] if name != "none"}
        for (when, way), found in ways.items():
            closer = way if when == "afterwards" else "none"
            seeds = sorted(set(found) & set(own))
            for measure in MEASURES:
                values = np.array([found[s][closer][measure] for s in seeds])
                before = np.array([own[s]["none"][measure] for s in seeds])
                low, high = student(values - before)
                rows.append(
                    {
                        "start": start,
                        "when": when,
                        "way": way,
                        "measure": measure,
                        "value": float(values.mean()) if len(values) else None,
                        "difference": float((values - before).mean()) if len(values) else None,
                        "lo": low,
                        "hi": high,
                        "seeds": len(values),
                    }
                )
    return rows, {}, ["Differences are from the same start's model left as it is, searched by dot."]


def student(values: np.ndarray) -> tuple[float | None, float | None]:
    """95 % interval of a mean of few values; None below two."""
    if len(values) < 2:
        return None, None
    from scipy.stats import t

    reach = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - reach, float(values.mean()) + reach
