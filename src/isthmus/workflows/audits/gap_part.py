"""The gap of two opened sides: the report's numbers, its picture and the warnings."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.progress import Progress
from isthmus.data.row_stats import InputWarning
from isthmus.metrics.gap_report import gap_of
from isthmus.metrics.picture import gap_picture
from isthmus.search.task import Input, RetrievalTask
from isthmus.workflows.audits.options import AuditOptions
from isthmus.workflows.audits.sides import Sides


def gap_part(
    sides: Sides, opts: AuditOptions, say: Progress
) -> tuple[dict[str, Any], list[InputWarning]]:
    say("gap", 0, 1)
    given = [
        Input(name, source, stats, places, moments)
        for name, source, stats, places, moments in zip(
            opts.names,
            (sides.a, sides.b),
            (sides.stats_a, sides.stats_b),
            (sides.places_a, sides.places_b),
            (sides.moments_a, sides.moments_b),
            strict=True,
        )
    ]
    task = RetrievalTask(
        sides.rows_a,
        sides.rows_b,
        sides.truth,
        opts.score,
        opts.unit_rows,
        query_input=given[0],
        candidate_input=given[1],
        pair=sides.pair,
    )
    report = gap_of(task, opts.names, seed=opts.seed)
    say("gap", 1, 1)
    return report.to_dict(), list(report.warnings)


def picture_part(sides: Sides, opts: AuditOptions) -> dict[str, Any]:
    """Two coordinates for a few hundred rows of each side."""
    return gap_picture(
        sides.rows_a,
        sides.rows_b,
        sides.moments_a.mean,
        sides.moments_b.mean,
        seed=opts.seed,
        paired=sides.paired and np.array_equal(sides.places_a, sides.places_b),
    )


def fit_warnings(opts: AuditOptions) -> list[InputWarning]:
    if opts.fit_share:
        return []
    return [
        InputWarning(
            "fit-equals-score",
            "the closers' means and ranges of directions were fitted on the rows they are scored "
            "on (guarantees hold for any fit; flips removed may be slightly optimistic); "
            "--fit-share 0.5 scores queries the fit has not seen",
        )
    ]
