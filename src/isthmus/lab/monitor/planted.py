"""Planted faults and healthy trainings, and what the monitor says of each (kept readings)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.progress import Progress, quiet
from isthmus.lab.laws import Found
from isthmus.lab.monitor.diagnosis import diagnose
from isthmus.report.charts import Chart, Series

KEPT = Path(__file__).parent / "planted.json"


@cache
def kept_runs() -> list[dict[str, Any]]:
    """What ``training/faults.py`` kept of each run, ``history`` its readings."""
    found: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8"))
    return found


def monitor(seed: int, progress: Progress = quiet) -> Found:
    """A row per kept training: what was planted, what was named. Nothing is drawn."""
    rows, curves = [], []
    for run in kept_runs():
        found = diagnose(run["history"])
        rows.append(
            {
                "case": run["case"],
                "seed": run["seed"],
                "planted": run["planted"],
                "faults": ", ".join(f.code for f in found if f.fault) or None,
                "notes": ", ".join(f.code for f in found if not f.fault) or None,
                "overhead": run["overhead"],
                "read_often": run["overhead_read_often"],
                "step_ms": run["step_ms"],
            }
        )
        if run["seed"] == 0:
            steps = [line["step"] for line in run["history"]]
            curves.append(Series(run["case"], steps, [line.get("gap") for line in run["history"]]))
    often, seldom = (max(row[name] for row in rows) for name in ("read_often", "overhead"))
    step = float(np.median([row["step_ms"] for row in rows]))
    notes = [
        f"Looking at every fourth batch, the monitor takes at most {seldom:.2%} of a step's "
        f"processor time when it is read every 100 steps, and {often:.2%} when it is read every 12 "
        f"(a step of {step:.0f} ms, 128 rows in 128 dimensions, one core)."
    ]
    return rows, {"gap": Chart("Gap in each training", "epoch", "gap", curves)}, notes
