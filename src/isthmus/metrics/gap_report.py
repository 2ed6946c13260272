"""The gap of two modalities as one record: measured values, intervals, reasons and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.core.statistics import grouped_jackknife
from isthmus.data.moments import Moments
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning, worst_first
from isthmus.errors import OptionError
from isthmus.metrics.gap import (
    HUBNESS_K,
    from_moments,
    from_sample,
    intra_cosine,
    pair_values,
    top_energy,
)
from isthmus.metrics.warnings import warnings_of_both
from isthmus.search.opening import item_notes, open_task
from isthmus.search.pair_warnings import look_at_pairs
from isthmus.search.task import RetrievalTask

SAMPLE_ROWS = 4000
"""Rows of a side that metrics which need rows look at."""
MAX_ROWS = 10_000
"""Rows of a side that :func:`measure` keeps; moments are of all rows."""
JACKKNIFE_GROUPS = 20
COSINES = ("centroid_cosine", "intra_cosine_a", "intra_cosine_b", "matched_cosine")
BOUNDS = dict.fromkeys(COSINES, (-1.0, 1.0)) | {
    "energy_top10": (0.0, 1.0),
    "rmg": (0.0, 1.0),
    "alignment": (0.0, 4.0),
}
"""Range of each measure that has an interval; the norm's is 0 to 2 for unit rows."""
SEVERE, MODERATE = 0.63, 0.19


