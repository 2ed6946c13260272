"""What people change in a training, and what that does to the gap: towers, optimisers, losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.core.seeds import stream
from isthmus.lab.dynamics import Path, Rates, descend, gradient_flow
from isthmus.lab.laws import DISTANCE, Found, predicted_gap
from isthmus.lab.measures import first_right, gap, matched_cosine
from isthmus.lab.models import (
    FIXED,
    FreeVectors,
    Towers,
    many_clusters,
    paired_inputs,
    tower_state,
    with_scale,
)
from isthmus.report.charts import Chart, Series

PAIRS, HELD_OUT, LATENT, WIDTHS = 64, 200, 8, (24, 32, 16)
STEPS, RUNS = 300, 3
"""Runs differ in the pairs that they are given."""
BASE = {"offset": 2.0, "scale": 1 / 0.07}
"""Distance between the last biases of the towers, and CLIP's scale at the start; it is learned."""
SIGMOID: dict[str, Any] = {"loss": "sigmoid", "scale": 10.0, "bias": -10.0, "rate": 0.01}
CAUSES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("base", "start apart, learned temperature", {}, ""),
    ("initialisation", "start together", {"offset": 0.0}, "smaller"),
    ("initialisation", "start further apart", {"offset": 4.0}, "larger"),
    ("initialisation", "one tower for both", {"shared": True}, "smaller"),
    ("temperature", "fixed at the start's", {"rates": FIXED}, "smaller"),
    ("temperature", "fixed and high, scale 3", {"scale": 3.0, "rates": FIXED}, "smaller"),
    ("temperature", "fixed and low, scale 100", {"scale": 100.0, "rates": FIXED}, "larger"),
    ("temperature", "scale learns ten times faster", {"rates": {"log_scale": 10.0}}, "larger"),
    ("temperature", "scale learns ten times slower", {"rates": {"log_scale": 0.1}}, "smaller"),
    ("data", "30 % of the pairs are wrong", {"wrong": 0.3}, "larger"),
    ("data", "60 % of the pairs are wrong", {"wrong": 0.6}, "larger"),
    ("data", "pairs share less", {"noise": 1.0}, "larger"),
    ("training", "first tower frozen", {"rates": {"x": 0.0}}, "larger"),
    ("training", "batches of 16", {"batch": 16}, ""),
    ("training", "adam", {"optimiser": "adam", "rate": 0.003}, ""),
    ("training", "weight decay", {"weight_decay": 0.01}, ""),
    ("loss", "sigmoid, scale 10, bias -10", SIGMOID, "larger"),
    ("loss", "sigmoid, start together", SIGMOID | {"offset": 0.0}, "larger"),
)
"""(kind of cause, what is done, options, how the law says that the gap at the end compares)."""


def _train(
    seed: int,
    *,
    offset: float = BASE["offset"],
    scale: float = BASE["scale"],
    bias: float = 0.0,
    rates: Rates | None = None,
    loss: str = "infonce",
    wrong: float = 0.0,
    noise: float = 0.3,
    shared: bool = False,
    optimiser: str = "momentum",
    rate: float = 0.05,
    weight_decay: float = 0.0,
    batch: int | None = None,
) -> tuple[Path, np.ndarray, np.ndarray]:
    """A training of two towers on the sphere; vectors of pairs that it has not seen."""
    how: dict[str, Any] = {"loss": loss, "normalised": True, "shared": shared}
    model = Towers(*_inputs(PAIRS, seed, 0, noise=noise, wrong=wrong), **how)
    offsets = np.full(RUNS, offset)
    state = tower_state(WIDTHS, offsets, scale, seed, spread=0.5, shared=shared, bias=bias)
    path = descend(
        model,
        state,
        STEPS,
        rate=rate,
        optimiser=optimiser,
        weight_decay=weight_decay,
        rates=rates,
        batch=batch,
        every=10,
        seed=seed,
    )
    unseen = Towers(*_inputs(HELD_OUT, seed, 1, noise=noise), **how)
    return path, *unseen.embed(path.state(-1))


