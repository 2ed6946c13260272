"""Both inputs through the door: sources, censuses, moments, truth and the rows kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.data import Rows
from isthmus.data.moments import Moments, PairMoments
from isthmus.data.row_checks import check_same_space, decide_paired
from isthmus.data.row_stats import RowStats
from isthmus.data.summary import opened, summarise
from isthmus.engines.local import Executor
from isthmus.errors import OptionError
from isthmus.search.relevance import (
    Relevance,
    no_relevance,
    relevance_by_judgements,
    relevance_by_labels,
    relevance_by_pairs,
)
from isthmus.workflows.audits.options import AuditOptions


@dataclass(frozen=True, eq=False)
class Sides:
    """Both inputs after the door: sources, censuses, moments, truth and sampled rows."""

    a: Rows
    b: Rows
    stats_a: RowStats
    stats_b: RowStats
    moments_a: Moments
    moments_b: Moments
    pair: PairMoments | None
    paired: bool
    truth: Relevance
    rows_a: np.ndarray
    rows_b: np.ndarray
    places_a: np.ndarray
    places_b: np.ndarray


def open_sides(
    a: Any,
    b: Any,
    labels: Any,
    relevance: Any,
    opts: AuditOptions,
    executor: Executor | None,
    say: Progress,
) -> Sides:
    """Open, look at and refuse or accept both inputs, then keep the rows that are scored.

    Raises:
        IsthmusError: as ``audit`` says.
    """
    first, second = opened(a, opts.names[0]), opened(b, opts.names[1])
    check_same_space(opts.names[0], first.dim, opts.names[1], second.dim)
    if labels is not None and relevance is not None:
        raise OptionError("both labels and relevance were given; one of them says what is right")
    judged = labels is not None or relevance is not None
    if judged and opts.paired:
        raise OptionError("paired rows and labels or relevance were both given; drop one")
    paired = (
        False
        if judged
        else decide_paired(opts.names[0], first.rows, opts.names[1], second.rows, opts.paired)
    )
    truth = _truth(labels, relevance, paired, first.rows, second.rows)
    watch = {"normalised": opts.unit_rows, "executor": executor}

    def step(done: int, of: int) -> None:
        say("moments", done, of)

    if paired:
        both = summarise(first, second, on_partition=step, **watch)  # type: ignore[arg-type]
        assert both.pair is not None
        assert both.stats_b is not None
        stats_a, stats_b, pair = both.stats_a, both.stats_b, both.pair
        moments_a, moments_b = pair.a, pair.b
    else:
        one = summarise(first, on_partition=step, **watch)  # type: ignore[arg-type]
        two = summarise(second, on_partition=step, **watch)  # type: ignore[arg-type]
        stats_a, stats_b, pair = one.stats_a, two.stats_a, None
        moments_a, moments_b = one.a, two.a
    stats_a.refuse(opts.names[0], cosine=opts.unit_rows)
    stats_b.refuse(opts.names[1], cosine=opts.unit_rows)
    places_a, places_b = _places(truth, opts)
    rows_a = _rows(first, places_a, opts.unit_rows)
    rows_b = _rows(second, places_b, opts.unit_rows)
    return Sides(
        first,
        second,
        stats_a,
        stats_b,
        moments_a,
        moments_b,
        pair,
        paired,
        truth.restricted(places_a, places_b),
        rows_a,
        rows_b,
        places_a,
        places_b,
    )


def _truth(labels: Any, relevance: Any, paired: bool, n: int, m: int) -> Relevance:
    if labels is not None:
        return relevance_by_labels(labels, n, m)
    if relevance is not None:
        return relevance_by_judgements(relevance, n, m)
    return relevance_by_pairs(n, m) if paired else no_relevance(n, m)


def _places(truth: Relevance, opts: AuditOptions) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers kept of each side: all, or a seeded sample that keeps truths together."""
    rng = stream("audit.sample", opts.seed)
    n, m, most = truth.queries, truth.candidates, opts.max_candidates
    if n <= most and m <= most:
        return np.arange(n), np.arange(m)
    kept_a = np.sort(rng.permutation(n)[:most]) if n > most else np.arange(n)
    if m <= most:
        return kept_a, np.arange(m)
    wanted = np.unique(truth.pairs[np.isin(truth.pairs[:, 0], kept_a), 1])
    others = np.setdiff1d(rng.permutation(m)[: 2 * most], wanted, assume_unique=True)
    rng.shuffle(others)
    rng.shuffle(wanted)
    return kept_a, np.sort(np.concatenate([wanted, others])[:most])


def _rows(source: Rows, places: np.ndarray, unit_rows: bool) -> np.ndarray:
    rows = source.read() if len(places) == source.rows else source.take(places)
    rows = rows.astype(np.float64)
    return np.asarray(unit(rows)) if unit_rows else rows


def input_entry(name: str, source: Rows, stats: RowStats) -> dict[str, Any]:
    """One side of ``inputs`` in the report."""
    return {
        "name": name,
        "source": source.spec,
        "rows": stats.rows,
        "dim": source.dim,
        "dtype": source.dtype,
        "norm_mean": stats.norm_mean,
        "norm_std": stats.norm_std,
        "duplicates": stats.duplicates,
    }
