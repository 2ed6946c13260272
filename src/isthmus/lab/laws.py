"""The laws of the gap under gradient flow, each simulated beside its formula (``docs/lab.md``).

Time is in units of n τ / 2, n pairs and temperature τ = 1 / scale: the modes of D6 then have the
rates that are given there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress, counted
from isthmus.lab.dynamics import gradient_flow
from isthmus.lab.gradients import loss_gradients
from isthmus.lab.measures import gap, gap_vector, variance_along
from isthmus.lab.models import FIXED, FreeVectors, many_clusters, two_clusters, with_scale
from isthmus.report.charts import Chart, Series

Found = tuple[list[dict[str, Any]], dict[str, Chart], list[str]]
"""Rows, figures by name, notes."""

STARTS = (
    (1.0, 0.1, 0.0039),
    (1.0, 0.1, 0.0157),
    (1.0, 0.1, 0.0635),
    (1.0, 0.1, 0.1439),
    (1.0, 0.01, 0.0161),
    (0.6, 0.1, 0.0156),
    (0.4, 0.1, 0.0156),
    (0.3, 0.1, 0.0156),
)
"""Gap, temperature and variance along the gap at the start: the table of D8."""
PAIRS, DIM, RUNS = 64, 8, 4
LONG = 12
"""Units of time until a gap is called final."""
DISTANCE = FreeVectors(logits="distance")
TINY = 1e-4
"""Spread of clusters that a first-order law is tested on."""
RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 25.0)
"""G² / τ."""


def _conserved(g: Any, tau: float, variance: Any) -> Any:
    """D8: G² - τ log G² - 2V."""
    return g**2 - tau * np.log(g**2) - 2 * variance


def predicted_gap(g0: float, tau: float, v0: float) -> float | None:
    """D8: the root above √τ of G² - τ log G² = G0² - τ log G0² - 2 V0; None where there is none."""
    goal = _conserved(g0, tau, v0)
    if g0**2 <= tau or goal < tau - tau * np.log(tau):
        return None
    low, high = float(np.sqrt(tau)), g0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if _conserved(middle, tau, 0) > goal else (middle, high)
    return high


def final_gap(seed: int, progress: Progress) -> Found:
    """The table of D8: free vectors, distance logits, gradient flow, mean of ``RUNS`` draws.

    ``simulated`` starts from clusters that are drawn independently, ``matched`` from pairs that
    differ by the gap alone: there the slow mode of D6, the one that D8 speaks of, is all there is.
    """
    rows = []
    for number, (g0, tau, v0) in enumerate(counted(STARTS, "final gap", progress)):
        x, y = many_clusters(RUNS, PAIRS, DIM, g0, v0, seed, number)
        moved, partner = two_clusters(PAIRS, DIM, g0, v0, seed, 0, number, matched=True)
        state = with_scale(np.append(x, moved[None], 0), np.append(y, partner[None], 0), 1 / tau)
        times = [0.0, LONG * PAIRS * tau / 2]
        path = gradient_flow(DISTANCE, state, times, rates=FIXED, rtol=1e-6)
        sides = path.states["x"], path.states["y"]
        gaps = gap(*sides)
        rows.append(
            {
                **{"g0": g0, "tau": tau, "v0": v0},
                "simulated": float(gaps[-1, :RUNS].mean()),
                "predicted": predicted_gap(g0, tau, v0),
                "matched": float(gaps[-1, RUNS]),
            }
        )
    fallen = sum(row["predicted"] is None for row in rows)
    note = (
        f"{fallen} of {len(rows)} starts have no root, since G² is not above τ by enough: the law "
        f"says that the gap closes. There it still falls after {LONG} units of time."
    )
    return rows, {"law": _law_chart(seed)}, [note]


def _law_chart(seed: int) -> Chart:
    """Final gap against the gap at the start, at the temperature and variance of the table."""
    tau, v0 = 0.1, 0.0156
    starts = np.linspace(0.2, 1.2, 11)
    sides = [two_clusters(PAIRS, DIM, g0, v0, seed, 0, 60) for g0 in starts]
    state = with_scale(np.stack([x for x, _ in sides]), np.stack([y for _, y in sides]), 1 / tau)
    times = [0.0, LONG / 2 * PAIRS * tau / 2]
    path = gradient_flow(DISTANCE, state, times, rates=FIXED, rtol=1e-5)
    fine = np.linspace(0.2, 1.2, 101)
    return Chart(
        "The gap that is left: temperature 0.1, variance along the gap 0.0156",
        "gap at the start",
        "gap",
        [
            Series("simulated", starts, gap(*path.embeddings()), "dots"),
            Series("predicted by D8", fine, [predicted_gap(g, tau, v0) for g in fine], "dashes"),
            Series("no change", [0.2, 1.2], [0.2, 1.2], colour=3),
        ],
    )


def threshold(seed: int, progress: Progress) -> Found:
    """D5 to D7 and Theorem 3.1 on tiny clusters: rates of the four modes and of the gap."""
    rows = []
    for ratio in counted(RATIOS, "threshold", progress):
        rows += _first_order(ratio, seed)
    flows = [_variance_over_time(ratio, seed) for ratio in (0.5, 1.0, 2.0, 10.0)]
    over_time = [drawn for _, drawn in flows]
    rows += [row for found, _ in flows for row in found]

    def column(quantity: str, key: str) -> list[float]:
        return [row[key] for row in rows if row["quantity"] == quantity]

    drawn = []
    for place, mode in enumerate(("shared, along the gap", "shared, across the gap")):
        drawn += [
            Series(f"{mode}", RATIOS, column(mode, "measured"), "dots", place),
            Series("predicted", RATIOS, column(mode, "predicted"), "dashes", place),
        ]
    dropped = [
        Series("measured", RATIOS, column("dropped term", "measured"), "dots", 0),
        Series("predicted", RATIOS, column("dropped term", "predicted"), "dashes", 0),
    ]
    charts = {
        "rates": Chart(
            "Growth of what pairs share: above G² = τ it dies along the gap",
            "G² / τ",
            "rate",
            drawn,
            log_x=True,
        ),
        "variance": Chart(
            "Variance along the gap over its start", "units of time", "ratio", over_time, log_y=True
        ),
        "dropped": Chart(
            "Share of the gradient that the quoted form of Theorem 3.1 drops",
            "G² / τ",
            "share of the gradient's norm",
            dropped,
            log_x=True,
        ),
    }
    return rows, charts, []


def _first_order(ratio: float, seed: int) -> list[dict[str, Any]]:
    """Rates at one G² / τ, τ = 0.1: modes by D6, the gap by D7, the term that is dropped by D5."""
    tau = 0.1
    x, y = two_clusters(PAIRS, DIM, np.sqrt(ratio * tau), TINY**2, seed, 50)
    found = loss_gradients(x, y, 1 / tau, logits="distance")
    unit = PAIRS * tau / 2
    speed_x, speed_y = -unit * found.x, -unit * found.y
    xi, eta = x - x.mean(0), y - y.mean(0)
    fast_x, fast_y = speed_x - speed_x.mean(0), speed_y - speed_y.mean(0)

    def rate(now: np.ndarray, change: np.ndarray) -> float:
        return float((now * change).sum() / (now * now).sum())

    half = slice(0, 1), slice(1, DIM)
    predicted = (-(ratio - 1), -(ratio + 1), 1.0, -1.0)
    modes = [
        rate((eta + sign * xi)[:, part], (fast_y + sign * fast_x)[:, part])
        for part in half
        for sign in (1, -1)
    ]
    g, speed = gap_vector(x, y), gap_vector(speed_x, speed_y)
    # D5 without and with -2ξ: what the quoted form of Theorem 3.1 has, and what it drops
    quoted = 2 / tau * (eta @ g)[:, None] * g
    whole = found.y * PAIRS * tau  # twice the loss is the paper's; (2 / nτ)[...] -> [...]
    names = (
        "shared, along the gap",
        "different, along the gap",
        "shared, across the gap",
        "different, across the gap",
    )
    rows = [
        {"ratio": ratio, "quantity": name, "measured": one, "predicted": two}
        for name, one, two in zip(names, modes, predicted)
    ]
    shrink = 2 / tau * variance_along(x, y)
    return [
        *rows,
        {
            **{"ratio": ratio, "quantity": "gap, over 2V/τ"},
            "measured": float(speed @ g / (g @ g) / shrink),
            "predicted": -1.0,
        },
        {
            **{"ratio": ratio, "quantity": "dropped term"},
            "measured": float(np.linalg.norm(whole - quoted) / np.linalg.norm(whole)),
            "predicted": float(np.sqrt(DIM / (DIM + ratio**2))),
        },
    ]


def _variance_over_time(ratio: float, seed: int) -> tuple[list[dict[str, Any]], Series]:
    """Variance along the gap in a flow from matched pairs, and the constant of D8."""
    tau, times = 0.1, np.linspace(0, 2, 21)
    g0, v0 = float(np.sqrt(ratio * tau)), TINY**2
    x, y = many_clusters(1, PAIRS, DIM, g0, v0, seed, 51, matched=True)
    path = gradient_flow(
        DISTANCE, with_scale(x, y, 1 / tau), times * PAIRS * tau / 2, rates=FIXED, rtol=1e-11
    )
    sides = path.states["x"], path.states["y"]
    along = variance_along(*sides)[:, 0]
    drift = _conserved(gap(*sides)[:, 0], tau, along) - _conserved(g0, tau, v0)
    grown = {"ratio": ratio, "quantity": "variance along the gap after half a unit, over its start"}
    grown |= {"measured": float(along[5] / v0), "predicted": float(np.exp(1 - ratio))}
    kept = {"ratio": ratio, "quantity": "drift of the conserved quantity, over 2V at its largest"}
    kept |= {"measured": float(np.abs(drift[:11]).max() / (2 * along[:11].max())), "predicted": 0.0}
    return [grown, kept], Series(f"G² = {ratio:g} τ", times, along / v0)
