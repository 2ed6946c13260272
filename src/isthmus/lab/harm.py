"""Does the gap matter? Trainings that differ in it alone, and the answers that noise changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.core.seeds import stream
from isthmus.core.statistics import share_over_trials, wilson
from isthmus.lab.dynamics import Rates, State, descend
from isthmus.lab.laws import Found
from isthmus.lab.measures import gap, gap_vector, squared_distances
from isthmus.lab.models import FIXED, Towers, paired_inputs, tower_state
from isthmus.report.charts import Chart, Series
from isthmus.theory.prediction import predict

PAIRS, HELD_OUT, LATENT, WIDTHS = 64, 120, 8, (24, 16)
STEPS, TRIALS, LEVEL = 150, 60, 0.1
"""LEVEL: mean squared length of the noise on a candidate over the candidates' variance."""
OFFSETS = (0.0, 1.5, 3.0, 4.5, 6.0)
TAUS = (0.5, 1.0, 2.0, 4.0)
FLAT: Rates = {f"{side}.w2": np.append(np.ones(WIDTHS[-1] - 1), 0.0) for side in "xy"}
"""Rates of a training whose weights never reach the last coordinate, the one of the offset."""


def gap_robustness(seed: int, progress: Progress) -> Found:
    """Theorems 3.4 and A as cause: the same towers, pairs and queries; only the gap differs.

    Linear towers, distance logits, gradient steps on training pairs; held-out pairs are searched by
    Euclidean distance, x the candidates. ``offset alone``: the towers' biases start this far apart
    along an axis that their weights never learn, so that everything else stays the same, accuracy
    too. ``offset``: the weights may use the axis. ``temperature``: they start 2 apart and are
    trained at another temperature.
    ``predicted`` is D12 on the very vectors; ``predicted_by_gap`` is D12 on those of the first
    training of the family, whose candidates are moved across their hull until the gap is the same.
    """
    rows, drawn = [], []
    families: tuple[tuple[str, np.ndarray, np.ndarray, Rates], ...] = (
        ("offset alone", np.array(OFFSETS), np.ones(len(OFFSETS)), FLAT),
        ("offset", np.array(OFFSETS), np.ones(len(OFFSETS)), {}),
        ("temperature", np.full(len(TAUS), 2.0), np.array(TAUS), {}),
    )
    for place, (family, offsets, taus, rates) in enumerate(families):
        x, y = _held_out(offsets, taus, rates, seed)
        scaled = np.sqrt(x.var(-2).sum(-1))[:, None, None]
        x, y = x / scaled, y / scaled  # unit spread, so that noise and gap mean the same everywhere
        found: list[dict[str, Any]] = []
        for run in counted(range(len(offsets)), f"gap and robustness, {family}", progress):
            about: dict[str, Any] = {
                "family": family,
                "offset": float(offsets[run]),
                "tau": float(taus[run]),
            }
            found.append(about | _searched(x[run], y[run], seed))
            moved = _moved(x[0], y[0], float(gap(x[run], y[run])))
            found[-1]["predicted_by_gap"] = _predicted(moved, y[0])
        first = found[0]
        for row in found:
            low, high = row["accuracy_lo"], row["accuracy_hi"]
            row["equal_accuracy"] = bool(low <= first["accuracy"] <= high)
        rows += found
        drawn += _curves(family, found, place)
    chart = Chart(
        "The larger the gap, the fewer answers survive noise on candidates",
        "gap over the candidates' spread",
        "consistency",
        drawn,
    )
    return rows, {"consistency": chart}, []


def _held_out(
    offsets: np.ndarray, taus: np.ndarray, rates: Rates, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of held-out pairs after training, (runs, HELD_OUT, d) each."""
    model = Towers(*paired_inputs(PAIRS, LATENT, WIDTHS[0], seed), logits="distance")
    state: State = tower_state(WIDTHS, offsets, 1 / taus, seed, spread=0.3)
    # a fall of the loss by a temperature's share needs steps of that size
    rate = 0.02 * float(taus.min()) ** 2
    path = descend(model, state, STEPS, rate=rate, optimiser="momentum", rates={**FIXED, **rates})
    unseen = Towers(*paired_inputs(HELD_OUT, LATENT, WIDTHS[0], seed, 1), logits="distance")
    return unseen.embed(path.state(-1))


def _searched(x: np.ndarray, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Accuracy, consistency under noise, and its prediction, of queries y among candidates x."""
    clean = squared_distances(y, x).argmin(1)
    right = wilson(float((clean == np.arange(len(y))).sum()), len(y))
    rng = stream("lab.noise", seed)
    kept = np.empty((TRIALS, len(y)))
    for trial in range(TRIALS):
        noisy = x + np.sqrt(LEVEL / x.shape[1]) * rng.normal(size=x.shape)
        kept[trial] = squared_distances(y, noisy).argmin(1) == clean
    share = share_over_trials(kept)
    return {
        **{"gap": float(gap(x, y)), "accuracy": right.mean},
        **{"accuracy_lo": right.low, "accuracy_hi": right.high},
        **{"consistency": share.mean, "consistency_lo": share.low, "consistency_hi": share.high},
        "predicted": _predicted(x, y),
    }


def _predicted(x: np.ndarray, y: np.ndarray) -> float:
    return predict(y, x, score="euclidean", noise=LEVEL).consistency


def _moved(x: np.ndarray, y: np.ndarray, wanted: float) -> np.ndarray:
    """Candidates moved along a direction in which they do not vary, until the gap is ``wanted``.

    The last coordinate is such a direction but for what training put there; it is made flat.
    """
    moved = x.copy()
    moved[:, -1] = x[:, -1].mean()
    g = gap_vector(moved, y)
    rest = float((g[:-1] ** 2).sum())
    moved[:, -1] += g[-1] + np.sqrt(max(wanted**2 - rest, 0.0))
    return moved


def _curves(family: str, rows: list[dict[str, Any]], place: int) -> list[Series]:
    order = sorted(rows, key=lambda row: row["gap"])

    def column(key: str) -> list[float]:
        return [row[key] for row in order]

    ends = {"low": column("consistency_lo"), "high": column("consistency_hi")}
    at = column("gap")
    return [
        Series(f"by {family}, measured", at, column("consistency"), "dots", place, **ends),
        Series("D12 on the vectors", at, column("predicted"), "dashes", place),
        Series("D12 from the gap alone", at, column("predicted_by_gap"), "line", place + 3),
    ]
