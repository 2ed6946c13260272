"""What no gradient reaches: the part of the gap across the other side's span (D1 to D4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.core.seeds import stream
from isthmus.lab.dynamics import OPTIMISERS, Path, descend, gradient_flow
from isthmus.lab.gradients import loss_gradients, softmaxes
from isthmus.lab.laws import DISTANCE, Found
from isthmus.lab.measures import column_deviation, gap_vector, squared_distances
from isthmus.lab.models import FIXED, FreeVectors, Towers, paired_inputs, tower_state, with_scale
from isthmus.report.charts import Chart, Series

PAIRS, DIM, TAU = 24, 40, 0.3
STEPS, RATE, ADAM_RATE, DECAY = 400, 0.5, 0.01, 0.01
FROZEN = {"x": 0.0}
"""Rates of a training that moves y alone, as with a frozen image tower."""
UNIT = FreeVectors(normalised=True)
SCALE = 1 / 0.07
"""CLIP's at the start."""
SCALE_RATES = (0.01, 0.05, 0.2, 1.0)
"""Learning rates of the log scale over that of the vectors."""
DECAYING, BATCHES = "sgd, weight decay", "sgd, batches of 6"


def outside(rows: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Rows less their part in the span of the rows ``span`` (n, d)."""
    basis, _ = np.linalg.qr(span.T)
    return np.asarray(rows - (rows @ basis) @ basis.T)


def orthogonal_part(seed: int, progress: Progress) -> Found:
    """D1 to D3: what is kept, by optimiser; the sharp condition S_k = 1; what vanishes."""
    x, y = 0.3 * stream("lab.vectors", seed, 70).normal(size=(2, 1, PAIRS, DIM))
    y[..., 0] += 1.0
    rows: list[dict[str, Any]] = []
    before = outside(y[0], x[0])
    size = np.linalg.norm(before)
    kinds = ("flow", *OPTIMISERS, BATCHES, DECAYING)
    for training in counted(kinds, "orthogonal part", progress):
        path = _trained(training, FreeVectors(), with_scale(x, y, 5.0), FIXED | FROZEN)
        moved = float(np.linalg.norm(outside(path.embeddings()[1][0], x[0]) - before) / size)
        kept = (1 - RATE * DECAY) ** STEPS if training == DECAYING else 1.0
        said = "change of y outside span(x), over its length"
        rows.append(_row("D1", training, said, moved, 1 - kept))
    rows.append(_row("D2", "one gradient", "error of scaling by 1 - S_k", _scaled(x[0], y[0]), 0))
    rows.append(
        _row("D3", "flow", "1 - cosine of y outside span(x) with its start", _turn(x, y), 0)
    )
    more, chart = _in_span(seed)
    return rows + more, {"in-span": chart}, []


def _row(
    law: str, training: str, quantity: str, measured: float, predicted: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"law": law, "training": training, "quantity": quantity}
    return row | {"measured": float(measured), "predicted": float(predicted)}


def _trained(
    training: str, model: FreeVectors, state: dict[str, np.ndarray], rates: dict[str, float]
) -> Path:
    """One of ``flow``, the optimisers and SGD with weight decay, over the same time."""
    if training == "flow":
        return gradient_flow(model, state, [0.0, STEPS * RATE], rates=rates, rtol=1e-7)
    decay = DECAY if training == DECAYING else 0.0
    name = training.split(",")[0]
    rate = ADAM_RATE if name == "adam" else RATE
    return descend(
        model,
        state,
        STEPS,
        rate=rate,
        optimiser=name,
        rates=rates,
        weight_decay=decay,
        batch=6 if training == BATCHES else None,
    )


def _scaled(x: np.ndarray, y: np.ndarray) -> float:
    """Largest error of D2 over the largest entry: P ∂L/∂y_k = (1 - S_k) P y_k / nτ."""
    found = loss_gradients(x, y, 1 / TAU, logits="distance")
    sums = softmaxes(-squared_distances(x, y) / TAU)[0].sum(0)
    middle = x.mean(0)
    law = (1 - sums)[:, None] * outside(y - middle, x - middle) / (PAIRS * TAU)
    return float(np.abs(outside(found.y, x - middle) - law).max() / np.abs(law).max())


def _turn(x: np.ndarray, y: np.ndarray) -> float:
    """How far a flow of unit vectors turns the part of y outside span(x): largest 1 - cosine."""
    state = with_scale(x, y, SCALE)
    path = gradient_flow(UNIT, state, [0.0, 50.0], rates=FIXED | FROZEN, rtol=1e-9)
    before, after = (outside(path.states["y"][at, 0], x[0]) for at in (0, -1))
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float((1 - (before * after).sum(1) / lengths).max())


def _in_span(seed: int) -> tuple[list[dict[str, Any]], Chart]:
    """x frozen, with no variance in its last coordinates: the gap inside its span and across."""
    pairs, dim, inner, tau = 64, 8, 6, 0.1
    x, y = np.zeros((2, 1, pairs, dim))
    rng = stream("lab.vectors", seed, 71)
    for side, spread, sign in ((x, 0.5, -1), (y, 0.2, 1)):
        side[..., :inner] = spread * rng.normal(size=(pairs, inner))
        side -= side.mean(1, keepdims=True)
        side[..., [0, -1]] += sign * 0.25
    times = np.linspace(0, 16, 33)
    path = gradient_flow(
        DISTANCE,
        with_scale(x, y, 1 / tau),
        times * pairs * tau / 2,
        rates=FIXED | FROZEN,
        rtol=1e-7,
    )
    sides = path.states["x"], path.states["y"]
    g = np.abs(gap_vector(*sides)[:, 0])
    inside, across = np.linalg.norm(g[:, :inner], axis=1), g[:, -1]
    column = column_deviation(-squared_distances(*sides) / tau)[:, 0]
    where = "flow, x frozen"
    rows = [
        _row("D2", where, "orthogonal part of the gap, last over first", across[-1] / across[0], 1),
        _row("D2", where, "part inside, last over first (falls)", inside[-1] / inside[0], 0),
        _row("D2", where, "rms of S_k - 1, last over first (falls)", column[-1] / column[0], 0),
    ]
    drawn = [
        Series("orthogonal part of the gap", times, across / across[0]),
        Series("part inside the span of x", times, inside / inside[0]),
        Series("rms of S_k - 1", times, column / column[0]),
    ]
    return rows, Chart("x frozen: what is across stays", "units of time", "over its start", drawn)


def temperature_law(seed: int, progress: Progress) -> Found:
    """D4: with a learned scale s, the off-span height is an exact power of 1 / s.

    x lies in a cone around one axis and y around another, in which x has nothing: ``height`` is the
    geometric mean of y's coordinate along it; with ``one offset`` the bias that all y share.
    """
    rows: list[dict[str, Any]] = []
    drawn = []
    kinds: list[tuple[str, str, dict[str, float]]]
    kinds = [("x frozen", "flow", FROZEN), ("both trained", "flow", {})]
    kinds += [("x frozen", name, FROZEN) for name in ("sgd", "momentum", "adam", DECAYING)]
    for towers, training, frozen in counted(kinds, "temperature law", progress):
        for place, rate in enumerate(SCALE_RATES if training == "flow" else SCALE_RATES[1:2]):
            scale, height = _heights(training, frozen | {"log_scale": rate}, seed)
            law = height[0] * (scale / scale[0]) ** (-1 / (PAIRS * rate))
            off = np.log(height / law)[1:]
            rows.append(
                {
                    **{"towers": towers, "training": training, "scale_rate": rate},
                    **{"scale_start": float(scale[0]), "scale_end": float(scale[-1])},
                    **{"height_start": float(height[0]), "height_end": float(height[-1])},
                    "predicted": float(law[-1]),
                    "drift": float(np.abs(off - off[0]).max()),
                }
            )
            if towers == "x frozen" and training == "flow":
                drawn.append(Series(f"scale's rate {rate:g}", scale, height, "dots", place))
                drawn.append(Series("predicted by D4", scale, law, "dashes", place))
    chart = Chart(
        "The faster the scale grows, the more of the gap is left",
        "logit scale s (training goes to the right)",
        "off-span height of y",
        drawn,
        log_x=True,
    )
    rows += [_shared_offset(rate, seed) for rate in SCALE_RATES[1:]]
    notes = [
        "drift: free vectors, largest change of log height + log s / (n × scale_rate) after the "
        "first kept state (steps are longest at the start).",
        "one offset: towers whose bias holds it; the law is then approximate, and n times as fast.",
    ]
    return rows, {"law": chart}, notes


def _shared_offset(scale_rate: float, seed: int) -> dict[str, Any]:
    """D4 where one bias holds the offset of every y: it gathers all pairs' rates, so n is gone.

    d log b / dt = Σ_k ⟨ŷ_k, u_k⟩ / ‖y_k‖², and Σ_k ⟨ŷ_k, u_k⟩ = ∂L/∂ν; with the mean of 1 / ‖y_k‖²
    for each, log b = -∫ mean(1 / ‖y‖²) dν / η_ν. Linear tower, x frozen, flow.
    """
    model = Towers(*paired_inputs(PAIRS, 8, 24, seed), normalised=True)
    state = tower_state((24, 16), np.array([2.0]), SCALE, seed, spread=0.5)
    state["x.b2"][:] = 0.0
    flat = np.append(np.ones(15), 0.0)
    path = gradient_flow(
        model,
        state,
        np.linspace(0, 3, 101),
        rates={**FROZEN, "y.w2": flat, "log_scale": scale_rate},
        rtol=1e-7,
    )
    offset, log_scale = path.states["y.b2"][:, 0, 0, -1], path.states["log_scale"][:, 0]
    y = np.stack([model.outputs(path.state(at))[1][0] for at in range(len(path.times))])
    weight = (1 / (y**2).sum(-1)).mean(-1)
    fall = np.cumsum(np.diff(log_scale) * (weight[1:] + weight[:-1]) / 2) / scale_rate
    law = offset[0] * np.exp(-np.append(0.0, fall))
    return {
        **{"towers": "x frozen, one offset", "training": "flow", "scale_rate": scale_rate},
        **{"scale_start": SCALE, "scale_end": float(np.exp(log_scale[-1]))},
        **{"height_start": float(offset[0]), "height_end": float(offset[-1])},
        **{"predicted": float(law[-1]), "drift": float(np.abs(np.log(offset / law)).max())},
    }


def _heights(training: str, rates: dict[str, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and heights along a training of unit vectors with a learned scale."""
    sides = 0.3 / np.sqrt(64) * stream("lab.vectors", seed, 72).normal(size=(2, 1, PAIRS, 64))
    for axis, side in enumerate(sides):
        side[..., :2] = 0.0
        side[..., axis] = 1.0
        side /= np.linalg.norm(side, axis=-1, keepdims=True)
    state = with_scale(sides[0], sides[1], SCALE)
    if training == "flow":
        times = np.array([0, 1, 2, 5, 10, 20, 40, 80.0])
        path = gradient_flow(UNIT, state, times, rates=rates, rtol=1e-8)
    else:
        decay = DECAY if training == DECAYING else 0.0
        name = training.split(",")[0]
        rate = 0.01 if name == "adam" else 0.02 if name == "momentum" else 0.2
        path = descend(
            UNIT, state, 400, rate=rate, optimiser=name, weight_decay=decay, rates=rates, every=20
        )
    y = path.states["y"][:, 0]
    height = np.exp(np.log(np.abs(y[..., 1]) / np.linalg.norm(y, axis=-1)).mean(-1))
    return np.exp(path.states["log_scale"][:, 0]), height
