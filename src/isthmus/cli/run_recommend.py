"""The body of ``isthmus recommend``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus.cli.run_audit import numbers, sides_of
from isthmus.cli.words import console, print_json, progress_bar
from isthmus.core.seeds import stream
from isthmus.errors import OptionError
from isthmus.workflows.audits.options import AuditOptions
from isthmus.workflows.recommendation import advise

LEVELS = "numbers above 0, such as 0.005,0.022"


def run(
    queries: str,
    candidates: str,
    *,
    labels: str | None,
    relevance: str | None,
    paired: bool | None,
    score: str,
    perturb: str,
    level: str | None,
    closers: str | None,
    max_queries: int,
    max_candidates: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Read both sides, advise, print, and write the recommended closer where asked."""
    if out is not None and out.suffix != ".safetensors":
        raise OptionError(f"--out {out}: a closer is a .safetensors file; name it so")
    levels = None if level is None else numbers(level, "--level", LEVELS)
    names = None if closers is None else [name.strip() for name in closers.split(",")]
    opts = AuditOptions(
        names=("queries", "candidates"),
        paired=paired,
        score=score,
        seed=seed,
        max_queries=max_queries,
        max_candidates=max_candidates,
    )
    with progress_bar() as say:
        sides = sides_of(queries, candidates, labels, relevance, opts, say)
        rows, truth = sides.rows_a, sides.truth
        if len(rows) > max_queries:
            kept = stream("recommend.sample", seed).permutation(len(rows))[:max_queries]
            kept = np.sort(kept)
            rows, truth = rows[kept], truth.restricted(kept, np.arange(len(sides.rows_b)))
        advice = advise(
            rows,
            sides.rows_b,
            truth,
            score=score,
            family=perturb,
            levels=levels,
            closers=names,
            seed=seed,
            progress=say,
            **options,
        )
    told = advice.to_dict() | {"file": None if out is None else str(out)}
    if out is not None:
        advice.closer.save(out)
    screen = console(as_json=as_json)
    from isthmus.report.advice_table import print_advice

    print_advice(told, screen)
    if out is not None:
        screen.print(f"wrote {out}")
    if as_json:
        print_json(told)
