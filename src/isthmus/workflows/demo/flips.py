"""Real pictures of answers that flip without a closing and stay with it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from isthmus.closers import fit
from isthmus.core.seeds import stream
from isthmus.robustness import Perturbation, closed_searches, measure_perturbation
from isthmus.search.relevance import relevance_by_pairs
from isthmus.search.task import RetrievalTask
from isthmus.workflows.demo.rows import DemoRows

SHOWN = 8
SHOWN_PERTURBATIONS = (
    Perturbation("uniform-quantisation", "candidates", 32.0),
    Perturbation("gaussian", "candidates", 0.022, "total"),
)


def flip_gallery(rows: DemoRows, *, seed: int) -> list[dict[str, Any]]:
    """For each perturbation: the counts both ways round, and up to eight saved answers.

    The task is *find the picture*: a name asks, pictures answer. ``saved`` counts queries whose
    plain answer flips and whose answer under center-queries does not; ``lost`` the reverse. Shown
    are saved queries whose clean answer was right, in order of their rows: no best-of picking.
    """
    n = len(rows.names)
    task = RetrievalTask.of(
        rows.names, rows.unseen, relevance_by_pairs(n, n), direction="names_to_pictures"
    ).calibrated(stream("demo.flips", seed))
    moments = task.query_moments, task.candidate_moments
    closers = [fit("none", *moments, score="cosine"), fit("center-queries", *moments)]
    searches = closed_searches(task, closers)
    galleries = []
    for perturbation in SHOWN_PERTURBATIONS:
        plain, closed = measure_perturbation(task, searches, perturbation, trials=1, seed=seed)
        saved = ~plain.kept[0] & closed.kept[0]
        lost = plain.kept[0] & ~closed.kept[0]
        right = plain.search.clean_top1 == np.arange(n)
        shown = np.flatnonzero(saved & right)[:SHOWN]
        galleries.append(
            {
                "family": perturbation.family,
                "level": perturbation.level,
                "queries": n,
                "flip_reference": "own",
                "saved": int(saved.sum()),
                "lost": int(lost.sum()),
                "flips_before": int((~plain.kept[0]).sum()),
                "flips_after": int((~closed.kept[0]).sum()),
                "shown": [
                    {
                        "query": rows.world.names[i],
                        "clean": _answer(rows, int(plain.search.clean_top1[i])),
                        "flipped": _answer(rows, int(plain.answers[0, i])),
                        "closed": _answer(rows, int(closed.answers[0, i])),
                    }
                    for i in shown
                ],
            }
        )
    return galleries


def _answer(rows: DemoRows, row: int) -> dict[str, str]:
    buffer = io.BytesIO()
    rows.pictures[row].save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"name": rows.world.names[row], "picture": f"data:image/png;base64,{data}"}
