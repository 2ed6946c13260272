"""The gap of two opened sides: the report's numbers, its picture and the warnings."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.seeds import stream
from isthmus.data.embeddings import InputWarning
from isthmus.metrics.gap import SAMPLE_ROWS, measure_gap
from isthmus.metrics.picture import gap_picture
from isthmus.metrics.warnings import warnings_of_both
from isthmus.workflows.audits.options import AuditOptions, Progress
from isthmus.workflows.audits.sides import Sides


def gap_part(
    sides: Sides, opts: AuditOptions, say: Progress
) -> tuple[dict[str, Any], list[InputWarning]]:
    say("gap", 0, 1)
    size_a = min(len(sides.rows_a), SAMPLE_ROWS)
    size_b = min(len(sides.rows_b), SAMPLE_ROWS)
    rng = stream("audit.gap-rows", opts.seed)
    together = sides.paired and np.array_equal(sides.places_a, sides.places_b)
    pick_a = np.sort(rng.permutation(len(sides.rows_a))[:size_a])
    pick_b = pick_a if together else np.sort(rng.permutation(len(sides.rows_b))[:size_b])
    sample = sides.rows_a[pick_a], sides.rows_b[pick_b]
    report = measure_gap(
        sides.moments_a,
        sides.moments_b,
        sides.pair,
        *sample,
        paired=together,
        unit_rows=opts.unit_rows,
        rows_a=sides.stats_a.rows,
        rows_b=sides.stats_b.rows,
        seed=opts.seed,
    )
    warnings = sides.stats_a.warnings(opts.names[0]) + sides.stats_b.warnings(opts.names[1])
    if opts.unit_rows:
        warnings += warnings_of_both(
            opts.names,
            report,
            sides.moments_a,
            sides.moments_b,
            sides.pair,
            sample if together else None,
        )
    say("gap", 1, 1)
    return report.to_dict(), warnings


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