@dataclass(frozen=True)
class GapReport(Record):
    """Named values of one pair of modalities; ``to_dict`` is the ``gap`` of ``report.json``.

    Attributes:
        values: value of each measure, or {part: value}; see ``docs/formulas.md``.
        why_null: measure, or ``measure.part`` -> why it is None.
        warnings: what is suspicious about the rows (``docs/warnings.md``).
    """

    values: dict[str, Any]
    why_null: dict[str, str] = field(default_factory=dict)
    warnings: tuple[InputWarning, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @property
    def severity(self) -> str:
        """``severe`` (>= .63), ``moderate`` (>= .19) or ``low``: the scale of I0T (2412.14384)."""
        norm = self.values.get("relative_norm", self.values["norm"])
        return "severe" if norm >= SEVERE else "moderate" if norm >= MODERATE else "low"

    def interval(self, key: str) -> tuple[float, float]:
        """95 % interval of a measure, or of ``measure.part``: that of ``norm`` is of all rows.

        Raises:
            OptionError: the measure has no interval; the message lists those that have one.
        """
        known = self._intervals
        if key.replace(".", "_") not in known:
            raise OptionError(
                "no-interval", f"'{key}' has no interval; choose one of {', '.join(sorted(known))}"
            )
        low, high = known[key.replace(".", "_")]
        return low, high

    @property
    def _intervals(self) -> dict[str, list[float]]:
        known = dict(self.values.get("intervals", {}))
        return known | {"norm": self.values["norm_ci"]} if "norm_ci" in self.values else known

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, with ``severity`` and ``why_null``."""
        return {**self.values, "severity": self.severity, "why_null": self.why_null}

    def rows(self) -> list[dict[str, Any]]:
        """One line per value: measure, part (``a``, ``b`` …), value, low, high, why it is None."""
        lines = []
        for key, value in self.values.items():
            if key in ("intervals", "sample", "norm_ci"):
                continue
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in parts:
                name = f"{key}.{part}" if part else key
                low, high = self._intervals.get(name.replace(".", "_"), (None, None))
                why = self.why_null.get(name, self.why_null.get(key)) if number is None else None
                line = {"measure": key, "part": part, "value": number, "low": low, "high": high}
                lines.append(line | {"why_null": why})
        return lines

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The gap in one line, and its values."""
        low, high = self.interval("norm")
        text = f"gap {self['norm']:.3f} ({self.severity}), 95% interval {low:.3f} to {high:.3f}"
        return "; ".join([text, *(w.text for w in self.warnings)]), self.rows()


def measure(
    a: Any,
    b: Any,
    *,
    paired: bool | None = None,
    names: tuple[str, str] = ("a", "b"),
    normalised: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> GapReport:
    """How far apart two modalities are, and in what way: the ``gap`` of an audit by itself.

    Args:
        a, b: (n, d) and (m, d) arrays, tensors, paths, globs or ``Rows``.
        paired: row i of a belongs to row i of b; None takes equal lengths as pairs, unless
            nothing in the rows says so.
        names: what messages call the two.
        normalised: divide rows by their norms first; without, cosine measures are None.
        seed: of the sample that measures which need rows look at (at most 4,000 a side).
        progress: called with (what, done, all).

    Raises:
        IsthmusError: rows that cannot be read, do not fit together, or are not finite.

    Cost: one pass over all rows for the moments, O((n + m) d²); O(d³) for the spectra; O(s² d)
    for a sample of s rows.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> images, captions = rng.normal(size=(2, 100, 8)) + np.eye(8)[:2, None] * 4
    >>> gap = measure(images, captions)
    >>> gap.severity
    'severe'
    >>> low, high = gap.interval("norm")
    >>> low < gap["norm"] < high
    True
    """
    task = open_task(
        a,
        b,
        paired=paired,
        score="cosine" if normalised else "dot",
        names=names,
        max_rows=MAX_ROWS,
        summarised=True,
        searched=False,
        seed=seed,
        progress=progress,
    )
    no_pairs, found = look_at_pairs(task, names, paired=paired)
    task = task.without_pairs() if no_pairs else task
    return gap_of(task, names, about_pairs=found, seed=seed)


def gap_of(
    task: RetrievalTask,
    names: tuple[str, str] = ("a", "b"),
    *,
    about_pairs: Sequence[InputWarning] = (),
    seed: int = 0,
) -> GapReport:
    """The gap of an opened task: queries are ``a``, candidates are ``b``.

    ``about_pairs``: what :func:`look_at_pairs` found, to stand among the report's warnings.

    Moments are of all rows of the inputs; measures that need rows see a seeded sample of the rows
    that the task holds, the same places on both sides where they are pairs.
    """
    a, b, pair = task.query_moments, task.candidate_moments, task.pair
    together = pair is not None and task.paired
    rng = stream("audit.gap-rows", seed)
    places = np.sort(rng.permutation(len(task.queries))[:SAMPLE_ROWS])
    others = places
    if not together:
        others = np.sort(rng.permutation(len(task.candidates))[:SAMPLE_ROWS])
    sample = task.queries[places], task.candidates[others]
    values = from_moments(a, b, pair, normalised=task.normalised)
    values["relative_norm"] = values["norm"] / (1.0 if task.unit_rows else _size(a, b))
    values |= from_sample(*sample, seed=seed)
    spans = sample_intervals(*sample, together, task.normalised)
    values["intervals"] = {k: v for k, v in spans.items() if values.get(k, 0) is not None}
    stats = [None if i is None else i.stats for i in (task.query_input, task.candidate_input)]
    counts = [m.count if s is None else s.rows for m, s in zip((a, b), stats, strict=True)]
    values["sample"] = {
        "a": len(sample[0]),
        "b": len(sample[1]),
        "of_a": counts[0],
        "of_b": counts[1],
        "seed": seed,
    }
    why = _reasons(a, b, together, task.normalised, values)
    score = "cosine" if task.normalised else task.score
    found = item_notes(task)
    found += [w for s, name in zip(stats, names, strict=True) if s for w in s.warnings(name, score)]
    if task.normalised:
        found += warnings_of_both(names, values, sample)
    return GapReport(values, why, worst_first([*about_pairs, *found]))


def _size(a: Moments, b: Moments) -> float:
    """Root of the mean squared norm of both sides; 1 where all rows are zero."""
    squares = [float(m.mean @ m.mean) + m.total_variance for m in (a, b)]
    return float(np.sqrt(np.mean(squares))) or 1.0


def sample_intervals(
    a: np.ndarray, b: np.ndarray, paired: bool, normalised: bool
) -> dict[str, list[float]]:
    """Delete-a-group jackknife intervals of the cheap measures, on the sample."""
    groups = min(JACKKNIFE_GROUPS, len(a) // 2, len(b) // 2)
    if groups < 2:
        return {}
    parts = [
        (len(x), len(y), x.sum(axis=0), y.sum(axis=0), np.einsum("ij,ij->", x, y) if paired else 0)
        for x, y in ((a[g::groups], b[g::groups]) for g in range(groups))
    ]
    whole = [sum(column) for column in zip(*parts, strict=True)]

    def without(group: int) -> dict[str, float]:
        return values_of([w - p for w, p in zip(whole, parts[group], strict=True)])

    def values_of(sums: list[Any]) -> dict[str, float]:
        n, m, sum_a, sum_b, dots = sums
        mean_a, mean_b = sum_a / n, sum_b / m
        lengths = np.linalg.norm(mean_a) * np.linalg.norm(mean_b)
        values = {
            "norm": float(np.linalg.norm(mean_b - mean_a)),
            "centroid_cosine": float(mean_a @ mean_b / max(lengths, 1e-300)),
            "energy_top10": top_energy(mean_b - mean_a) or 0.0,
        }
        if normalised:
            intra = intra_cosine(n, mean_a), intra_cosine(m, mean_b)
            values["intra_cosine_a"], values["intra_cosine_b"] = intra
            if paired:
                values |= {k: v or 0.0 for k, v in pair_values(float(dots) / n, *intra).items()}
        return values

    bounds = BOUNDS | {"norm": (0.0, 2.0 if normalised else np.inf)}
    spans = grouped_jackknife(without, values_of(whole), groups, bounds=bounds)
    return {name: [low, high] for name, (low, high) in spans.items()}


def _reasons(
    a: Moments, b: Moments, paired: bool, normalised: bool, values: dict[str, Any]
) -> dict[str, str]:
    """Why a key is None; also folds ``lda`` and ``held_out`` into ``separability``."""
    values["separability"] = {"lda": values.pop("lda"), "held_out": values.pop("held_out")}
    why = {}
    if not paired:
        for key in ("norm_unbiased_paired", "matched_cosine", "rmg", "alignment"):
            why[key] = "needs pairs: row i of a belonging to row i of b"
    if not normalised:
        for key in ("cross_cosine", "matched_cosine", "rmg", "alignment", "intra_cosine"):
            why[key] = "a cosine metric; rows were not normalised"
    if values["separability"]["lda"] is None:
        why["separability.lda"] = (
            f"{min(a.count, b.count)} rows do not fill {a.dim} dimensions, so the pooled "
            "covariance is singular and a plane separates any two sets"
        )
    if values["separability"]["held_out"] is None:
        why["separability.held_out"] = "needs at least 8 rows a side that differ"
    for direction, skew in values["hubness_skew"].items():
        if skew is None:
            why[f"hubness_skew.{direction}"] = f"needs at least {2 * HUBNESS_K} candidates"
    for key in (
        "centroid_cosine",
        "energy_top10",
        "frechet_centroid_share",
        "subspace_overlap",
        "rmg",
    ):
        if values[key] is None and key not in why:
            why[key] = "undefined: the vectors it divides by are zero"
    for side in ("a", "b"):
        if values["variance_share_along_gap"][side] is None:
            why[f"variance_share_along_gap.{side}"] = "all rows of this side are the same"
    return why
