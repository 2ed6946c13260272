"""The laws of the gap under gradient flow, each simulated beside its formula (``docs/lab.md``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress
from isthmus.lab.dynamics import gradient_flow
from isthmus.lab.measures import gap_vector
from isthmus.lab.models import FIXED, FreeVectors, many_clusters, with_scale
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
"""Gap, temperature and variance along the gap at the start: the table of the law."""
PAIRS, DIM, RUNS = 64, 8, 4
LONG = 12
"""Units of time (n τ / 2, in which the modes have the rates of D6) until a gap is called final."""


def predicted_gap(g0: float, tau: float, v0: float) -> float | None:
    """D8: the root above √τ of G² - τ log G² = G0² - τ log G0² - 2 V0; None where there is none."""
    goal = g0**2 - tau * np.log(g0**2) - 2 * v0
    if g0**2 <= tau or goal < tau - tau * np.log(tau):
        return None
    low, high = tau, g0**2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if middle - tau * np.log(middle) > goal else (middle, high)
    return float(np.sqrt(high))


def final_gap(seed: int, progress: Progress) -> Found:
    """The table of D8: free vectors, distance logits, gradient flow; a mean over ``RUNS`` draws."""
    rows = []
    for number, (g0, tau, v0) in enumerate(STARTS):
        progress("final gap", number, len(STARTS))
        x, y = many_clusters(RUNS, PAIRS, DIM, g0, v0, seed, number)
        times = np.array([0.0, LONG * PAIRS * tau / 2])
        path = gradient_flow(
            FreeVectors(logits="distance"), with_scale(x, y, 1 / tau), times, rates=FIXED, rtol=1e-6
        )
        simulated = float(np.linalg.norm(gap_vector(*path.embeddings()), axis=-1).mean())
        predicted = predicted_gap(g0, tau, v0)
        row = {"g0": g0, "tau": tau, "v0": v0, "simulated": simulated, "predicted": predicted}
        rows.append(row)
    progress("final gap", len(STARTS), len(STARTS))
    known = [row for row in rows if row["predicted"] is not None]
    lost = [row for row in rows if row["predicted"] is None]
    law = [row["predicted"] for row in known]
    chart = Chart(
        "The gap that is left",
        "gap at the start",
        "final gap",
        [
            Series("simulated", [r["g0"] for r in rows], [r["simulated"] for r in rows], "dots"),
            Series("predicted by D8", [r["g0"] for r in known], law, "dots"),
        ],
    )
    note = (
        f"{len(lost)} of {len(rows)} starts have no root (G² is not above τ by a margin): the law "
        f"says that the gap closes. It is still falling after {LONG} units of time."
    )
    return rows, {"law": chart}, [note]
