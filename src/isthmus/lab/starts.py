"""The start of a training: what an isotropic one leaves, and how the softmaxes become balanced."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.data.moments import Moments
from isthmus.lab.dynamics import gradient_flow
from isthmus.lab.laws import DISTANCE, Found, predicted_gap
from isthmus.lab.measures import (
    across_gap,
    along_gap,
    column_deviation,
    gap,
    sinkhorn_potentials,
    squared_distances,
    variance_along,
    variance_share,
)
from isthmus.lab.models import FIXED, two_clusters, with_scale
from isthmus.report.charts import Chart, Series

PAIRS, DIM, TAU, VARIANCE = 64, 8, 0.1, 0.0635
LONG = 12
"""Units of time (n τ / 2) until a gap is called final."""


def isotropic_start(seed: int, progress: Progress) -> Found:
    """Theorem 3.2: a gap needs neither a collapsed start nor is one enough for it."""
    x, y = two_clusters(PAIRS, DIM, 1.0, VARIANCE, seed, 80)
    middle = np.zeros(DIM)
    middle[0] = 0.5
    flat = np.ones(DIM)
    flat[0] = 0.0
    thin = (np.arange(DIM) < 3).astype(float)
    starts = {
        "isotropic, two clusters": (x, y),
        "flat along the gap": ((x + middle) * flat - middle, (y - middle) * flat + middle),
        "collapsed to 3 dimensions": (x * thin, y * thin),
        "isotropic, one cluster": (x + middle, y - middle),
        "collapsed, one cluster": ((x + middle) * thin, (y - middle) * thin),
    }
    first, second = (np.stack(side) for side in zip(*starts.values()))
    state = with_scale(first, second, 1 / TAU)
    times = np.linspace(0, LONG, 49)
    path = gradient_flow(DISTANCE, state, times * PAIRS * TAU / 2, rates=FIXED, rtol=1e-6)
    progress("isotropic start", 1, 1)
    sides = path.states["x"], path.states["y"]
    gaps = gap(*sides)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, along = variance_share(*sides), variance_along(*sides)
    rows = []
    for run, (name, (rows_x, _)) in enumerate(starts.items()):
        apart = gaps[0, run] > 1e-6
        rows.append(
            {
                "start": name,
                "effective_rank": Moments.of(rows_x).effective_rank,
                "gap_start": float(gaps[0, run]),
                "gap_end": float(gaps[-1, run]),
                "predicted": predicted_gap(float(gaps[0, run]), TAU, float(along[0, run]))
                if apart
                else 0.0,
                "variance_share_start": float(shares[0, run]) if apart else None,
                "variance_share_end": float(shares[-1, run]) if apart else None,
            }
        )
    drawn = [Series(name, times, gaps[:, run]) for run, name in enumerate(starts)]
    chart = Chart("Two clusters make the gap, not a collapsed start", "units of time", "gap", drawn)
    return rows, {"gap": chart}, []


def doubly_stochastic(seed: int, progress: Progress) -> Found:
    """2.1.5: coordinates along the gap become the potentials that balance the softmaxes.

    ``y along the axis``: nothing else moves and x is flat there, as D2 has it.
    """
    times = np.array([0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0])
    axis = np.zeros(DIM)
    axis[0] = 1.0
    rows, drawn = [], []
    kinds = [("y along the axis", 10.0, DIM), ("everything", 20.0, 3), ("everything", 3.0, 3)]
    for place, (moving, ratio, dim) in enumerate(counted(kinds, "doubly stochastic", progress)):
        tau, rates = 1 / ratio, dict[str, float | np.ndarray](FIXED)
        x, y = two_clusters(PAIRS, dim, 1.0, 0.18, seed, 81)
        if moving != "everything":
            x[:, 0], y[:, 0] = -0.5, 0.5
            rates |= {"x": 0.0, "y": axis}
        path = gradient_flow(
            DISTANCE,
            with_scale(x[None], y[None], 1 / tau),
            times * PAIRS * tau / 2,
            rates=rates,
            rtol=1e-7,
        )
        found = [_balance(*path.embeddings(at), tau) for at in range(len(times))]
        about = {"moving": moving, "ratio": ratio}
        rows += [{**about, "time": float(time), **row} for time, row in zip(times, found)]
        for said, key, mark in (("", "deviation", "line"), (" without", "without_axis", "dashes")):
            title = f"{moving}, G² = {ratio:g} τ{said}"
            drawn.append(Series(title, times, [row[key] for row in found], mark, place))
    chart = Chart(
        "Softmaxes with and without the gap's axis: balanced late, not early",
        "units of time",
        "rms of column sums less 1",
        drawn,
        log_y=True,
    )
    return rows, {"deviation": chart}, []


def _balance(x: np.ndarray, y: np.ndarray, tau: float) -> dict[str, Any]:
    """Deviation with and without the gap's axis, and β_k = -2Gη_k/τ against Sinkhorn's log b_k."""
    bare = -squared_distances(*across_gap(x, y)) / tau
    beta = (-2 * gap(x, y)[:, None] * along_gap(x, y)[1] / tau)[0]
    potential = sinkhorn_potentials(bare[0])
    moved = bool(beta.any())
    return {
        "deviation": float(column_deviation(-squared_distances(x, y) / tau)[0]),
        "without_axis": float(column_deviation(bare)[0]),
        "correlation": float(np.corrcoef(beta, potential)[0, 1]) if moved else None,
        "slope": float(beta @ potential / (potential @ potential)) if moved else None,
    }