def _inputs(n: int, seed: int, part: int, **how: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of both modalities for every run, (runs, n, width) each."""
    drawn = [paired_inputs(n, LATENT, WIDTHS[0], seed, part, run, **how) for run in range(RUNS)]
    return np.stack([a for a, _ in drawn]), np.stack([b for _, b in drawn])


def causes(seed: int, progress: Progress) -> Found:
    """Initialisation, temperature, data, training, loss: one thing changed at a time.

    ``law`` says how the gap at the end compares with the first row's by the laws of
    ``docs/lab.md``, ``holds`` whether it does in the mean of the runs.
    """
    rows: list[dict[str, Any]] = []
    drawn = []
    for kind, change, options, law in counted(CAUSES, "causes", progress):
        path, x, y = _train(seed, **options)
        gaps = np.stack([gap(*path.embeddings(at)) for at in range(len(path.times))])
        mean = gaps.mean(1)
        base = rows[0]["gap_end"] if rows else np.nan
        rows.append(
            {
                **{"cause": kind, "change": change, "gap_start": float(mean[0])},
                **{"gap_end": float(mean[-1]), "gap_end_sd": float(gaps[-1].std(ddof=1))},
                "law": law or None,
                "holds": bool((mean[-1] > base) == (law == "larger")) if law else None,
                "scale": float(np.exp(path.states["log_scale"][-1]).mean()),
                "held_out_gap": float(gap(x, y).mean()),
                "matched_cosine": float(matched_cosine(x, y).mean()),
                "accuracy": float(first_right(y, x).mean()),
            }
        )
        if change in DRAWN:
            drawn.append(Series(change, path.times, mean))
    chart = Chart("One thing changed at a time", "steps", "gap of the trained pairs", drawn)
    return rows, {"gap": chart}, []


DRAWN = {
    "start apart, learned temperature",
    "start together",
    "fixed and high, scale 3",
    "fixed and low, scale 100",
    "first tower frozen",
    "sigmoid, scale 10, bias -10",
}


def optimisers(seed: int, progress: Progress) -> Found:
    """How far each optimiser, and weight decay, takes the final gap from D8."""
    pairs, dim, runs, tau, g0, v0 = 64, 8, 2, 0.1, 1.0, 0.0635
    x, y = many_clusters(runs, pairs, dim, g0, v0, seed, 95)
    state = with_scale(x, y, 1 / tau)
    law = predicted_gap(g0, tau, v0)
    unit = pairs * tau / 2
    rows = []
    kinds = (
        ("flow", 0.0, 0.0),
        ("sgd", 0.01, 0.0),
        ("momentum", 0.001, 0.0),
        ("adam", 0.001, 0.0),
        ("adam", 0.01, 0.0),
        ("sgd", 0.01, 0.001),
        ("sgd", 0.01, 0.01),
        ("adam", 0.001, 0.1),
    )
    for training, rate, decay in counted(kinds, "optimisers", progress):
        if training == "flow":
            path = gradient_flow(DISTANCE, state, [0.0, 3 * unit], rates=FIXED, rtol=1e-6)
        else:
            path = descend(
                DISTANCE,
                state,
                round(3 * unit / 0.01),
                rate=rate,
                optimiser=training,
                weight_decay=decay,
                rates=FIXED,
            )
        found = float(gap(*path.embeddings()).mean())
        rows.append(
            {
                **{"training": training, "rate": rate or None, "weight_decay": decay},
                **{"final_gap": found, "predicted": law, "off": found / (law or np.nan) - 1},
            }
        )
    return rows, {}, []


def sigmoid_law(seed: int, progress: Progress) -> Found:
    """With the sigmoid loss the bias moves the gap: b and the offset along a constant axis of x.

    Where every x_i has the same coordinate a along e, d/dt Σ_k ⟨y_k, e⟩ = -s a ∂L/∂b and b' =
    -η_b ∂L/∂b, so Σ_k ⟨y_k, e⟩ - s a b / η_b is kept by a flow; InfoNCE has ∂L/∂b = 0.
    """
    pairs, dim, scale, a = 24, 16, 10.0, 0.5
    x, y = 0.2 * stream("lab.vectors", seed, 96).normal(size=(2, 1, pairs, dim))
    x[..., 0], y[..., 0] = a, -0.3
    rows, drawn = [], []
    times = np.linspace(0, 60, 31)
    kinds = (
        ("infonce", 0.0, 1.0),
        ("sigmoid", -10.0, 1.0),
        ("sigmoid", -10.0, 10.0),
        ("sigmoid", 0.0, 1.0),
        ("sigmoid", 0.0, 0.0),
    )
    for loss, start, rate in counted(kinds, "sigmoid law", progress):
        path = gradient_flow(
            FreeVectors(loss=loss),
            with_scale(x, y, scale, start),
            times,
            rates={"x": 0.0, "log_scale": 0.0, "bias": rate},
        )
        offset, bias = path.states["y"][:, 0, :, 0].sum(-1), path.states["bias"][:, 0]
        law = offset[0] + scale * a * (bias - bias[0]) / rate if rate else None
        rows.append(
            {
                **{"loss": loss, "bias_start": start, "bias_rate": rate},
                "bias_end": float(bias[-1]),
                "offset_start": float(offset[0] / pairs),
                "offset_end": float(offset[-1] / pairs),
                "predicted": None if law is None else float(law[-1] / pairs),
                "drift": None if law is None else float(np.abs(offset - law).max() / pairs),
            }
        )
        drawn.append(Series(f"{loss}, b from {start:g}, rate {rate:g}", times, offset / pairs))
    chart = Chart(
        "The sigmoid loss moves the offset (x is at 0.5), InfoNCE does not",
        "time",
        "mean of y along x's constant axis",
        drawn,
    )
    return rows, {"offset": chart}, []
