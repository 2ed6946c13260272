"""The main job: two sets of embeddings in, one report and a closer per direction out.

The flow, each step a function of its own room:

    open -> summarise (stats, moments; streaming) -> refuse or warn -> sample rows
      -> gap report
      -> per direction: closers -> clean search -> stress grid -> radii -> recommendation
      -> mixed search -> one plain dict (``report.json``, schema 1)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from isthmus._version import __version__
from isthmus.closers.maps import Closer
from isthmus.core.progress import Progress, quiet
from isthmus.engines.local import Executor
from isthmus.robustness import Result
from isthmus.robustness.mixed import mixed_share
from isthmus.workflows.audits.direction import default_closers, direction_part, trials_for
from isthmus.workflows.audits.gap_part import fit_warnings, gap_part, picture_part
from isthmus.workflows.audits.options import SCHEMA, AuditOptions
from isthmus.workflows.audits.sides import input_entry, open_sides


@dataclass(frozen=True, eq=False)
class Audit:
    """The report as a plain dict, and the recommended closer of each direction."""

    report: dict[str, Any]
    closers: dict[str, Closer]
    results: dict[str, list[Result]] = field(repr=False, default_factory=dict)


def audit(
    a: Any,
    b: Any,
    *,
    labels: Any = None,
    relevance: Any = None,
    options: AuditOptions | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure, explain, stress and recommend.

    Args:
        a, b: file names (``FILE``, ``FILE:KEY``, folder, glob) or (n, d) and (m, d) arrays.
        labels: (n,) integers: b holds class texts and row i of a belongs to class ``labels[i]``.
        relevance: (r, 2) integers: row of a, row of b; many to many.
        options: see :class:`AuditOptions`.
        executor: maps over shards; processes of this machine by default.
        progress: called with (what, done, all).

    Returns:
        The report of section "report.json" of ``docs/files.md`` and the recommended closers.

    Raises:
        IsthmusError: any of its kinds, when the input is refused.
    """
    opts = options or AuditOptions()
    say = progress or quiet
    sides = open_sides(a, b, labels, relevance, opts, executor, say)
    gap, warnings = gap_part(sides, opts, say)
    directions, closers, results = [], {}, {}
    for direction in ("a_to_b", "b_to_a"):
        entry, closer, perturbations = direction_part(sides, direction, opts, say)
        directions.append(entry)
        closers[direction] = closer
        results[direction] = perturbations
    report = {
        "schema": SCHEMA,
        "isthmus": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": opts.seed,
        "inputs": {
            "a": input_entry(opts.names[0], sides.a, sides.stats_a),
            "b": input_entry(opts.names[1], sides.b, sides.stats_b),
            "paired": sides.paired,
            "labels": sides.truth.task == "zero-shot",
            "unit_rows": opts.unit_rows,
            "fit_rows": "all" if not opts.fit_share else opts.fit_share,
        },
        "gap": gap,
        "picture": picture_part(sides, opts),
        "directions": directions,
        "mixed": mixed_share(sides.rows_a, sides.rows_b, sides.moments_a, sides.moments_b),
        "warnings": [c.to_dict() for c in warnings + fit_warnings(opts)],
    }
    return Audit(report, closers, results)


__all__ = ["Audit", "AuditOptions", "audit", "default_closers", "trials_for"]
