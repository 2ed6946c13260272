"""How long the whole audit takes on arrays in memory, with its default grid."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.rows import MADE_UP, pairs
from bench.timing import interleaved, result


def measure(quick: bool) -> dict[str, Any]:
    """Seconds of ``isthmus.workflows.audits.audit``: gap, both directions, all closers, all
    perturbations."""
    from isthmus.workflows.audits import audit

    rows, dim = (500 if quick else 5_000), 512
    a, b = pairs(rows, dim)
    taken = interleaved({"audit": lambda: audit(a, b)}, repeats=1, warm=False)
    report = audit(*pairs(64, dim)).report
    perturbations = sum(len(d["stress"]) for d in report["directions"])
    return {
        "audit_seconds": result(
            median(taken["audit"]),
            "s",
            what="isthmus.workflows.audits.audit(a, b) on arrays with the default options",
            least=min(taken["audit"]),
            greatest=max(taken["audit"]),
            repeats=len(taken["audit"]),
            shape=[rows, dim],
            table_rows=perturbations,
            rows=MADE_UP,
        )
    }
