"""Applying a closer that is a translation against copying the array."""

from __future__ import annotations

from typing import Any

from bench.rows import MADE_UP, array
from bench.timing import interleaved, ratio, result


def measure(quick: bool) -> dict[str, Any]:
    """Rows a second of ``Closer.apply`` (center-queries, rows as they are) over those of a copy."""
    from isthmus.closers import fit
    from isthmus.data.moments import Moments

    rows, dim = (100_000 if quick else 500_000), 512
    x = array(rows, dim)
    sample = Moments.of(x[:10_000]), Moments.of(x[-10_000:])
    closer = fit("center-queries", *sample, normalised=False)
    taken = interleaved(
        {"copy": lambda: x.copy(), "apply": lambda: closer.apply(x, "query")},
        repeats=5 if quick else 11,
    )
    found = ratio(taken, "copy", "apply")
    speed = {f"{name}_rows_per_second": rows / s for name, s in found["seconds"].items()}
    return {
        "apply_vs_copy": result(
            found.pop("value"),
            "rows/s of apply / rows/s of copy",
            at_least=0.5,
            what="Closer.apply of center-queries without normalising, against array.copy()",
            **found,
            **speed,
            shape=[rows, dim],
            dtype="float32",
            rows=MADE_UP,
        )
    }
